//! Rotations that are kept apart, as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

/// Rotations of credentials that stand in for each other: never two of them are open at once. A rotation stands in one group at most.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Linked {
    /// A name for it, in messages.
    #[schemars(extend("format" = "keywheel-name"))]
    pub(crate) name: String,
    /// The rotations.
    #[schemars(length(min = 2))]
    pub(crate) rotations: Vec<RotationText>,
    /// The least time between the end of a run of one and the start of a run of another, like "24h". Default: 24h.
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) offset: Option<String>,
}

/// The name of a rotation of this file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "keywheel-name"))]
pub(crate) struct RotationText(pub(crate) String);
