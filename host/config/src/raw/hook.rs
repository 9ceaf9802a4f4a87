//! How consumers are told, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

/// A program that is asked whether a consumer holds the new version; it has it read that first.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hook {
    /// The program by its whole path, then its arguments; no shell. In an argument `{secret}`, `{version}`, `{rotation}`, `{run}` and `{stage}` stand for
    /// these names. It ends with 0 when the consumer holds the version, and reads values itself: `keywheel secret read`. It may be started twice for
    /// one version.
    #[schemars(length(min = 1))]
    pub(crate) exec: Vec<String>,
    /// How long it may take before it is killed, 1 s to 5 min. Default: "30s".
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) timeout: Option<String>,
    /// Whether the consumer can hold two: where the target keeps one credential, it is asked before the change, while the new version is still pending, and
    /// 0 says that it holds both. Default: false.
    #[serde(default)]
    pub(crate) announce: bool,
}
