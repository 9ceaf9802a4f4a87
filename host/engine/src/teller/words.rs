//! What a notification says, for machines and for people, and whether a sink is told it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use keywheel_config::{Notify, Wording};
use keywheel_model::{RotationName, Timestamp};
use keywheel_notify::template::{filled, for_url};
use keywheel_notify::{Nature, Notice, Severity, Words};
use keywheel_schedule::Zone;
use keywheel_store::Notification;
use serde_json::Value;

use super::{RAISED, RESOLVED};
use crate::attention::severity_of;
use crate::engine::Inner;

/// That a run has begun.
pub(crate) const STARTED: &str = "run.begin";

/// How the subject of a rotation begins.
pub(super) const ROTATION: &str = "rotation ";

/// A notification as a notice.
pub(super) fn notice_of(notification: &Notification) -> Notice {
    // It was written as JSON.
    let body: Value = serde_json::from_str(&notification.body).unwrap_or_default();
    let mut notice = Notice {
        id: notification.id,
        is_trouble: notification.topic == RAISED,
        severity: Severity::Info,
        topic: notification.topic.clone(),
        key: notification.key.clone(),
        at: notification.created.as_unix_ms(),
        body,
        words: Words::default(),
    };
    notice.severity = severity(&notice);
    notice.words = words(&notice);
    notice
}

/// How much it matters; of what is over, how much the worst of it did.
fn severity(notice: &Notice) -> Severity {
    match notice.topic.as_str() {
        RAISED | RESOLVED => kinds(notice)
            .into_iter()
            .map(severity_of)
            .max()
            .unwrap_or_default(),
        "run.park" => Severity::Error,
        "run.end" if text(&notice.body, "outcome") == Some("failed") => Severity::Error,
        "run.end" | "secret.repair" => Severity::Warning,
        _ => Severity::Info,
    }
}

/// The kinds that it is of: of what is over, all that were told of it.
fn kinds(notice: &Notice) -> Vec<&str> {
    let told = notice.body["kinds"].as_array();
    let mut kinds: Vec<&str> = told.into_iter().flatten().filter_map(Value::as_str).collect();
    kinds.extend(text(&notice.body, "kind"));
    if kinds.is_empty() {
        kinds.push(&notice.topic);
    }
    kinds
}

/// Whether a sink is told it. What is over goes to whoever was told of it.
pub(super) fn is_for(sink: &Notify, notice: &Notice, inner: &Inner) -> bool {
    let route = &sink.route;
    let is_about = match notice.topic.as_str() {
        RAISED | RESOLVED => sink.attention,
        STARTED => sink.started,
        _ => sink.events,
    };
    is_about
        && (route.severities.is_empty() || kinds_matter(notice, &route.severities))
        && (route.kinds.is_empty() || kinds(notice).iter().any(|kind| is_of(&route.kinds, kind)))
        && (route.labels.is_empty() || has_labels(notice, &route.labels, inner))
}

fn kinds_matter(notice: &Notice, severities: &[&str]) -> bool {
    if notice.topic == RAISED || notice.topic == RESOLVED {
        let mut kinds = kinds(notice).into_iter();
        return kinds.any(|kind| severities.contains(&severity_of(kind).as_str()));
    }
    severities.contains(&notice.severity.as_str())
}

fn is_of(patterns: &[String], kind: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(beginning) => kind.starts_with(beginning),
        None => pattern == kind,
    })
}

fn has_labels(notice: &Notice, wanted: &BTreeMap<String, String>, inner: &Inner) -> bool {
    if let Some(labels) = notice.body["labels"].as_object() {
        return wanted
            .iter()
            .all(|(name, value)| labels.get(name).and_then(Value::as_str) == Some(value));
    }
    let labels = labels_of(inner, rotation(notice).unwrap_or_default());
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// The labels of a rotation; none where there is no such rotation any more.
pub(super) fn labels_of(inner: &Inner, rotation: &str) -> BTreeMap<String, String> {
    let rotation = rotation.parse::<RotationName>().ok();
    let rotation = rotation.and_then(|name| inner.config.rotation(&name));
    rotation
        .map(|rotation| rotation.labels.clone())
        .unwrap_or_default()
}

fn rotation(notice: &Notice) -> Option<&str> {
    match notice.topic.as_str() {
        RAISED | RESOLVED => text(&notice.body, "subject")?.strip_prefix(ROTATION),
        _ => text(&notice.body, "rotation").or(Some(&notice.key)),
    }
}

fn text<'b>(body: &'b Value, member: &str) -> Option<&'b str> {
    body[member].as_str()
}

fn words(notice: &Notice) -> Words {
    let body = &notice.body;
    let said = |member: &str| text(body, member).unwrap_or_default();
    let (nature, title, text) = match notice.topic.as_str() {
        RAISED => (Nature::Raised, matter(notice), said("what").to_owned()),
        RESOLVED => (
            Nature::Resolved,
            format!("Over: {}", matter(notice)),
            format!("It was: {}", said("what")),
        ),
        "secret.rotated" => (
            Nature::Happened,
            format!("rotation {}: rotated", notice.key),
            format!("\"{}\" has a new current version", said("secret")),
        ),
        STARTED => (
            Nature::Happened,
            format!("rotation {}: a run has begun", notice.key),
            format!("a new version of \"{}\" is on its way", said("secret")),
        ),
        "run.end" => (
            Nature::Happened,
            format!("rotation {}: a run ended ({})", notice.key, said("outcome")),
            said("detail").to_owned(),
        ),
        "run.park" => (
            Nature::Happened,
            format!("rotation {}: a run is parked", notice.key),
            said("detail").to_owned(),
        ),
        "secret.repair" => (
            Nature::Happened,
            format!("rotation {}: the current version was put on again", notice.key),
            said("detail").to_owned(),
        ),
        topic => (
            Nature::Happened,
            format!("{topic}: {}", notice.key),
            said("what").to_owned(),
        ),
    };
    Words {
        nature,
        title,
        text,
        facts: facts(notice),
        link: None,
    }
}

/// What it is about, and what is the matter with it: `rotation app-db: run parked`.
fn matter(notice: &Notice) -> String {
    let subject = text(&notice.body, "subject").unwrap_or(&notice.key);
    let kind = text(&notice.body, "kind").unwrap_or_default().replace('-', " ");
    format!("{subject}: {kind}")
}

fn facts(notice: &Notice) -> Vec<(String, String)> {
    let body = &notice.body;
    let moment = |member: &str| {
        let at = body[member].as_u64().map(Timestamp::from_unix_ms);
        at.map(|at| Zone::UTC.show(at))
    };
    let said = |member: &str| {
        text(body, member)
            .map(str::to_owned)
            .filter(|text| !text.is_empty())
    };
    let rotation = rotation(notice).map(str::to_owned);
    let facts = [
        (
            "Severity",
            Some(notice.severity.as_str().to_owned()).filter(|_| notice.is_trouble),
        ),
        ("Rotation", rotation.filter(|_| notice.topic != TEST)),
        ("Secret", said("secret")),
        ("Version", said("version")),
        ("Run", said("run")),
        ("Safety", said("safety")),
        ("Harm at", moment("harm-at")),
        ("Since", moment("since")),
        ("What to do", said("way-out").filter(|_| notice.topic == RAISED)),
    ];
    facts
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// What a notice is of that only tries a sink.
pub(super) const TEST: &str = "test";

/// The notice as the sink wants it worded.
pub(super) fn worded(mut notice: Notice, wording: &Wording, host: &str) -> Notice {
    let value = |name: &str| -> Option<Cow<'_, str>> {
        let body = |member: &str| Cow::from(text(&notice.body, member).unwrap_or_default().to_owned());
        Some(match name {
            "title" => Cow::from(&notice.words.title),
            "text" => Cow::from(&notice.words.text),
            "severity" => notice.severity.as_str().into(),
            "kind" => Cow::from(text(&notice.body, "kind").unwrap_or(&notice.topic).to_owned()),
            "topic" => Cow::from(&notice.topic),
            "subject" => Cow::from(text(&notice.body, "subject").unwrap_or(&notice.key).to_owned()),
            "key" => Cow::from(&notice.key),
            "rotation" => rotation(&notice).unwrap_or_default().to_owned().into(),
            "secret" | "run" => body(name),
            "notice" => notice.id.to_string().into(),
            "host" => host.to_owned().into(),
            _ => return None,
        })
    };
    let title = wording.title.as_ref().map(|title| filled(title, value));
    let text = wording.text.as_ref().map(|text| filled(text, value));
    let in_url = |name: &str| value(name).map(|value| Cow::from(for_url(&value)));
    let link = wording.link.as_ref().map(|link| filled(link, in_url));
    notice.words.title = title.unwrap_or(notice.words.title);
    notice.words.text = text.unwrap_or(notice.words.text);
    notice.words.link = link;
    notice
}

/// Many notices in one, for people who could not be told for a while: how many of what, and what of it is not over, the worst first.
pub(super) fn digest(notices: &[Notice]) -> Option<Notice> {
    const LINES: usize = 20;
    let (first, last) = (notices.first()?, notices.last()?);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut stands: BTreeMap<(&str, bool), &Notice> = BTreeMap::new();
    for notice in notices {
        *counts.entry(&notice.topic).or_default() += 1;
        match notice.words.nature {
            Nature::Resolved => drop(stands.remove(&(notice.key.as_str(), true))),
            nature => drop(stands.insert((&notice.key, nature == Nature::Raised), notice)),
        }
    }
    let mut stands: Vec<&Notice> = stands.into_values().collect();
    stands.sort_by_key(|notice| (std::cmp::Reverse(notice.severity), notice.id));
    let counts = counts.iter().map(|(topic, count)| format!("{count} × {topic}"));
    let mut text = counts.collect::<Vec<_>>().join(", ");
    for notice in stands.iter().take(LINES) {
        text.push_str("\n• ");
        text.push_str(&notice.words.title);
    }
    if stands.len() > LINES {
        let _ = write!(text, "\nand {} more", stands.len() - LINES);
    }
    let is_trouble = stands.iter().any(|notice| notice.is_trouble);
    Some(Notice {
        id: last.id,
        topic: "digest".to_owned(),
        key: "digest".to_owned(),
        is_trouble,
        severity: stands
            .iter()
            .map(|notice| notice.severity)
            .max()
            .unwrap_or_default(),
        at: last.at,
        body: serde_json::json!({"from": first.id, "through": last.id, "notices": notices.len()}),
        words: Words {
            nature: if is_trouble {
                Nature::Raised
            } else {
                Nature::Happened
            },
            title: format!("{} notices that could not be told before", notices.len()),
            text,
            facts: vec![
                (
                    "From".to_owned(),
                    Zone::UTC.show(Timestamp::from_unix_ms(first.at)),
                ),
                (
                    "Through".to_owned(),
                    Zone::UTC.show(Timestamp::from_unix_ms(last.at)),
                ),
                ("What to do".to_owned(), "keywheel status".to_owned()),
            ],
            link: None,
        },
    })
}

#[cfg(test)]
mod tests {
    use keywheel_config::{NOTICE_NAMES, SEVERITIES};
    use serde_json::json;

    use super::*;

    fn written(id: u64, topic: &str, key: &str, body: Value) -> Notice {
        notice_of(&Notification {
            id,
            topic: topic.to_owned(),
            key: key.to_owned(),
            body: body.to_string(),
            created: Timestamp::from_unix_ms(1_764_000_000_000),
        })
    }

    fn raised(id: u64, subject: &str, kind: &str) -> Notice {
        let body = json!({"kind": kind, "subject": subject, "what": "it is so", "way-out": "do it"});
        written(id, RAISED, &format!("{subject}: {kind}"), body)
    }

    #[test]
    fn whatever_the_configuration_may_name_is_known_here() {
        let severities = Severity::ALL.map(Severity::as_str);
        assert_eq!(severities, SEVERITIES);
        let template = NOTICE_NAMES.map(|name| format!("{{{name}}}")).join(" ");
        let wording = Wording {
            title: Some(format!("{template} {{other}}")),
            text: None,
            link: Some("https://wiki/{subject}?{kind}".to_owned()),
        };
        let notice = worded(raised(7, "rotation app-db", "run-parked"), &wording, "host1");
        assert_eq!(
            notice.words.title,
            "rotation app-db: run parked it is so error run-parked attention rotation app-db \
             rotation app-db: run-parked app-db   7 host1 {other}"
        );
        assert_eq!(notice.words.text, "it is so");
        assert_eq!(
            notice.words.link.unwrap(),
            "https://wiki/rotation%20app-db?run-parked"
        );
    }

    #[test]
    fn what_is_over_matters_as_much_as_the_worst_of_it() {
        let body = json!({"kind": "run-waits", "kinds": ["run-parked", "run-waits"], "subject": "rotation a", "what": "x"});
        let over = written(9, RESOLVED, "rotation a: run-open", body);
        assert_eq!(over.severity, Severity::Error);
        assert!(kinds_matter(&over, &["error"]) && kinds_matter(&over, &["warning"]));
        assert!(!kinds_matter(&over, &["critical"]));
        assert!(is_of(&["run-p*".to_owned()], "run-parked") && !is_of(&["run".to_owned()], "run-parked"));
    }

    #[test]
    fn a_digest_says_what_stands_the_worst_first() {
        let mut notices = vec![
            raised(1, "rotation a", "run-waits"),
            raised(2, "vault", "vault-sealed"),
            raised(3, "rotation b", "run-failed"),
            written(
                4,
                RESOLVED,
                "rotation b: run-failed",
                json!({"kind": "run-failed", "subject": "rotation b"}),
            ),
        ];
        for id in 5..40 {
            notices.push(written(
                id,
                "secret.rotated",
                &format!("r{id}"),
                json!({"secret": "x"}),
            ));
        }
        let digest = digest(&notices).unwrap();
        let lines: Vec<&str> = digest.words.text.lines().collect();
        assert_eq!(
            lines[0],
            "3 × attention, 1 × attention-resolved, 35 × secret.rotated"
        );
        assert_eq!(lines[1], "• vault: vault sealed");
        assert_eq!(lines[2], "• rotation a: run waits");
        assert_eq!(lines[21], "and 17 more");
        assert!(
            !digest.words.text.contains("rotation b:"),
            "{}",
            digest.words.text
        );
        assert_eq!(
            (digest.severity, digest.id, digest.is_trouble),
            (Severity::Critical, 39, true)
        );
    }
}
