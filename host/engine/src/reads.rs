//! Values for programs: each by a grant of its own, `read-plaintext`, and never without a row of the audit trail.

use std::fmt;
use std::str::FromStr;

use keywheel_capability::part_of;
use keywheel_model::{SecretBytes, SecretName, Stage, VersionId};
use keywheel_policy::SecretRule;
use keywheel_vault::{Head, Vault as _, VersionInfo};
use serde_json::json;

use crate::Error;
use crate::engine::{Engine, Inner};
use crate::labels::labels;

/// The stages that a program is given.
const READABLE: [Stage; 3] = [Stage::Current, Stage::Pending, Stage::Previous];

/// Which version is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The newest in a stage: `current`, `pending` or `previous`.
    Stage(Stage),
    /// This one.
    Version(VersionId),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(stage) = READABLE.into_iter().find(|stage| stage.as_str() == text) {
            return Ok(Self::Stage(stage));
        }
        let version = text.parse().map(Self::Version);
        version.map_err(|_| "expected `current`, `pending`, `previous`, or the id of a version".to_owned())
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage(stage) => stage.fmt(f),
            Self::Version(version) => version.fmt(f),
        }
    }
}

impl Wanted {
    fn find<'h>(&self, head: &'h Head) -> Option<&'h VersionInfo> {
        match self {
            Self::Stage(stage) => head.versions.iter().find(|version| version.stage == *stage),
            Self::Version(id) => head.version(id),
        }
    }
}

/// A value that was given.
pub struct ReadValue {
    /// The version that it is of.
    pub version: VersionId,
    /// The stage in which that was.
    pub stage: Stage,
    /// It, or the part of it that was asked for.
    pub value: SecretBytes,
}

/// What a program wants to have.
#[derive(Clone, Copy, Debug)]
pub struct Read<'r> {
    /// The user it runs as.
    pub uid: u32,
    /// The secret.
    pub secret: &'r SecretName,
    /// Which version of it.
    pub wanted: &'r Wanted,
    /// A part of it alone.
    pub part: Option<&'r str>,
    /// Why, if it says so.
    pub reason: Option<&'r str>,
}

impl Engine {
    /// The value of a version, or a part of it, for a person. Always audited, with the reason.
    ///
    /// # Errors
    /// [`Error::NoSecret`], [`Error::NoVersion`], [`Error::NoPart`]; the vault.
    pub async fn read(
        &self,
        secret: &SecretName,
        wanted: &Wanted,
        part: Option<&str>,
        reason: &str,
    ) -> Result<SecretBytes, Error> {
        let found = self.inner.wanted(secret, wanted).await?;
        let value = self.inner.value_of(secret, &found, part).await?;
        let details = json!({"version": found.id.as_str(), "part": part, "reason": reason});
        self.inner
            .audit_as("secret.read", secret.as_str(), "ok", details)
            .await?;
        Ok(value)
    }

    /// A value for a program, if the configuration grants it to its user. That it is given stands in the audit trail before it is; so does that it is not.
    ///
    /// # Errors
    /// [`Error::NotGranted`]; [`Error::NoSecret`], [`Error::NoVersion`], [`Error::NotReadable`], [`Error::NoPart`]; the vault.
    pub async fn read_by_grant(&self, read: Read<'_>) -> Result<ReadValue, Error> {
        let inner = &self.inner;
        // Nobody learns what there is who may not have it.
        if !inner.grants_read(read.uid, read.secret) {
            let error = Error::NotGranted {
                secret: read.secret.clone(),
                uid: read.uid,
            };
            return inner.refuse_read(read, error).await;
        }
        let found = match inner.readable(read).await {
            Ok(found) => found,
            Err(error) => return inner.refuse_read(read, error).await,
        };
        let value = match inner.value_of(read.secret, &found, read.part).await {
            Err(error @ Error::NoPart { .. }) => return inner.refuse_read(read, error).await,
            value => value?,
        };
        let details = json!({
            "version": found.id.as_str(), "stage": found.stage, "verb": "read-plaintext", "part": read.part, "reason": read.reason,
        });
        inner
            .audit_as("secret.read", read.secret.as_str(), "ok", details)
            .await?;
        Ok(ReadValue {
            version: found.id,
            stage: found.stage,
            value,
        })
    }

    /// Whether a user of this machine may read any value by a program.
    pub fn grants_any_read(&self, uid: u32) -> bool {
        self.inner.config.grants.iter().any(|grant| grant.uid == uid)
    }
}

impl Inner {
    fn grants_read(&self, uid: u32, secret: &SecretName) -> bool {
        self.read_patterns(uid).any(|pattern| pattern.covers(secret))
    }

    /// What a user may read by a program.
    pub(crate) fn read_patterns(&self, uid: u32) -> impl Iterator<Item = SecretRule> {
        let grants = self.config.grants.iter().filter(move |grant| grant.uid == uid);
        grants.flat_map(|grant| {
            let patterns = grant.secrets.iter();
            // The configuration was refused where one is none.
            patterns.filter_map(|pattern| pattern.parse().ok())
        })
    }

    async fn readable(&self, read: Read<'_>) -> Result<VersionInfo, Error> {
        let found = self.wanted(read.secret, read.wanted).await?;
        if READABLE.contains(&found.stage) {
            return Ok(found);
        }
        Err(Error::NotReadable {
            secret: read.secret.clone(),
            version: found.id,
            stage: found.stage,
        })
    }

    async fn wanted(&self, secret: &SecretName, wanted: &Wanted) -> Result<VersionInfo, Error> {
        let also = match wanted {
            Wanted::Version(version) => std::slice::from_ref(version),
            Wanted::Stage(_) => &[],
        };
        let head = self.vault.live(secret, also).await?;
        let secret = secret.clone();
        match (wanted.find(&head), wanted) {
            (Some(found), _) => Ok(found.clone()),
            (None, Wanted::Version(version)) => Err(Error::NoVersion {
                secret,
                version: version.clone(),
            }),
            (None, Wanted::Stage(Stage::Current)) => Err(Error::NoSecret { secret }),
            (None, Wanted::Stage(stage)) => Err(Error::NoneInStage {
                secret,
                stage: *stage,
            }),
        }
    }

    async fn value_of(
        &self,
        secret: &SecretName,
        version: &VersionInfo,
        part: Option<&str>,
    ) -> Result<SecretBytes, Error> {
        let whole = self.vault.read(secret, &version.id).await?;
        let Some(key) = part else { return Ok(whole) };
        let labels = labels(&version.metadata, whole.expose())
            .map_err(|_| Error::Defect("the labels of a stored secret cannot be read"))?;
        part_of(&labels, whole.expose(), key).ok_or_else(|| Error::NoPart {
            secret: secret.clone(),
        })
    }

    async fn refuse_read<T>(&self, read: Read<'_>, error: Error) -> Result<T, Error> {
        let details = json!({
            "version": read.wanted.to_string(), "verb": "read-plaintext", "code": error.code(), "reason": read.reason,
        });
        self.audit_as("secret.read", read.secret.as_str(), "refused", details)
            .await?;
        Err(error)
    }
}
