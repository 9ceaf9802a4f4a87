//! What was handed to each sink lately, and what came of it.

use keywheel_model::Timestamp;
use keywheel_notify::Notice;
use serde::{Deserialize, Serialize};

/// So many are kept of each sink.
const KEPT: usize = 20;

/// A notice that was handed to a sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Delivery {
    /// When it was handed over last.
    pub at: Timestamp,
    /// The number of the notice; of many in one, of the last.
    pub notice: u64,
    /// What kind it is of.
    pub topic: String,
    /// About which thing.
    pub key: String,
    /// How often it was handed over.
    pub tries: u32,
    /// `taken`, `failed` (it is tried again) or `dropped`.
    pub outcome: Outcome,
    /// The code of why it was not taken.
    pub code: Option<String>,
}

/// What came of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The sink has taken it.
    Taken,
    /// It has not, and is handed it again.
    Failed,
    /// It never will take it.
    Dropped,
}

/// Where that stands of a sink.
pub(super) fn key_of(sink: &str) -> String {
    format!("notices-log.{sink}")
}

/// As it was kept, the newest last.
pub(super) fn read(kept: Option<&str>) -> Vec<Delivery> {
    kept.and_then(|kept| serde_json::from_str(kept).ok())
        .unwrap_or_default()
}

/// The same with one more; a notice that is tried again is one.
pub(super) fn with(
    kept: Option<&str>,
    notice: &Notice,
    at: Timestamp,
    ended: Result<(), (&str, Outcome)>,
) -> String {
    let mut log = read(kept);
    let again = log.pop_if(|last| last.notice == notice.id && last.outcome == Outcome::Failed);
    log.push(Delivery {
        at,
        notice: notice.id,
        topic: notice.topic.clone(),
        key: notice.key.clone(),
        tries: again.map_or(1, |again| again.tries.saturating_add(1)),
        outcome: ended.map_or_else(|(_, outcome)| outcome, |()| Outcome::Taken),
        code: ended.err().map(|(code, _)| code.to_owned()),
    });
    let surplus = log.len().saturating_sub(KEPT);
    log.drain(..surplus);
    serde_json::json!(log).to_string()
}
