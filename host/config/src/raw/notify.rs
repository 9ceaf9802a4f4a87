//! Sinks of notices, as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

/// Somebody who is told.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Notify {
    /// A name for it, in messages and metrics.
    #[schemars(extend("format" = "keywheel-name"))]
    pub(crate) name: String,
    /// How it is told.
    pub(crate) kind: Kind,
    /// For `command`: the program by its whole path, then its arguments. It gets each notice as one line of JSON on standard input, and 0 says that it has taken it.
    #[serde(default)]
    pub(crate) command: Vec<String>,
    /// For `command`: how long the program may take, 1 s to 5 min. Default: "30s".
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) timeout: Option<String>,
    /// What it is told. Default: `attention`.
    pub(crate) about: Option<Vec<About>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    // A line in the host's own log.
    Log,
    // A program.
    Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum About {
    // What needs a person, and that it does no more.
    Attention,
    // What happened to a run: a new credential is current, a run parked, failed or was taken back, a credential was put on again.
    Events,
}
