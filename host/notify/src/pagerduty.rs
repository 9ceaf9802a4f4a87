//! PagerDuty's Events API v2: an alert is triggered, and resolved under the same key; what went well is a change event, which pages nobody.

use keywheel_model::SecretBytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::http::Answer;
use crate::shorten::{one_line, plain, shortened};
use crate::words::{self, Nature, Sender};
use crate::{Error, Notice};

/// Where events go, unless the configuration says otherwise.
pub const ENDPOINT: &str = "https://events.pagerduty.com";

pub(crate) const ALERTS: &str = "/v2/enqueue";
pub(crate) const CHANGES: &str = "/v2/change/enqueue";

const SUMMARY: usize = 1024;
const KEY_BYTES: usize = 255;
const TEXT: usize = 8000;
const FACT: usize = 1000;
const FACTS: usize = 20;

/// What an integration's key looks like.
pub(crate) fn fits(key: &SecretBytes) -> bool {
    let key = key.expose().trim_ascii();
    key.len() == 32 && key.iter().all(u8::is_ascii_alphanumeric)
}

/// Where an event goes, and what it is. The key stands in the bytes alone, in no other form.
pub(crate) fn event(
    notice: &Notice,
    sender: &Sender,
    key: &SecretBytes,
) -> (&'static str, Zeroizing<Vec<u8>>) {
    let (path, event) = match notice.words.nature {
        Nature::Raised => (ALERTS, trigger(notice, sender)),
        Nature::Resolved => (
            ALERTS,
            json!({"dedup_key": dedup_key(notice, sender), "event_action": "resolve"}),
        ),
        Nature::Happened => (CHANGES, change(notice, sender)),
    };
    let event = event.to_string();
    let mut bytes = Zeroizing::new(Vec::with_capacity(event.len() + 64));
    bytes.extend_from_slice(b"{\"routing_key\":\"");
    // Letters and digits: nothing is to be escaped.
    bytes.extend_from_slice(key.expose().trim_ascii());
    bytes.extend_from_slice(b"\",");
    bytes.extend_from_slice(&event.as_bytes()[1..]);
    (path, bytes)
}

/// What an answer says of the event: which refusals are the key's fault is in its words alone.
pub(crate) fn judge(answer: &Answer) -> Result<(), Error> {
    let names_key = || String::from_utf8_lossy(&answer.body).contains("routing_key");
    if answer.status == 400 && names_key() {
        return Err(Error::Gone {
            status: answer.status,
            word: Some("routing_key".to_owned()),
        });
    }
    answer.judged()
}

fn trigger(notice: &Notice, sender: &Sender) -> Value {
    let words = &notice.words;
    let mut event = json!({
        "event_action": "trigger",
        "dedup_key": dedup_key(notice, sender),
        "payload": {
            "summary": one_line(&words.title, SUMMARY, plain),
            "source": sender.name,
            "severity": notice.severity.as_str(),
            "timestamp": words::time_of_pagerduty(notice.at),
            "component": one_line(notice.subject(), SUMMARY, plain),
            "class": one_line(notice.kind(), SUMMARY, plain),
            "custom_details": details(notice),
        },
        "client": "keywheel",
    });
    if let Some(link) = &words.link {
        event["links"] = json!([{"href": link, "text": "more"}]);
    }
    event
}

fn change(notice: &Notice, sender: &Sender) -> Value {
    let words = &notice.words;
    let links = words
        .link
        .iter()
        .map(|link| json!({"href": link, "text": "more"}));
    json!({
        "payload": {
            "summary": one_line(&words.title, SUMMARY, plain),
            "timestamp": words::time_of_pagerduty(notice.at),
            "source": sender.name,
            "custom_details": details(notice),
        },
        "links": links.collect::<Vec<_>>(),
    })
}

fn details(notice: &Notice) -> Value {
    let words = &notice.words;
    let facts = words.facts.iter().take(FACTS);
    let facts = facts.map(|(name, value)| {
        (
            name.to_lowercase().replace(' ', "_"),
            shortened(value, FACT, plain).into(),
        )
    });
    let mut details: serde_json::Map<String, Value> = facts.collect();
    details.insert("what".to_owned(), shortened(&words.text, TEXT, plain).into());
    details.insert("notice".to_owned(), notice.id.into());
    details.into()
}

/// The same for all that is told of one thing by one host; what is too long is told apart by its hash.
fn dedup_key(notice: &Notice, sender: &Sender) -> String {
    let key = format!("keywheel/{}/{}", sender.store, notice.key);
    if key.len() <= KEY_BYTES {
        return key;
    }
    let hash: String = Sha256::digest(key.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("keywheel/{hash}")
}
