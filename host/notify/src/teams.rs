//! Microsoft Teams: a webhook of Workflows, which posts an Adaptive Card.

use serde_json::{Value, json};

use crate::shorten::{one_line, shortened};
use crate::words::{self, Nature};
use crate::{Notice, Severity};

/// The whole message, in bytes: a larger one is refused by Teams.
pub(crate) const MESSAGE_BYTES: usize = 28 * 1024;

const TITLE: usize = 300;
const FACTS: usize = 12;

/// The message, shortened until it fits.
pub(crate) fn message(notice: &Notice) -> Vec<u8> {
    let mut text = 12_000;
    loop {
        let message = card(notice, text, text / FACTS).to_string().into_bytes();
        // Without any text it is far within.
        if message.len() <= MESSAGE_BYTES || text < 200 {
            return message;
        }
        text /= 2;
    }
}

fn card(notice: &Notice, text: usize, fact: usize) -> Value {
    let words = &notice.words;
    let mut facts: Vec<Value> = words
        .facts
        .iter()
        .take(FACTS)
        .map(|(name, value)| json!({"title": one_line(name, 100, harmless), "value": shortened(value, fact, harmless)}))
        .collect();
    facts.push(json!({"title": "When", "value": words::time(notice.at)}));
    facts.push(json!({"title": "Notice", "value": notice.id.to_string()}));
    let mut content = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": [
            {"type": "TextBlock", "text": one_line(&words.title, TITLE, harmless), "weight": "Bolder", "size": "Medium",
             "wrap": true, "color": colour(notice)},
            {"type": "TextBlock", "text": shortened(&words.text, text, harmless), "wrap": true},
            {"type": "FactSet", "facts": facts},
        ],
    });
    if let Some(link) = &words.link {
        content["actions"] = json!([{"type": "Action.OpenUrl", "title": "Open", "url": link}]);
    }
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": content,
        }],
    })
}

fn colour(notice: &Notice) -> &'static str {
    match (notice.words.nature, notice.severity) {
        (Nature::Resolved, _) => "Good",
        (_, Severity::Critical | Severity::Error) => "Attention",
        (_, Severity::Warning) => "Warning",
        (_, Severity::Info) => "Accent",
    }
}

/// A card's text is Markdown: what would become a link behind other words stays text.
fn harmless(character: char, into: &mut String) {
    match character {
        '[' => into.push('('),
        ']' => into.push(')'),
        other => into.push(other),
    }
}
