// Writes the results of posthog-js's own functions for the URLs and referrers in cases.json, for
// the test `tests/urls.rs`. Each line is [url, referrer, properties, url with masked click ids].
//
//   cd scripts/urls && npm install && node freeze.mjs > ../../tests/data/urls.jsonl
//
// Node's URL replaces the anchor element with which posthog-js parses URLs; both follow the same
// standard.

import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const anchor = () => ({
    set href(text) {
        Object.assign(this, URL.canParse(text) ? { url: new URL(text) } : {})
    },
    get host() {
        return this.url?.host ?? ''
    },
    get pathname() {
        return this.url?.pathname ?? ''
    },
})
globalThis.document = { createElement: anchor, referrer: '', URL: '' }
globalThis.window = globalThis
globalThis.location = {}

const { getPersonPropsFromInfo, MASKED, PERSONAL_DATA_CAMPAIGN_PARAMS } = await import(
    '@posthog/browser-common/utils/event-utils'
)
const { maskQueryParams } = await import('@posthog/browser-common/utils/request-utils')

const here = dirname(fileURLToPath(import.meta.url))
const { urls, referrers } = JSON.parse(readFileSync(join(here, 'cases.json'), 'utf8'))
const cases = [...urls.map((url) => [url, '']), ...referrers.map((referrer) => ['https://a.test/', referrer])]
for (const [url, referrer] of cases) {
    document.referrer = referrer
    const properties = getPersonPropsFromInfo({ r: referrer || '$direct', u: url })
    for (const name of Object.keys(properties)) if (properties[name] == null) delete properties[name]
    delete properties.$referrer
    delete properties.$current_url
    console.log(JSON.stringify([url, referrer, properties, maskQueryParams(url, PERSONAL_DATA_CAMPAIGN_PARAMS, MASKED)]))
}
