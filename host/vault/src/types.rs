use std::collections::BTreeMap;

use keywheel_model::{Fence, RunId, SecretBytes, SecretName, Stage, Timestamp, VersionId};
use keywheel_store::Transaction;
use serde::{Deserialize, Serialize};

/// What a back end can do by itself. Where it cannot, [`crate::Vault`]'s documentation says how it makes up for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each looked at by itself"
)]
pub struct Capabilities {
    /// Refuses a write over a version that the writer did not know. Without it the head is looked at before and after.
    pub compare_and_set: bool,
    /// The vault's write and the journal's are one transaction. Without it the intent is journalled first, the outcome after.
    pub shares_transaction: bool,
    /// Keeps a pending version beside the current one under the same name. Without it it lies under a sibling name.
    pub pending_stage: bool,
    /// Can make an old version current again without reading its value.
    pub points_at_old_material: bool,
    /// Most bytes of a value.
    pub value_limit: usize,
}

/// Who changes the vault: a run, and the fence it holds. Refused when the fence is not the live one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The run.
    pub run: RunId,
    /// Its fence.
    pub fence: Fence,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The host's generator.
    Generated,
    /// A target's answer.
    Captured,
    /// Put together from others.
    Composed,
    /// A key that the host made.
    Key,
    /// Handed over by an operator.
    Imported,
    /// Typed by a person when a run asked.
    Asked,
    /// A guest had it in plaintext.
    Concealed,
}

/// What the host knows of a value and a guest cannot change (rules H3, H8, H9). Kept with the version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Labels {
    /// Where it came from.
    pub origin: Origin,
    /// It may hold another secret's value.
    #[serde(default)]
    pub tainted: bool,
    /// A guest may know it.
    #[serde(default)]
    pub known_to_guest: bool,
    /// It was put together: never used whole as key or password to derive from.
    #[serde(default)]
    pub composed: bool,
    /// More that the capabilities keep: ids of parts, an alphabet. JSON without values of secrets.
    #[serde(default)]
    pub more: BTreeMap<String, serde_json::Value>,
}

impl Labels {
    /// Labels of a fresh value of this origin: neither tainted nor known.
    pub fn new(origin: Origin) -> Self {
        let (composed, known_to_guest) = (origin == Origin::Composed, origin == Origin::Concealed);
        Self {
            origin,
            tainted: known_to_guest,
            known_to_guest,
            composed,
            more: BTreeMap::new(),
        }
    }
}

/// What is kept in clear with a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Metadata {
    /// Media type of the value: `text/plain`, `application/json`.
    pub media_type: String,
    /// When it stops to be valid, where that is known.
    pub expires: Option<Timestamp>,
    /// What the host knows of the value.
    pub labels: Labels,
    /// Facts that go with the version: a key id, a user name. Not secret. Can be added to later.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

impl Metadata {
    /// Of a plain text without expiry.
    pub fn text(origin: Origin) -> Self {
        Self {
            media_type: "text/plain".to_owned(),
            expires: None,
            labels: Labels::new(origin),
            annotations: BTreeMap::new(),
        }
    }
}

/// A value with what is known of it.
#[derive(Debug)]
pub struct SecretValue {
    /// The value.
    pub value: SecretBytes,
    /// What is known of it.
    pub metadata: Metadata,
}

/// A version to be stored as pending.
#[derive(Debug)]
pub struct Pending {
    /// The secret's name.
    pub name: SecretName,
    /// Its value.
    pub secret: SecretValue,
    /// Further names of the same version, stored and promoted with it.
    pub outputs: Vec<Output>,
}

/// A further name of a version: a connection string beside a password.
#[derive(Debug)]
pub struct Output {
    /// Its name in the vault.
    pub name: SecretName,
    /// Its value.
    pub secret: SecretValue,
}

/// Pending becomes current, together with its outputs.
#[derive(Debug)]
pub struct Promotion {
    /// The secret's name.
    pub name: SecretName,
    /// Which pending version.
    pub pending: VersionId,
    /// What the caller believes is current; none when nothing is.
    pub expected_current: Option<VersionId>,
    /// Further names that it is to have: those that it does not have yet get this.
    pub also: Vec<Output>,
}

/// A version without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionInfo {
    /// Its id.
    pub id: VersionId,
    /// 1, 2, 3 ... within the name.
    pub number: u64,
    /// Its stage.
    pub stage: Stage,
    /// The run that wrote it.
    pub run: RunId,
    /// The fence under which.
    pub fence: Fence,
    /// The version whose further name this is.
    pub output_of: Option<VersionId>,
    /// The older version whose value it has, after a rollback.
    pub material_of: Option<VersionId>,
    /// When it was written.
    pub created: Timestamp,
    /// What is known of its value.
    pub metadata: Metadata,
}

/// All versions of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The name.
    pub name: SecretName,
    /// Its versions, newest first. Empty: nothing was ever stored under this name, for certain.
    pub versions: Vec<VersionInfo>,
}

impl Head {
    /// The newest version in a stage.
    pub fn at(&self, stage: Stage) -> Option<&VersionInfo> {
        self.versions.iter().find(|version| version.stage == stage)
    }

    /// What clients use.
    pub fn current(&self) -> Option<&VersionInfo> {
        self.at(Stage::Current)
    }

    /// What is being rotated in.
    pub fn pending(&self) -> Option<&VersionInfo> {
        self.at(Stage::Pending)
    }

    /// What clients used before, the newest such.
    pub fn previous(&self) -> Option<&VersionInfo> {
        self.at(Stage::Previous)
    }

    /// A version by id.
    pub fn version(&self, id: &VersionId) -> Option<&VersionInfo> {
        self.versions.iter().find(|version| version.id == *id)
    }
}

/// A line of a name's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which version.
    pub version: VersionId,
    /// Its number.
    pub number: u64,
    /// The stage that it came to.
    pub stage: Stage,
    /// The run that brought it there.
    pub run: RunId,
    /// When.
    pub at: Timestamp,
}

/// What lies in escrow, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escrowed {
    /// The run.
    pub run: RunId,
    /// Its key within the run.
    pub key: String,
    /// What is known of the value.
    pub metadata: Metadata,
    /// When it was put there.
    pub created: Timestamp,
}

/// What the store records together with a change of the vault: the journal's outcome, the run's state, the audit row.
///
/// A vault that shares the store's transaction runs it in that very transaction, after its own writes: all is kept or
/// nothing. Any other vault runs it in a transaction of its own after its write was confirmed. It runs each time the call
/// succeeds, also when a repetition found the change done: what it writes must bear that.
pub struct Rider(Box<Ride>);

type Ride = dyn FnOnce(&Transaction<'_>) -> Result<(), keywheel_store::Error> + Send;

impl Rider {
    /// Records what the closure writes.
    pub fn new(
        ride: impl FnOnce(&Transaction<'_>) -> Result<(), keywheel_store::Error> + Send + 'static,
    ) -> Self {
        Self(Box::new(ride))
    }

    /// Records nothing.
    pub fn none() -> Self {
        Self::new(|_| Ok(()))
    }

    /// Writes it. Called by back ends.
    ///
    /// # Errors
    /// What the closure returns; the whole transaction is given up then.
    pub fn ride(self, transaction: &Transaction<'_>) -> Result<(), keywheel_store::Error> {
        (self.0)(transaction)
    }
}

/// What a look at every record found.
#[derive(Debug, Default)]
pub struct Records {
    /// How many open.
    pub sound: u64,
    /// How many do not.
    pub faulty: u64,
    /// The first of those.
    pub faults: Vec<RecordFault>,
}

/// A record that does not open.
#[derive(Debug)]
pub struct RecordFault {
    /// The stage of its version, or that it is a run's.
    pub what: &'static str,
    /// Why; it names the record.
    pub error: crate::Error,
}
