// A few rules of a blocker's list, asked about the same call at two addresses.

// As EasyPrivacy has them. The first two stand for a whole host and hold on other sites' pages; the
// third is a path and holds everywhere.
const RULES = ['||segment.io^$third-party', '||segment.com^$third-party', '/analytics.js/v1/*'];

// Whether a rule of one of these two kinds takes a request.
function takes(rule, url, page) {
  const [pattern, option] = rule.split('$');
  if (option === 'third-party' && url.hostname === page.hostname) return false;
  if (pattern.startsWith('||')) {
    const host = pattern.slice(2, -1);
    return url.hostname === host || url.hostname.endsWith(`.${host}`);
  }
  return url.href.includes(pattern.replace(/\*$/, ''));
}

export function judge(urls, page) {
  return urls.map((url) => [url, RULES.find((rule) => takes(rule, new URL(url), page)) ?? null]);
}

export function show(body, prefix) {
  const urls = ['https://api.segment.io/v1/t', `${location.origin}${prefix}v1/t`];
  for (const [url, rule] of judge(urls, location)) {
    const row = body.insertRow();
    const address = document.createElement('code');
    address.textContent = url;
    row.insertCell().append(address);
    const verdict = document.createElement('b');
    verdict.className = rule ? 'stopped' : 'passes';
    verdict.textContent = rule ? 'stopped' : 'passes';
    const cell = row.insertCell();
    cell.append(verdict);
    if (rule) {
      const by = document.createElement('code');
      by.textContent = rule;
      cell.append(' by ', by);
    } else {
      cell.append(` all ${RULES.length}`);
    }
  }
}
