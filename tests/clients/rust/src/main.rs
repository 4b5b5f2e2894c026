//! Makes the six calls with the `segment` crate. Arguments: the server's URL, and `single` or
//! `batch`.

use segment::message::{Alias, BatchMessage, Group, Identify, Page, Screen, Track, User};
use segment::{Batcher, Client, HttpClient, Message};
use serde_json::json;
use time::OffsetDateTime;

const WRITE_KEY: &str = "wk_real_clients";

/// The calls as items of a batch; `$make` is `Message` or `BatchMessage`.
macro_rules! calls {
    ($make:ident) => {{
        let user = || User::UserId {
            user_id: "user-7".to_owned(),
        };
        let timestamp = Some(OffsetDateTime::now_utc());
        vec![
            $make::Identify(Identify {
                user: user(),
                traits: json!({"email": "ada@example.test", "plan": "pro"}),
                timestamp,
                ..Default::default()
            }),
            $make::Track(Track {
                user: user(),
                event: "Order Completed".to_owned(),
                properties: json!({"order_id": "o-1", "total": 24.5, "note": "Grüße ☃"}),
                timestamp,
                ..Default::default()
            }),
            $make::Page(Page {
                user: user(),
                name: "Docs".to_owned(),
                properties: json!({"section": "api"}),
                timestamp,
                ..Default::default()
            }),
            $make::Screen(Screen {
                user: user(),
                name: "Basket".to_owned(),
                properties: json!({"items": 3}),
                timestamp,
                ..Default::default()
            }),
            $make::Group(Group {
                user: user(),
                group_id: "acme".to_owned(),
                traits: json!({"name": "Acme", "seats": 12}),
                timestamp,
                ..Default::default()
            }),
            $make::Alias(Alias {
                user: user(),
                previous_id: "visitor-7".to_owned(),
                timestamp,
                ..Default::default()
            }),
        ]
    }};
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("the server's URL is missing")?;
    let client = HttpClient::new(reqwest::Client::new(), url);
    let messages: Vec<Message> = match arguments.next().as_deref() {
        Some("single") => calls!(Message),
        Some("batch") => {
            let mut batcher = Batcher::new(None);
            for message in calls!(BatchMessage) {
                if batcher.push(message)?.is_some() {
                    return Err("the batch is full".into());
                }
            }
            vec![batcher.into_message()]
        }
        _ => return Err("`single` or `batch` is missing".into()),
    };
    for message in messages {
        client.send(WRITE_KEY.to_owned(), message).await?;
    }
    Ok(())
}
