//! Whom a run waits for.

use keywheel_model::{Timestamp, VersionId};
use serde::{Deserialize, Serialize};

/// Somebody who reads a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ConsumerView {
    /// Its name in the configuration.
    pub name: String,
    /// For so long after a promotion it may still use the version before, in milliseconds.
    pub staleness_ms: u64,
    /// A program says whether it holds a version.
    pub reports: bool,
    /// It can hold two, and says so before a change that would leave one.
    pub announces: bool,
    /// The version that it said last it holds.
    pub said: Option<VersionId>,
    /// When it said so.
    pub said_at: Option<Timestamp>,
    /// Whether that is the current version; none of one that says nothing.
    pub holds_current: Option<bool>,
}

impl ConsumerView {
    /// What is known of it, in words that go on from its name.
    pub fn words(&self) -> &'static str {
        match (self.holds_current, &self.said) {
            (Some(true), _) => "holds the current version",
            (Some(false), Some(_)) => "holds another version than the current one",
            (Some(false), None) => "has not said that it holds a version",
            (None, _) => "says nothing, and is waited for",
        }
    }
}

/// A run that has to be approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ApprovalView {
    /// What it would do.
    pub plan: serde_json::Value,
    /// SHA-256 of that, in hex: what is approved.
    pub digest: String,
    /// Since when it waits.
    pub since: Timestamp,
    /// Until when, where that is limited.
    pub until: Option<Timestamp>,
    /// Who has asked for the run.
    pub requested_by: Option<String>,
    /// Who has approved it.
    pub approved_by: Option<String>,
    /// It is parked for that, and for nothing else.
    pub waits: bool,
    /// Nothing is left to wait for: it goes on, or ends.
    pub decided: bool,
    /// What somebody can do.
    pub way_out: String,
}
