// Compares Hedgerow's reading of user agents with posthog-js's own functions, on real user agents
// and mutants of them, and prints every difference. Exit code 1 if there is one.
//
//   cargo build --example user_agent
//   cd scripts/user_agents && npm install
//   node compare.mjs [--mutants 200000] [--seed 1] [--freeze ../../tests/data/user_agents.jsonl]
//
// --freeze writes posthog-js's results, one user agent for each distinct result, for the test
// `tests/user_agents.rs`. It uses only sources whose licence allows it (see the file's NOTICE).

import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { gunzipSync } from 'node:zlib'

const require = createRequire(import.meta.url)
const here = dirname(fileURLToPath(import.meta.url))
const { detectBrowser, detectBrowserVersion, detectDevice, detectDeviceType, detectOS, detectWebviewApp } =
    require('@posthog/core')

const { values: options } = parseArgs({
    options: {
        binary: { type: 'string', default: join(here, '../../target/debug/examples/user_agent') },
        mutants: { type: 'string', default: '20000' },
        seed: { type: 'string', default: '1' },
        freeze: { type: 'string' },
    },
})

// --- where the user agents come from ---------------------------------------------------------

const cases = new Map() // user agent -> navigator.vendor, if the source knows it
const add = (source, entries) => {
    const before = cases.size
    for (const { userAgent, vendor } of entries) {
        if (!cases.has(userAgent)) cases.set(userAgent, vendor)
    }
    console.log(`${source}: ${cases.size - before} more user agents`)
}
const inPackage = (name, path) => readFileSync(join(here, 'node_modules', name, path))
add(
    'rare.txt',
    readFileSync(join(here, 'rare.txt'), 'utf8')
        .trimEnd()
        .split('\n')
        .map((userAgent) => ({ userAgent }))
)
add('user-agents 2.1.198', JSON.parse(inPackage('user-agents', 'dist/user-agents.json')))
for (const name of ['user-agents-1.0', 'user-agents-1.1', 'user-agents-1.2']) {
    add(name, JSON.parse(gunzipSync(inPackage(name, 'src/user-agents.json.gz'))))
}
add(
    'crawler-user-agents',
    JSON.parse(inPackage('crawler-user-agents', 'crawler-user-agents.json')).flatMap((crawler) =>
        (crawler.instances ?? []).map((userAgent) => ({ userAgent }))
    )
)

// --- what posthog-js says ----------------------------------------------------------------------

// navigator.vendor by engine, if the source does not have it: Apple for WebKit, Google for Blink
// and the old Android browser, empty for Gecko and Trident.
const vendorOf = (userAgent) =>
    /Chrome|Android/.test(userAgent)
        ? 'Google Inc.'
        : /AppleWebKit|Safari/.test(userAgent)
          ? 'Apple Computer, Inc.'
          : ''

const expected = ({ userAgent, vendor, hints }) => {
    // Without a user agent, posthog-js's getEventProperties returns nothing; it leaves out empty
    // texts.
    if (!userAgent) return Array(8).fill(null)
    const [os, osVersion] = detectOS(userAgent)
    const [webviewApp, webviewAppVersion] = detectWebviewApp(userAgent)
    return [
        detectBrowser(userAgent, vendor) || null,
        detectBrowserVersion(userAgent, vendor),
        os || null,
        osVersion || null,
        detectDevice(userAgent) || null,
        detectDeviceType(userAgent, hints) || null,
        webviewApp || null,
        webviewAppVersion || null,
    ].map((value) => (value === Infinity ? null : value)) // as JSON.stringify does
}

// --- mutants -----------------------------------------------------------------------------------

const MARKS = (
    'OPR/|Mini|BlackBerry |PlayBook|BB10|IEMobile|IEMobile/11|WPDesktop|OculusBrowser/3.4|SamsungBrowser/2|Edge/|Edg/12.5|' +
    'Vivaldi/7|YaBrowser/24.1|Whale/3|DuckDuckGo/5|Ddg/17.4|Claude/1.2|Codex/2|ChatGPT/1.2024|FBIOS|UCWEB/7|UCBrowser/9.10|' +
    'CriOS/99|CrMo/16.0|Chrome/1|Chrome|Android|android 4|Safari|FxiOS/1.10|konqueror/3.5|Konqueror:4|KONQUEROR5|Brave/1.2|' +
    'Mobile|mobile|Version/9.0|PaleMoon/33|Waterfox/4|Firefox/3.6|MSIE 6.0|Trident/7.0|rv:11.0|Gecko|Xbox; Xbox One)|' +
    'Xbox; Xbox Series X;|xbox; xbox ONE|Xbox|Nintendo |Nintendo Switch|PlayStation 4|playstation|Windows NT 6.1|windows nt 10.0|' +
    'Windows NT 6.2; ARM|Windows NT .|Windows|Windows Phone 10|Phone|iPhone|iPad|iPod|OS 9_3|OS 12_4_1|OS 1_|OS _2|' +
    'Watch4,3/5.3.8|watch os,6.1,|WatchOS/7.1|watch os/3|watch|Apple Watch|Android 4.4.2|Android 10|Android 7.1|Android 8..|' +
    'Mac OS X 10_15_7|Mac OS X 10.4|mac os x 11|Macintosh|CrOS|Linux|debian|Ouya|kobo touch|Kobo\u00a0eReader|Kobo  touch|Nokia|' +
    'KFABWI)|KFTHWI bui|AEOCC)|AEOAB)|KFOT) silk/|KFOT bui Silk/3|KFxyz)|kfkfa) x silk/|Silk/44|ZTE|9138B|TB782B|Nexus 7|Nexus 9|' +
    'pixel c|Pixel 7|pixel xl|PixelZ|HUAWEISHT|BTV|noble nook|smart ultra 6|huaweimed-al00|TAH-|APA|SM-G92|i980|U304AA|LMY47V|QTAQZ3|' +
    'Instagram 300.1|Instagram/1.|instagram|Barcelona 3|Barcelona/|MessengerForiOS|FBAN/Orca-Android|FB_IAB/Orca-Android|FBAN/EMA|' +
    'FBAN/FBIOS|FB_IAB/FB4A|FBAV/412.0.0.1|fbav/.|LinkedInApp|LinkedInApp]/9.3|LinkedInApp/4.1x|TwitterAndroid|Twitter for iPhone/9|' +
    'musical_ly_2022|musical_ly/30.1.2|trill_300.1|app_version/30.1.2|MicroMessenger/8.0|WeChat/|Line/13.2|GSA/250.1|[Pinterest/iOS]|' +
    'Pinterest/0.2|Pinterest for Android Tablet/9.1|WA4A/2.23|WAiOS/|Snapchat 12.1|Snapchat/|BingWeb/6.9|BingSapphire/24|KAKAOTALK 9.1|' +
    'NAVER(inapp; search; 1000; 11.2.3; 12)|NAVER(inapp; search;|KAKAOTALK/9|' +
    'pda|Tablet|tablet pc|AppleWebKit/605|like Gecko|\n|\r|\u2028|;|)|(|/|_|.|0|9999999999|1.2.3|/1.2.3| '
).split('|')

// A small generator with a seed (mulberry32), so that a run can be repeated.
let state = Number(options.seed) >>> 0
const random = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
}
const pick = (list) => list[Math.floor(random() * list.length)]
const real = [...cases.keys()]
const mutate = () => {
    if (random() < 0.3) return Array.from({ length: 1 + Math.floor(random() * 7) }, () => pick(MARKS)).join(pick(['', ' ', '; ']))
    let text = pick(real)
    for (let times = 1 + Math.floor(random() * 4); times > 0; times--) {
        const at = Math.floor(random() * (text.length + 1))
        const kind = random()
        if (kind < 0.5) text = text.slice(0, at) + pick(['', ' ']) + pick(MARKS) + text.slice(at)
        else if (kind < 0.7) text = text.slice(0, at) + text.slice(at + Math.floor(random() * 30))
        else if (kind < 0.8) text = text.slice(at)
        else if (kind < 0.9) text = pick([text.toLowerCase(), text.toUpperCase()])
        else text = text.slice(0, at) + pick(real).slice(Math.floor(random() * 60))
    }
    return text
}

const runs = [...cases].map(([userAgent, vendor]) => ({ userAgent, vendor: vendor ?? vendorOf(userAgent) }))
const realRuns = runs.length
for (let count = Number(options.mutants); count > 0; count--) {
    const userAgent = mutate().slice(0, 4096)
    runs.push({ userAgent, vendor: vendorOf(userAgent) })
}
// The device type again, as a browser with client hints on a touch screen would report it.
for (const [userAgent] of cases) {
    const platform = pick(['Android', 'Android', 'Linux', 'Windows', 'macOS'])
    const [screenWidth, screenHeight] = [pick([360, 412, 800, 1280]), pick([599, 600, 915, 1280])]
    const devicePixelRatio = pick([1, 1.5, 2, 3])
    const hints = { userAgentDataPlatform: platform, maxTouchPoints: 5, screenWidth, screenHeight, devicePixelRatio }
    runs.push({ userAgent, vendor: vendorOf(userAgent), hints })
}

// --- what Hedgerow says, and the differences ---------------------------------------------------

const hedgerow = spawnSync(options.binary, {
    input: runs
        .map(({ userAgent, hints }) =>
            JSON.stringify(
                hints
                    ? {
                          user_agent: userAgent,
                          platform: hints.userAgentDataPlatform,
                          screen: [hints.screenWidth, hints.screenHeight, hints.devicePixelRatio],
                      }
                    : { user_agent: userAgent }
            )
        )
        .join('\n'),
    maxBuffer: 1 << 30,
})
if (hedgerow.status !== 0) {
    console.error(String(hedgerow.error ?? hedgerow.stderr))
    process.exit(2)
}
const lines = String(hedgerow.stdout).trimEnd().split('\n')
if (lines.length !== runs.length) {
    console.error(`${runs.length} user agents went in and ${lines.length} answers came out`)
    process.exit(2)
}
const NAMES = [
    'browser', 'browser_version', 'os', 'os_version', 'device', 'device_type', 'webview_app', 'webview_app_version',
]
let differences = 0
let explained = 0
const differing = (run, theirs, ours) =>
    // With hints only the device type is compared: the rest intentionally goes beyond posthog-js.
    (run.hints ? ['device_type'] : NAMES).filter((name) => ours[name] !== theirs[NAMES.indexOf(name)])
const answers = runs.map((run, index) => {
    let theirs = expected(run)
    const ours = JSON.parse(lines[index])
    const wrong = differing(run, theirs, ours)
    if (wrong.length > 0) {
        // A browser that pretends to be another one may have its own navigator.vendor, which no
        // server can see. With the other browser's vendor there must be no difference.
        const honest = expected({ ...run, vendor: vendorOf(run.userAgent) })
        const lied = run.vendor !== vendorOf(run.userAgent) && differing(run, honest, ours).length === 0
        if (lied) {
            explained++
            theirs = honest
        } else differences++
        console.log(`${lied ? 'explained (vendor contradicts the user agent)' : 'DIFFERENT'} in ${wrong.join(', ')}: ${JSON.stringify(run)}`)
        console.log(`  posthog-js ${JSON.stringify(theirs)}\n  Hedgerow   ${lines[index]}`)
    }
    return theirs
})
console.log(`${realRuns} real user agents, ${options.mutants} mutants, ${cases.size} with client hints: ${differences} differences, ${explained} explained`)

if (options.freeze) {
    const seen = new Set()
    const frozen = []
    for (let index = 0; index < realRuns; index++) {
        // An app's version is copied unchanged, so one of each app is enough.
        const answer = JSON.stringify(answers[index].slice(0, 7))
        // Some crawlers contain their owner's address, which should not be copied further.
        if (runs[index].userAgent.includes('@')) continue
        if (!seen.has(answer)) frozen.push(JSON.stringify([runs[index].userAgent, ...answers[index]]))
        seen.add(answer)
    }
    writeFileSync(options.freeze, frozen.join('\n') + '\n')
    console.log(`${frozen.length} user agents frozen`)
}
process.exit(differences > 0 ? 1 : 0)
