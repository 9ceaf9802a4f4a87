//! Slack's incoming webhooks. Limits: <https://api.slack.com/reference/block-kit/blocks>.

use serde_json::{Value, json};

use crate::http::Answer;
use crate::shorten::{one_line, plain, shortened};
use crate::{Error, Notice, Severity, words};

const HEADER: usize = 150;
const SECTION: usize = 3000;
const FIELDS: usize = 10;
const FIELD: usize = 2000;
const CONTEXT: usize = 2000;

/// Words of refusals that are about the webhook, whatever the message was: <https://api.slack.com/messaging/webhooks>.
const OF_THE_WEBHOOK: [&str; 11] = [
    "action_prohibited",
    "channel_is_archived",
    "channel_not_found",
    "invalid_token",
    "no_active_hooks",
    "no_service",
    "no_service_id",
    "no_team",
    "posting_to_general_channel_denied",
    "team_disabled",
    "user_not_found",
];

/// And those about the message.
const OF_THE_MESSAGE: [&str; 6] = [
    "invalid_blocks",
    "invalid_payload",
    "msg_blocks_too_long",
    "msg_too_long",
    "no_text",
    "too_many_attachments",
];

/// The message.
pub(crate) fn message(notice: &Notice) -> Value {
    let words = &notice.words;
    let title = format!("{}{}", mark(notice), words.title);
    let mut section = json!({
        "type": "section",
        "text": {"type": "mrkdwn", "text": shortened(&filled(&words.text), SECTION, escaped)},
    });
    let fields = words.facts.iter().take(FIELDS);
    let fields: Vec<Value> = fields.map(|(name, value)| field(name, value)).collect();
    if !fields.is_empty() {
        section["fields"] = fields.into();
    }
    let context = format!("{} · notice {}", words::time(notice.at), notice.id);
    let mut blocks = vec![
        json!({"type": "header", "text": {"type": "plain_text", "text": one_line(&title, HEADER, plain), "emoji": true}}),
        section,
        json!({"type": "context", "elements": [{"type": "mrkdwn", "text": shortened(&context, CONTEXT, escaped)}]}),
    ];
    if let Some(link) = &words.link {
        blocks.push(json!({"type": "actions", "elements": [
            {"type": "button", "text": {"type": "plain_text", "text": "Open"}, "url": link},
        ]}));
    }
    json!({"text": one_line(&title, SECTION, escaped), "blocks": blocks})
}

/// What an answer says of the message.
pub(crate) fn judge(answer: &Answer) -> Result<(), Error> {
    let word = std::str::from_utf8(&answer.body).unwrap_or_default().trim();
    let status = answer.status;
    if OF_THE_WEBHOOK.contains(&word) {
        let word = Some(word.to_owned());
        return Err(Error::Gone { status, word });
    }
    if OF_THE_MESSAGE.contains(&word) {
        let word = Some(word.to_owned());
        return Err(Error::Refused { status, word });
    }
    answer.judged()
}

fn field(name: &str, value: &str) -> Value {
    let name = shortened(name, 100, escaped);
    let room = FIELD - name.encode_utf16().count() - 3;
    json!({"type": "mrkdwn", "text": format!("*{name}*\n{}", shortened(&filled(value), room, escaped))})
}

/// A text of nothing is refused.
fn filled(text: &str) -> String {
    if text.trim().is_empty() {
        "-".to_owned()
    } else {
        text.to_owned()
    }
}

fn mark(notice: &Notice) -> &'static str {
    match (notice.words.nature, notice.severity) {
        (words::Nature::Resolved, _) => ":white_check_mark: ",
        (_, Severity::Critical) => ":rotating_light: ",
        (_, Severity::Error) => ":x: ",
        (_, Severity::Warning) => ":warning: ",
        (_, Severity::Info) => "",
    }
}

/// What would be read as a mention or a link is text.
fn escaped(character: char, into: &mut String) {
    match character {
        '&' => into.push_str("&amp;"),
        '<' => into.push_str("&lt;"),
        '>' => into.push_str("&gt;"),
        other => into.push(other),
    }
}
