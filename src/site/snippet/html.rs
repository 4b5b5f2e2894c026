//! The script tag for plain HTML.

use super::super::unanswered;
use super::literal::literal;
use super::options::{options, HandOver, Types};
use super::page::{AnalyticsPart, Page, PostHogPart};

/// The methods of analytics.js that may be called before it has loaded (its `PreInitMethodName`).
const ANALYTICS_METHODS: &str = "track page identify group alias screen ready on once off register \
     deregister user reset setAnonymousId trackLink trackForm trackClick trackSubmit pageview debug \
     addSourceMiddleware addDestinationMiddleware";

/// The methods of posthog-js that may be called before it has loaded: the methods of the vendor's own
/// stubs (1.449.2 and before), except `init` and `people`.
const POSTHOG_METHODS: &str = "addExceptionStep alias calculateEventProperties canRenderSurvey \
     canRenderSurveyAsync cancelPendingSurvey capture captureException captureLog \
     captureTraceFeedback captureTraceMetric clearIdentity clear_opt_in_out_capturing \
     createPersonProfile debug displaySurvey getActiveMatchingSurveys getAllFeatureFlags \
     getEarlyAccessFeatures getExtension getFeatureFlag getFeatureFlagPayload getFeatureFlagResult \
     getGroups getNextSurveyStep getPageViewId getSessionProperty getSurveys get_distinct_id \
     get_explicit_consent_status get_property get_session_id get_session_replay_url group \
     has_opted_in_capturing has_opted_out_capturing identify isFeatureEnabled is_capturing \
     loadToolbar on onActiveMatchingSurveysChanged onFeatureFlags onSessionId onSurveysLoaded \
     opt_in_capturing opt_out_capturing register register_for_session register_once \
     reloadFeatureFlags renderSurvey reset resetGroupPropertiesForFlags resetGroups \
     resetPersonPropertiesForFlags sessionRecordingStarted setGroupPropertiesForFlags setIdentity \
     setInternalOrTestUser setPersonProperties setPersonPropertiesForFlags set_config shutdown \
     startExceptionAutocapture startSessionRecording stopExceptionAutocapture \
     stopSessionRecording unregister unregister_for_session unsetPersonProperties \
     updateEarlyAccessFeatureEnrollment updateFlags";

/// Returns the whole tag for a page's head, with the nonce if there is a valid one.
pub fn tag(page: &Page, nonce: Option<&str>) -> String {
    let nonce = nonce
        .filter(|nonce| is_nonce(nonce))
        .map_or(String::new(), |nonce| format!(" nonce=\"{nonce}\""));
    format!("<script{nonce}>\n{}</script>\n", script(page))
}

/// Returns the tag for a page that a program generates. `nonce` is a nonce, or a placeholder such as
/// `{{ nonce }}` that the program replaces. Returns `None` if `nonce` is empty or not valid between
/// double quotes, because browsers would not run a tag without it.
pub fn tag_of_template(page: &Page, nonce: &str) -> Option<String> {
    let is_valid = !nonce.is_empty() && !nonce.contains(|one: char| one == '"' || one.is_control());
    is_valid.then(|| format!("<script nonce=\"{nonce}\">\n{}</script>\n", script(page)))
}

/// Returns whether a text is not empty and has only characters that CSP allows in a nonce: those of
/// base64 (CSP3, 2.3.1).
fn is_nonce(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=')
        })
}

/// Returns the script, which is inside the tag or in a separate file.
///
/// Calls before a library has loaded wait in its queue. With both libraries the first `page` waits
/// for posthog-js, so that it has the session, but no longer than three seconds.
///
/// analytics.js requests its settings once. Without them it never starts, and its queue is lost
/// (segment-tracking 3.3). So the script requests the settings first, and retries until it gets them.
/// Then it loads analytics.js, which reads them from the browser's cache.
pub fn script(page: &Page) -> String {
    let mut text = String::from("!function (window, document) {\n");
    text.push_str(LOAD);
    text.push_str(&unanswered::in_a_script());
    if let Some(analytics) = &page.analytics {
        text.push_str(&analytics_part(page, analytics));
    }
    match (&page.analytics, &page.posthog) {
        (Some(_), Some(posthog)) => {
            text.push_str(&posthog_stub(" analytics.page()"));
            text.push_str(&html_with_hand_over(page, posthog));
        }
        (Some(_), None) => text.push_str("  analytics.page()\n"),
        (None, Some(posthog)) => {
            text.push_str(&posthog_stub(""));
            text.push_str(&html_without_hand_over(page, posthog));
        }
        (None, None) => {}
    }
    text.push_str("}(window, document)\n");
    text
}

/// `load` adds a script to the page, with the nonce of the running script.
///
/// `queue` gives `target` the methods of a library that has not loaded yet. `said` stores their calls.
/// `now` returns the object that is at the library's place: after the library has loaded, a method
/// that the page took from `target` earlier calls the library.
///
/// `insistent` returns a function that retries later, with growing pauses. Its arguments are the URL
/// that has failed, and the reason.
const LOAD: &str = "  var self = document.currentScript
  function load(address, failed) {
    var script = document.createElement('script')
    script.async = true
    script.src = address
    script.crossOrigin = 'anonymous'
    if (self && self.nonce) script.nonce = self.nonce
    if (failed) script.onerror = failed
    ;(document.head || document.documentElement).appendChild(script)
  }
  function insistent(attempt) {
    var wait = 1000
    return function (url, why) {
      fails(url, url, why)
      setTimeout(attempt, wait)
      wait = Math.min(2 * wait, 60000)
    }
  }
  function queue(now, target, methods, said) {
    methods.split(' ').forEach(function (name) {
      target[name] = function () {
        var there = now()
        if (there === target) return said(name, [].slice.call(arguments))
        if (there && there[name]) return there[name].apply(there, arguments)
      }
    })
  }
";

/// Returns the code that creates the queue that analytics.js takes over, and loads analytics.js. The
/// queue stores the page's state at the time of each call: if a site changes pages by script, the
/// address may differ when the library has loaded.
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
  queue(function () {{ return window.analytics }}, analytics, '{methods}', function (name, call) {{
    if (/^(track|page|identify|group|alias|screen)$/.test(name)) {{
      var canonical = document.querySelector('link[rel=canonical]')
      call.push({{ __t: 'bpc', c: canonical && canonical.getAttribute('href') || undefined, p: location.pathname,
        u: location.href, s: location.search, t: document.title, r: document.referrer }})
    }}
    analytics.push([name].concat(call))
    return analytics
  }})
  var startAgain = insistent(start)
  function start() {{
    function begin() {{
      load({script}, function () {{ startAgain({script}, 'without a script for an answer') }})
    }}
    if (!window.fetch) return begin()
    fetch({settings}).then(function (answer) {{
      return answer.ok ? answer.json() : Promise.reject('with status ' + answer.status)
    }}).then(begin, function (why) {{
      startAgain({settings}, why.name === 'SyntaxError' ? 'with something else for an answer'
        : why.name ? 'without an answer' : why)
    }})
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

/// Returns the code that creates the queue that posthog-js takes over, in the form of the vendor's own
/// loaders: the calls are in the list itself, those of `people` in a separate list, and the arguments
/// of `init` in `_i`. Until the library has loaded, the queued methods return nothing, so that no
/// flag counts as on.
///
/// An existing list belongs to another installation. It stays unchanged, and `otherwise` runs.
fn posthog_stub(otherwise: &str) -> String {
    let methods = POSTHOG_METHODS
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    format!(
        "  var posthog = window.posthog = window.posthog || []
  if (!posthog.push || posthog.__SV) return{otherwise}
  posthog.__SV = 1
  posthog._i = []
  function waiting(target, title, now) {{
    function keep(list) {{ return function (name, call) {{ list.push([name].concat(call)) }} }}
    var people = target.people = target.people || []
    target.toString = function (bare) {{ return title + (bare ? '' : ' (stub)') }}
    people.toString = function () {{ return title + '.people (stub)' }}
    queue(now, target, '{methods}', keep(target))
    queue(function () {{ return (now() || {{}}).people }}, people, 'set set_once', keep(people))
    return target
  }}
  waiting(posthog, 'posthog', function () {{ return window.posthog }})
  posthog.init = function (key, options, name) {{
    if (window.posthog !== posthog) return window.posthog.init(key, options, name)
    name = name || 'posthog'
    posthog._i.push([key, options, name])
    return name === 'posthog' ? posthog : posthog[name] = posthog[name] ||
      waiting([], 'posthog.' + name, function () {{ return window.posthog[name] }})
  }}
"
    )
}

/// Returns the call that starts posthog-js after it has loaded. It is before the page's own calls of
/// `init`, so that a page that starts the same project again changes nothing.
fn init_call(posthog: &PostHogPart, options: &str) -> String {
    let key = literal(&posthog.api_key);
    format!("posthog._i.unshift([{key}, {options}, 'posthog'])")
}

/// Returns the statement that counts posthog-js's failed requests. The loader of analytics.js counts
/// its own.
fn watch(page: &Page, posthog: &PostHogPart) -> String {
    format!(
        "  watchAnswers({})\n",
        page.home.place(&format!("{}/", posthog.prefix))
    )
}

fn html_without_hand_over(page: &Page, posthog: &PostHogPart) -> String {
    format!(
        "  {init}
{watch}  function loadPostHog() {{
    load({script}, function () {{ loadAgain({script}, 'without a script for an answer') }})
  }}
  var loadAgain = insistent(loadPostHog)
  loadPostHog()
",
        watch = watch(page, posthog),
        init = init_call(posthog, &options(page, posthog, None, Types::None, "  ")),
        script = literal(&posthog.address(&page.home, "/static/array.js")),
    )
}

/// Returns the code for both libraries. posthog-js runs only after analytics.js has started, because
/// it takes over the visitor of analytics.js. If it ran before and started after, calls in between
/// would be lost: up to 1.443 it reads the queue only once, when it runs.
///
/// The script fetches the file of posthog-js in advance, so that posthog-js is not late. A preload
/// would cause a warning on the console if analytics.js is slow.
fn html_with_hand_over(page: &Page, posthog: &PostHogPart) -> String {
    let hand_over = HandOver {
        analytics: "window.analytics",
        anonymous_id: "window.analytics.user().anonymousId()",
        loaded: "first",
    };
    let options = options(page, posthog, Some(hand_over), Types::None, "    ");
    format!(
        "{watch}  var seen = false
  function first() {{
    if (!seen) {{
      seen = true
      window.analytics.page()
    }}
  }}
  function loadPostHog() {{
    load({script}, function () {{
      first()
      loadAgain({script}, 'without a script for an answer')
    }})
  }}
  var loadAgain = insistent(loadPostHog)
  analytics.ready(function () {{
    {init}
    loadPostHog()
  }})
  if (window.fetch) fetch({script}).then(function (answer) {{ return answer.text() }}).then(null, function () {{}})
  setTimeout(first, 3000)
",
        watch = watch(page, posthog),
        script = literal(&posthog.address(&page.home, "/static/array.js")),
        init = init_call(posthog, &options),
    )
}
