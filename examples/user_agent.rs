//! Prints the properties that Hedgerow reads from user agents. Each input line is a JSON object with
//! `user_agent` and the client hints `platform` and `screen` (a list of width, height and density).
//! The example prints one JSON object in one line for each. `scripts/user_agents` compares the output
//! with posthog-js.

use std::io::{self, BufRead, BufWriter, Write};

use hedgerow::rewrite::enrich::user_agent::{ClientHints, Screen, UserAgent};

#[derive(serde::Deserialize)]
struct Input {
    user_agent: String,
    platform: Option<String>,
    screen: Option<(f64, f64, f64)>,
}

fn main() -> io::Result<()> {
    let mut output = BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let input: Input = serde_json::from_str(&line?)?;
        let parsed = UserAgent::parse(&input.user_agent);
        let refined = parsed.refined(&ClientHints {
            platform: input.platform.as_deref(),
            screen: input.screen.map(|(width, height, density)| Screen {
                width,
                height,
                density: Some(density),
            }),
            ..ClientHints::default()
        });
        let version = refined.browser_version.unwrap_or("null");
        writeln!(
            output,
            "{{\"browser\":{},\"browser_version\":{version},\"os\":{},\"os_version\":{},\"device\":{},\"device_type\":{},\"webview_app\":{},\"webview_app_version\":{}}}",
            serde_json::json!(refined.browser),
            serde_json::json!(refined.os),
            serde_json::json!(refined.os_version),
            serde_json::json!(refined.device),
            serde_json::json!(refined.device_type),
            serde_json::json!(parsed.webview_app),
            serde_json::json!(parsed.webview_app_version),
        )?;
    }
    output.flush()
}
