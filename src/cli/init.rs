//! `hedgerow init`: a complete configuration with fresh neutral paths.

use clap::Args;
use hedgerow::config::{parse, render_problems, Environment};
use hedgerow::site::init::{init as text, InitOptions, PostHogJs, DEFAULT_ANALYTICS_JS};
use hedgerow::site::names;

use super::output::{complain, print};
use super::End;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where the PostHog project lives: us, eu or a URL.
    #[arg(long, default_value = "us", value_name = "HOST")]
    host: String,
    /// The site's own server, such as http://127.0.0.1:3000, to stand in front of it.
    #[arg(long, value_name = "URL")]
    origin: Option<String>,
    /// The host name that visitors use; without it every host is served.
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// Only Segment's calls and analytics.js: no replay, flags, surveys and autocapture.
    #[arg(long)]
    without_posthog_js: bool,
    /// The folder dist/umd of the npm package @segment/analytics-next.
    #[arg(long, default_value = DEFAULT_ANALYTICS_JS, value_name = "FOLDER")]
    analytics_js: String,
}

/// Prints the configuration.
pub(super) fn init(options: &Options) -> End {
    let mut random = [0_u8; names::ENOUGH_RANDOM_BYTES];
    if let Err(error) = getrandom::fill(&mut random) {
        complain!("hedgerow: the system gives no random numbers: {error}");
        return End::Unable;
    }
    let chosen = InitOptions {
        host: options.host.clone(),
        origin: options.origin.clone(),
        domain: options.domain.clone(),
        posthog_js: if options.without_posthog_js {
            PostHogJs::LeftOut
        } else {
            PostHogJs::Served
        },
        analytics_js: options.analytics_js.clone(),
    };
    let text = match text(&chosen, &random) {
        Ok(text) => text,
        Err(error) => {
            complain!("hedgerow: {error}");
            return End::Unable;
        }
    };
    // A flag with a mistake is told now, and not by the first `hedgerow run`. The key is not
    // needed for that.
    let trial = text.replace("env:POSTHOG_API_KEY", "phc_placeholder");
    if let Err(problems) = parse(&trial, &Environment::new("")) {
        complain!(
            "{}",
            render_problems(&problems, "the configuration").trim_end()
        );
        return End::Unable;
    }
    print(&text)
}
