//! The tag for plain HTML.

use super::{literal, options, AnalyticsPart, HandOver, Page, PostHogPart, Types};

/// The methods of analytics.js that may be called before it is there (its `PreInitMethodName`).
const ANALYTICS_METHODS: &str = "track page identify group alias screen ready on once off register \
     deregister user reset setAnonymousId trackLink trackForm trackClick trackSubmit pageview debug \
     addSourceMiddleware addDestinationMiddleware";

/// The methods of posthog-js that a page may call before it is there.
const POSTHOG_METHODS: &str =
    "capture identify alias group register register_once unregister reset \
     setPersonProperties onFeatureFlags reloadFeatureFlags onSessionId startSessionRecording \
     stopSessionRecording opt_in_capturing opt_out_capturing captureException";

/// The whole tag, to stand in a page's head. With a nonce it has one.
pub fn tag(page: &Page, nonce: Option<&str>) -> String {
    let nonce = nonce
        .filter(|nonce| is_nonce(nonce))
        .map_or(String::new(), |nonce| format!(" nonce=\"{nonce}\""));
    format!("<script{nonce}>\n{}</script>\n", script(page))
}

/// The tag for a page that a program makes: `nonce` is a nonce, or what that program replaces by
/// one, such as `{{ nonce }}`. `None` when it cannot stand between double quotes; a tag without it
/// would be kept from running.
pub fn tag_of_template(page: &Page, nonce: &str) -> Option<String> {
    let stands = !nonce.is_empty() && !nonce.contains(|one: char| one == '"' || one.is_control());
    stands.then(|| format!("<script nonce=\"{nonce}\">\n{}</script>\n", script(page)))
}

/// What a CSP allows as a nonce: the characters of base64 (CSP3, 2.3.1).
fn is_nonce(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=')
        })
}

/// The script inside the tag, or in a file of its own.
///
/// Calls made before a library is there wait in its queue. With both libraries the first `page`
/// waits for posthog-js, so that it carries the session; not longer than three seconds.
///
/// analytics.js asks for its settings once, and without them it never starts and its queue is lost
/// (segment-tracking 3.3). So the script asks for them first, again and again if it must, and then
/// loads analytics.js, which gets them out of the browser's cache.
pub fn script(page: &Page) -> String {
    let mut text = String::from("!function (window, document) {\n");
    text.push_str(LOAD);
    if let Some(analytics) = &page.analytics {
        text.push_str(&analytics_part(page, analytics));
    }
    match (&page.analytics, &page.posthog) {
        (Some(_), Some(posthog)) => {
            text.push_str(&posthog_stub());
            text.push_str(&together(page, posthog));
        }
        (Some(_), None) => text.push_str("  analytics.page()\n"),
        (None, Some(posthog)) => {
            text.push_str(&posthog_stub());
            text.push_str(&alone(page, posthog));
        }
        (None, None) => {}
    }
    text.push_str("}(window, document)\n");
    text
}

/// `load` adds a script to the page, with the nonce of the one that runs. `queue` gives a list the
/// methods of a library that is not there yet; once it is, a method that somebody kept calls it.
/// `insistent` gives a function that does something again later, and later still each time.
const LOAD: &str = "  var self = document.currentScript
  function load(address, done, failed) {
    var script = document.createElement('script')
    script.async = true
    script.src = address
    script.crossOrigin = 'anonymous'
    if (self && self.nonce) script.nonce = self.nonce
    if (done) script.onload = done
    if (failed) script.onerror = failed
    ;(document.head || document.documentElement).appendChild(script)
  }
  function insistent(attempt) {
    var wait = 1000
    return function () {
      setTimeout(attempt, wait)
      wait = Math.min(2 * wait, 60000)
    }
  }
  function queue(library, target, methods, before) {
    methods.split(' ').forEach(function (name) {
      target[name] = function () {
        var now = window[library]
        if (now !== target) return now[name].apply(now, arguments)
        target.push(before(name, [].slice.call(arguments)))
        return target
      }
    })
  }
";

/// The queue that analytics.js takes over, with the page as it was at the time of each call: in a
/// site that changes pages by script the address may be another one when the library is there.
fn analytics_part(page: &Page, analytics: &AnalyticsPart) -> String {
    let origin = page.home.origin();
    let methods = ANALYTICS_METHODS
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    format!(
        "  var analytics = window.analytics = window.analytics || []
  if (!analytics.push || analytics.invoked) return
  analytics.invoked = true
  analytics._writeKey = {key}
  analytics._cdn = {cdn}
  analytics._loadOptions = {{}}
  queue('analytics', analytics, '{methods}', function (name, call) {{
    if (/^(track|page|identify|group|alias|screen)$/.test(name)) {{
      var canonical = document.querySelector('link[rel=canonical]')
      call.push({{ __t: 'bpc', c: canonical && canonical.getAttribute('href') || undefined, p: location.pathname,
        u: location.href, s: location.search, t: document.title, r: document.referrer }})
    }}
    return [name].concat(call)
  }})
  var startAgain = insistent(start)
  function start() {{
    function begin() {{ load({script}, null, startAgain) }}
    if (!window.fetch) return begin()
    fetch({settings}).then(function (answer) {{
      return answer.ok ? answer.text() : Promise.reject(answer.status)
    }}).then(begin, startAgain)
  }}
  start()
",
        key = literal(&analytics.write_key),
        settings = literal(&format!(
            "{origin}{}",
            analytics.layout.settings_path(&analytics.write_key)
        )),
        cdn = literal(&format!("{origin}{}", analytics.layout.prefix())),
        script = literal(&format!("{origin}{}", analytics.layout.script_path())),
    )
}

fn posthog_stub() -> String {
    let methods = POSTHOG_METHODS
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    format!(
        "  var posthog = window.posthog = window.posthog || []
  if (!posthog.push || posthog.__SV) return
  posthog.__SV = 1
  posthog._i = []
  posthog.people = []
  queue('posthog', posthog, '{methods}', function (name, call) {{ return [name].concat(call) }})
"
    )
}

fn alone(page: &Page, posthog: &PostHogPart) -> String {
    format!(
        "  function loadPostHog() {{
    load({script}, function () {{
      window.posthog.init({key}, {options})
    }}, loadAgain)
  }}
  var loadAgain = insistent(loadPostHog)
  loadPostHog()
",
        script = literal(&posthog.address(&page.home, "/static/array.js")),
        key = literal(&posthog.api_key),
        options = options(page, posthog, None, Types::None, "      "),
    )
}

fn together(page: &Page, posthog: &PostHogPart) -> String {
    let hand_over = HandOver {
        analytics: "window.analytics",
        anonymous_id: "window.analytics.user().anonymousId()",
        loaded: "first",
    };
    format!(
        "  var waiting = 2, seen = false
  function first() {{
    if (!seen) {{
      seen = true
      window.analytics.page()
    }}
  }}
  function both() {{
    if (--waiting) return
    window.posthog.init({key}, {options})
  }}
  analytics.ready(both)
  function loadPostHog() {{
    load({script}, both, function () {{
      first()
      loadAgain()
    }})
  }}
  var loadAgain = insistent(loadPostHog)
  loadPostHog()
  setTimeout(first, 3000)
",
        script = literal(&posthog.address(&page.home, "/static/array.js")),
        key = literal(&posthog.api_key),
        options = options(page, posthog, Some(hand_over), Types::None, "    "),
    )
}
