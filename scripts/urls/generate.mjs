// Prints how Node, by the URL standard, parses generated URLs. Each line is [text, host, pathname,
// host of a referrer], with null where posthog-js would send nothing.
//
//   node scripts/urls/generate.mjs 1500 > tests/data/urls_generated.jsonl
//   node scripts/urls/generate.mjs 200000 7 > /tmp/urls.jsonl
//   URLS=/tmp/urls.jsonl cargo test --test urls
//
// The second argument is the seed. Not among them, on purpose: `^` in paths, which Node 20 leaves as
// it is and newer browsers encode; the capital ẞ, whose meaning changed with Unicode 15.1; and a
// backslash behind the port in a scheme that is not the web's, which is broken for browsers only.

const [count = '1500', seed = '1'] = process.argv.slice(2)

// A small generator with a seed (mulberry32), so that a run can be repeated.
let state = Number(seed) >>> 0
const random = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
}
const pick = (list) => list[Math.floor(random() * list.length)]
const often = (usual, list) => (random() < 0.6 ? usual : pick(list))

const HOSTS = [
    'shop.example', 'Shop.EXAMPLE', 'www.shop.example.', 'a..b', '.a', 'localhost', 'a_b.example', '-a-.example', 'ab--cd.example',
    'münchen.example', 'MÜNCHEN.example', 'mu\u0308nchen.example', 'faß.de', 'βόλος.com', 'ΒΌΛΟΣ.com', '日本語.jp', '例え。テスト',
    'пример.рф', 'مثال.إختبار', 'דוגמה.קום', 'नमस्ते.भारत', '한국.kr', '☕.example', '👍🏽.example', 'a\u200db.example', 'نامه\u200cای.com',
    'xn--mnchen-3ya.example', 'XN--MNCHEN-3YA.example', 'xn--a', 'xn--zzzzzz.example', 'xn--', 'xn--fa-hia.de', 'ｅｘａｍｐｌｅ.com', 'a\u00adb.example', '\u00ad',
    'ex%61mple.com', 'm%C3%BCnchen.example', 'a%2eb', 'a%00b', 'a%', 'a%zz', 'a b', 'a^b', 'a|b', 'a<b', 'a"b', "a'b", 'a`b', 'a{b}', 'a,b;c', 'a!$&()*+=~b',
    '127.0.0.1', '127.1', '1.2.3', '0x7f.1', '0X7F.0.0.1', '017700000001', '4294967295', '4294967296', '256.1.1.1', '1.2.3.4.5', '1.2.3.4.', 'a.1', '0x', '1e3', '09.1', '１２７.0.0.1',
    '[::1]', '[2001:DB8::0:1]', '[1:0:0:2::3]', '[::ffff:1.2.3.4]', '[::1', '[]', '[::1]x', '[fe80::1%25eth0]', '[v1.a]', '::1', '',
]
const USERS = ['', 'user@', 'user:secret@', 'u@x:y@', ':@', '@', 'ü:%40@']
const PORTS = ['', ':', ':80', ':443', ':8443', ':0443', ':00', ':0', ':65535', ':65536', ':8a', ':-1', ':8 0', ':８０', ':21']
const SCHEMES = [
    'https://', 'http://', 'HTTPS://', 'Http://', 'https:', 'https:/', 'https:///', 'http:\\\\', 'https:/\\', 'ht\ttps://', ' https://', '\u0000\n https://',
    '//', '/', '', 'www.', 'ftp://', 'ws://', 'wss://', 'android-app://', 'ios-app:', 'file://', 'about:', 'data:', 'javascript:', 'blob:https://', 'chrome-extension://', '://', '1http://', 'h+t.t-p://',
]
const PIECES = [
    '/', '/', '/', '/', 'bikes', 'Red', 'café', 'caf%C3%A9', '日本', '%', '%2', '%zz', '%2e', '%2E', '.', '..', '.%2e', '%2e%2E', '...', ' ', '\t', '\n', '\\', '|', '"', '<', '>',
    '`', '{', '}', '[', ']', "'", ';', '@', ':', '//', '\u00a0', '\u0085', '\u007f', '\u2028', '👍', '~', '!', '$', '&', '(', '*', '+', ',', '=', 'index.html', '.well-known', 'a.b',
]
const TAILS = ['', '', '?', '#', '?utm_source=a', '?a=/../b', '?q=日本#x', '#/route?x', '? ', ' ', '\n', '?a\tb', '#?', '?a\\b']

const path = () => Array.from({ length: Math.floor(random() * 6) }, () => pick(PIECES)).join('')
const url = () => {
    const host = pick(HOSTS)
    // Node 20 allows letters of both directions in one label, which the standard forbids.
    const end = /[\u0590-\u06ff]/.test(host) ? '/' : pick(['', '/', '/', '\\'])
    return often('https://', SCHEMES) + often('', USERS) + host + often('', PORTS) + end + path() + pick(TAILS)
}

// Not `URL.canParse`: after compilation Node 20 gives wrong results for Latin letters.
const parse = (text) => {
    try {
        return new URL(text)
    } catch {
        return undefined
    }
}

const seen = new Set()
while (seen.size < Number(count)) {
    const text = url()
    if (seen.has(text) || (/:\/\/[^/?#]*:[^/?#]*\\/.test(text) && !/^\s*(https?|wss?|ftp|file):/i.test(text))) continue
    seen.add(text)
    const parsed = parse(text)
    const web = parsed && ['http:', 'https:'].includes(parsed.protocol) ? parsed : undefined
    const domain = text === '' ? '$direct' : parsed?.host || null
    console.log(JSON.stringify([text, web?.host ?? null, web?.pathname ?? null, domain]))
}
