//! What users of this machine may have, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

/// What a user of this machine may have of the host by a program. Nobody has more than stands here; whoever has the host's state itself is its user.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    /// The user by number, as `id -u NAME` prints it: so the kernel names whoever is on the other side of the host's socket.
    pub(crate) uid: u32,
    /// What the user may: `read-plaintext`, read values by a program (`keywheel secret read`).
    #[schemars(length(min = 1))]
    pub(crate) allow: Vec<Verb>,
    /// Of which secrets: names in the vault; `*` stands for any text within one part.
    #[schemars(length(min = 1))]
    pub(crate) secrets: Vec<SecretPattern>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verb {
    // Values, as they are.
    ReadPlaintext,
}

/// Names of secrets.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "keywheel-secret-pattern"))]
pub(crate) struct SecretPattern(pub(crate) String);
