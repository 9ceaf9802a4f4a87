//! The part of the configuration that a run keeps for its whole life (rule P12): what is edited later concerns the next run.

use std::collections::{BTreeMap, BTreeSet};

use keywheel_config::Rotation;
use keywheel_model::{RotationName, SecretName};
use serde::{Deserialize, Serialize};

/// What a run pinned of its rotation. Inputs are pinned by name, and read when they are needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Pinned {
    pub(crate) rotation: RotationName,
    pub(crate) secret: SecretName,
    pub(crate) config: serde_json::Value,
    pub(crate) inputs: BTreeMap<String, SecretName>,
    pub(crate) outputs: BTreeMap<String, SecretName>,
    /// Parts of the secret's document that the plugin may read as text.
    pub(crate) public: BTreeSet<String>,
    /// Whether a grant for this rotation alone must be there: without it the plugin's own would allow more.
    pub(crate) narrowed: bool,
    /// A person has to approve the run within so long, in milliseconds. Runs of older versions ask nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) approval_ms: Option<u64>,
}

impl Pinned {
    /// The label under which it is recorded with the run.
    pub(crate) const LABEL: &'static str = "pinned";

    pub(crate) fn of(rotation: &Rotation) -> Self {
        Self {
            rotation: rotation.name.clone(),
            secret: rotation.secret.clone(),
            config: rotation.config.clone(),
            inputs: rotation.inputs.clone(),
            outputs: rotation.outputs.clone(),
            public: rotation.public.clone(),
            narrowed: rotation.policy.is_some(),
            approval_ms: rotation
                .approval
                .as_ref()
                .map(|approval| u64::try_from(approval.expires.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}
