//! The part of the configuration that a run keeps for its whole life (rule P12): what is edited later concerns the next run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use keywheel_config::{Form, Hook, Rotation};
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
    /// Further names that hold the same password. Runs of older versions have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) forms: Vec<Form>,
    /// Parts of the secret's document that the plugin may read as text.
    pub(crate) public: BTreeSet<String>,
    /// The programs that consumers are asked by, each by its consumer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) hooks: BTreeMap<String, PinnedHook>,
    /// Whether a grant for this rotation alone must be there: without it the plugin's own would allow more.
    pub(crate) narrowed: bool,
    /// A person has to approve the run within so long, in milliseconds. Runs of older versions ask nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) approval_ms: Option<u64>,
}

/// The program that a consumer is asked by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct PinnedHook {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) timeout_ms: u64,
    pub(crate) announce: bool,
}

impl PinnedHook {
    fn of(hook: &Hook) -> Self {
        Self {
            program: hook.program.clone(),
            arguments: hook.arguments.clone(),
            timeout_ms: u64::try_from(hook.timeout.as_millis()).unwrap_or(u64::MAX),
            announce: hook.announce,
        }
    }
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
            forms: rotation.forms.clone(),
            public: rotation.public.clone(),
            hooks: rotation
                .consumers
                .iter()
                .filter_map(|consumer| Some((consumer.name.clone(), PinnedHook::of(consumer.hook.as_ref()?))))
                .collect(),
            narrowed: rotation.policy.is_some(),
            approval_ms: rotation
                .approval
                .as_ref()
                .map(|approval| u64::try_from(approval.expires.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}
