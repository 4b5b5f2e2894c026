//! The parts of the npm package of analytics.js that the rewriting reads.

const LOADER: &str = concat!(
    "!function(){var v=\"9.8.7\",a=\"api.segment.io/v1\";",
    "function cdn(){return window.c||\"https://cdn.segment.com\"}",
    "function old(k){return\"https://cdn.segment.com/analytics.js/v1/\".concat(k)}",
    "var p=cdn()?cdn()+\"/analytics-next/bundles/\":",
    "\"https://cdn.segment.com/analytics-next/bundles/\";",
    "function s(k){return cdn().concat(\"/v1/projects/\").concat(k,\"/settings\")}",
    "var u=function(t){return({248:\"auto-track\"}[t]||t)+\".bundle.\"+",
    "{248:\"f131ce01a05e3a33a8c1\",407:\"61efa1acb302134c434b\"}[t]+\".js\"};",
    "var f=\"https://cdnjs.cloudflare.com/ajax/libs/babel-polyfill/7.7.0/polyfill.min.js\";",
    "}();\n",
);

/// Its files below `dist/umd`, with this code in one of its two chunks.
pub fn files(code: &str) -> [(&'static str, &str); 3] {
    [
        ("standalone.js", LOADER),
        ("auto-track.bundle.f131ce01a05e3a33a8c1.js", "one()"),
        ("407.bundle.61efa1acb302134c434b.js", code),
    ]
}
