//! What a run stores and loads. The engine implements it over the vault and the journal; nothing here knows how.
//!
//! Every function but [`RunPort::audit`] is durable before it returns. None is called again by itself: an error goes to the guest, and the run
//! decides. Errors are [`StepError`]s with the effect `none`, for nothing here reaches a target.

use std::collections::BTreeMap;

use async_trait::async_trait;
use keywheel_manifest::{SecretRole, ShapeEffect};
use keywheel_model::{Effect, Role, SecretBytes, SecretName, StepError, Timestamp};

use crate::handle::{Labels, StoredAt};
use crate::report::LoginResult;
use crate::sql::SessionFacts;

/// Which secret is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wanted {
    /// A version of the rotated secret.
    Role(Role),
    /// Another secret that the configuration names.
    Input(String),
    /// Kept by this run under a key.
    State(String),
    /// Issued by the target to this run, by the name that it was captured under.
    Escrow(String),
    /// Another secret of a vault, by full name; `None` is its current version.
    Vault {
        /// The name.
        name: SecretName,
        /// The version.
        version: Option<String>,
    },
}

/// A secret as it lies in the vault, the escrow or the run's secret state.
#[derive(Debug)]
pub struct Loaded {
    /// The same for the same stored version, whatever it is asked for as; never derived from the value.
    pub identity: String,
    /// Every part that this version plays in the run now: in `test`, `pending` is also `subject`.
    pub roles: Vec<SecretRole>,
    /// The value.
    pub value: SecretBytes,
    /// The labels that were stored with it.
    pub labels: Labels,
    /// Name and version, for a secret of a vault.
    pub stored: Option<StoredAt>,
}

/// The new secret that a run made.
#[derive(Debug)]
pub struct NewVersion<'a> {
    /// The handle's id, for the audit trail.
    pub handle: &'a str,
    /// The value.
    pub value: &'a SecretBytes,
    /// To be kept with it.
    pub labels: &'a Labels,
    /// When it expires, where the target decides that.
    pub expires_at: Option<Timestamp>,
    /// Facts to commit with it.
    pub annotations: &'a BTreeMap<String, String>,
    /// Further names of the same version.
    pub outputs: Vec<Output<'a>>,
}

/// A further name of the pending version.
#[derive(Debug)]
pub struct Output<'a> {
    /// One that the configuration maps.
    pub name: &'a str,
    /// The value.
    pub value: &'a SecretBytes,
    /// To be kept with it.
    pub labels: &'a Labels,
}

/// What is written to another name of a vault.
#[derive(Debug)]
pub struct VaultWrite<'a> {
    /// The full name.
    pub name: &'a SecretName,
    /// The value.
    pub value: &'a SecretBytes,
    /// To be kept with it.
    pub labels: &'a Labels,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// Facts that are no secret.
    pub tags: &'a BTreeMap<String, String>,
    /// `conflict` unless this is the current version.
    pub expect_current: Option<&'a str>,
}

/// A version of a secret, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionFacts {
    /// Its id.
    pub version: String,
    /// Whether clients use it now.
    pub current: bool,
    /// Whether it can be read.
    pub enabled: bool,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

/// A call that is about to reach a target and may change it. Appended before anything is sent: a run that is found with an
/// intent and no conclusion was interrupted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// `login`, `sql`, `frame`, `http`.
    pub kind: &'static str,
    /// `host:port`.
    pub destination: String,
    /// The shape's id; `None` where no shape was needed.
    pub shape: Option<String>,
    /// What the shape says it does.
    pub effect: ShapeEffect,
    /// Ids of the secrets in it.
    pub secrets: Vec<String>,
    /// The session that it goes through, if a takeover could end it.
    pub session: Option<SessionFacts>,
    /// The key that a request says it is the same by (`Idempotency-Key`).
    pub idempotency: Option<String>,
}

/// How such a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// What became of it on the target.
    pub effect: Effect,
    /// The error's code, where it failed.
    pub code: Option<String>,
    /// The result of the login, for one.
    pub login: Option<LoginResult>,
}

/// Something that an auditor wants to find. Holds names and ids, never a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditFact {
    /// A call, a use or a name that was refused.
    Denied {
        /// Stable code.
        code: String,
        /// In words.
        message: String,
        /// What to ask `policy explain`, to be told the rule.
        request: String,
    },
    /// A secret was handed to the plugin as a handle.
    Used {
        /// Its id.
        secret: String,
        /// As what.
        role: String,
    },
    /// The plugin gave bytes that it knows, to be treated as a secret.
    Concealed {
        /// The handle's id.
        secret: String,
    },
}

/// A run's door to the vault and the journal, for one call of its plugin.
#[async_trait]
pub trait RunPort: Send + Sync {
    /// A secret by the part that it plays. `None`: there is none, for certain (an unreadable one is an error, rule P16).
    async fn load(&self, wanted: &Wanted) -> Result<Option<Loaded>, StepError>;

    /// Makes the new secret the pending version, with everything that is committed with it. `conflict` if another one is
    /// pending already.
    async fn set_pending(&self, new: NewVersion<'_>) -> Result<StoredAt, StepError>;

    /// Adds a further name to the pending version. `not-found` for a name that the configuration does not map.
    async fn set_output(&self, output: Output<'_>) -> Result<(), StepError>;

    /// When the pending version expires.
    async fn set_expiry(&self, at: Timestamp) -> Result<(), StepError>;

    /// Until when the target accepts a version.
    async fn set_valid_until(&self, of: Role, at: Timestamp) -> Result<(), StepError>;

    /// Keeps a fact with the pending version.
    async fn annotate(&self, key: &str, value: &str) -> Result<(), StepError>;

    /// A fact that was kept with a version.
    async fn annotation(&self, of: Role, key: &str) -> Result<Option<String>, StepError>;

    /// Asks a person for a secret. `None`: asked, not answered yet.
    async fn ask(&self, key: &str, text: &str) -> Result<Option<Loaded>, StepError>;

    /// The run's scratch state.
    async fn get_state(&self, key: &str) -> Result<Option<Vec<u8>>, StepError>;

    /// Sets it; `None` removes it.
    async fn set_state(&self, key: &str, value: Option<&[u8]>) -> Result<(), StepError>;

    /// Keeps a secret, encrypted, until the run ends. Returns the identity under which it is loaded again.
    async fn set_secret_state(
        &self,
        key: &str,
        value: &SecretBytes,
        labels: &Labels,
    ) -> Result<String, StepError>;

    /// Puts what a target issued where a crash cannot lose it, before the guest hears of it. Returns its identity.
    async fn escrow(&self, name: &str, value: &SecretBytes, labels: &Labels) -> Result<String, StepError>;

    /// Appends an intent; the number is for [`RunPort::conclude`].
    async fn intend(&self, intent: &Intent) -> Result<u64, StepError>;

    /// Appends how it ended.
    async fn conclude(&self, intent: u64, conclusion: &Conclusion) -> Result<(), StepError>;

    /// Notes a row for the audit trail: durable with the call's next write, or with its end; a refusal at once.
    async fn audit(&self, fact: &AuditFact) -> Result<(), StepError>;

    /// Takes one comparison from the budget of both versions (rule H10). `false`: it is used up, in whatever run.
    async fn spend_comparison(&self, identities: [&str; 2]) -> Result<bool, StepError>;

    /// Writes another name of a vault. Idempotent for each run, step and name.
    async fn vault_write(&self, write: VaultWrite<'_>) -> Result<String, StepError>;

    /// Versions of another name of a vault, newest first, at most 100.
    async fn vault_versions(&self, name: &SecretName) -> Result<Vec<VersionFacts>, StepError>;
}
