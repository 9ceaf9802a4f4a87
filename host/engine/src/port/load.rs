//! What a call reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keywheel_capability::handle::StoredAt;
use keywheel_capability::port::{Loaded, VersionFacts, Wanted};
use keywheel_manifest::SecretRole;
use keywheel_model::{ErrorKind, Role, SecretName, Stage, StepError, VersionId};
use keywheel_vault::{Head, SecretValue, Vault as _, VersionInfo};

use super::Port;
use crate::labels::labels;
use crate::perform::{find, vault_error};

const ROLES: [Role; 4] = [Role::Current, Role::Pending, Role::Previous, Role::Subject];

/// Most versions that a plugin is shown of another secret.
const LISTED: usize = 100;

impl Port {
    pub(super) async fn load_wanted(&self, wanted: &Wanted) -> Result<Option<Loaded>, StepError> {
        match wanted {
            Wanted::Role(role) => match self.version_of(*role) {
                Some(version) => self.load_own(&version).await.map(Some),
                None => Ok(None),
            },
            Wanted::Input(name) => {
                let Some(secret) = self.pinned.inputs.get(name) else {
                    return Ok(None);
                };
                let roles = vec![SecretRole::Input(name.clone())];
                self.load_other(secret, None, roles).await
            }
            Wanted::State(key) => {
                let found = self
                    .inner
                    .vault
                    .state(&self.by.run, key)
                    .await
                    .map_err(|error| vault_error(&error))?;
                found.map(|found| self.loaded_state(key, found)).transpose()
            }
            Wanted::Escrow(key) => {
                let found = self.inner.vault.escrow(&self.by.run, key).await;
                let found = found.map_err(|error| vault_error(&error))?;
                found.map(|found| self.loaded_escrow(key, found)).transpose()
            }
            Wanted::Vault { name, version } => self.load_other(name, version.as_deref(), Vec::new()).await,
        }
    }

    /// Everything that the rotation may use, whether the plugin asks for it or not: an answer is looked through for all of it. What
    /// cannot be read now says so when it is asked for, and is nothing that a target could have been given meanwhile.
    pub(super) async fn watched(&self) -> Vec<Loaded> {
        self.look_ahead().await;
        let mut watched = Vec::new();
        let versions: BTreeSet<VersionId> = ROLES
            .into_iter()
            .filter_map(|role| self.version_of(role))
            .collect();
        for version in versions {
            watched.extend(self.load_own(&version).await);
        }
        for input in self.pinned.inputs.keys() {
            let wanted = Wanted::Input(input.clone());
            watched.extend(self.load_wanted(&wanted).await.ok().flatten());
        }
        watched
    }

    /// Reads what the call is most likely to need in two looks at the vault, rather than in one for each part of it. What fails here is asked for
    /// again where it is needed, and says so there.
    async fn look_ahead(&self) {
        let vault = &self.inner.vault;
        let ours = &self.pinned.secret;
        let played: BTreeSet<VersionId> = ROLES
            .into_iter()
            .filter_map(|role| self.version_of(role))
            .collect();
        let inputs = self.pinned.inputs.values().cloned();
        let mut names: BTreeMap<_, _> = inputs.map(|name| (name, Vec::new())).collect();
        names.insert(ours.clone(), played.iter().cloned().collect());
        let names: Vec<_> = names.into_iter().collect();
        let heads = vault.lives(&names).await.unwrap_or_default();
        let mut wanted = Vec::new();
        for head in heads.into_iter().flatten() {
            let head = self.seen.note_head(head);
            let found: Vec<_> = if head.name == *ours {
                played.iter().filter_map(|version| find(&head, version)).collect()
            } else {
                head.current().into_iter().collect()
            };
            wanted.extend(
                found
                    .into_iter()
                    .map(|found| (head.name.clone(), found.id.clone())),
            );
        }
        let values = vault.values(&wanted).await.unwrap_or_default();
        for ((_, version), value) in wanted.into_iter().zip(values) {
            if let Ok(value) = value {
                self.seen.note_value(version, value);
            }
        }
    }

    async fn load_own(&self, version: &VersionId) -> Result<Loaded, StepError> {
        let name = &self.pinned.secret;
        let head = self.live(name, Some(version)).await?;
        let found = find(&head, version).ok_or_else(|| gone(name, version))?;
        let roles = ROLES
            .into_iter()
            .filter(|role| self.version_of(*role).as_ref() == Some(version))
            .filter(|role| *role != Role::Current || !self.repairs());
        self.read(name, found, roles.map(SecretRole::Run).collect()).await
    }

    async fn load_other(
        &self,
        name: &SecretName,
        version: Option<&str>,
        roles: Vec<SecretRole>,
    ) -> Result<Option<Loaded>, StepError> {
        let wanted = version.and_then(|version| version.parse().ok());
        let head = self.live(name, wanted.as_ref()).await?;
        let found = match version {
            None => head.current(),
            Some(wanted) => head.versions.iter().find(|found| found.id.as_str() == wanted),
        };
        match found {
            Some(found) => self.read(name, found, roles).await.map(Some),
            None => Ok(None),
        }
    }

    async fn read(
        &self,
        name: &SecretName,
        version: &VersionInfo,
        roles: Vec<SecretRole>,
    ) -> Result<Loaded, StepError> {
        let value = match self.seen.value(&version.id) {
            Some(value) => value,
            None => self
                .inner
                .vault
                .read(name, &version.id)
                .await
                .map_err(|error| vault_error(&error))?,
        };
        let labels = labels(&version.metadata, value.expose())?;
        let stored = StoredAt {
            name: name.clone(),
            version: version.id.to_string(),
            created_at: Some(version.created),
            expires_at: version.metadata.expires,
        };
        Ok(Loaded {
            identity: format!("{name}@{}", version.id),
            roles,
            value,
            labels,
            stored: Some(stored),
        })
    }

    fn loaded_state(&self, key: &str, found: SecretValue) -> Result<Loaded, StepError> {
        let labels = labels(&found.metadata, found.value.expose())?;
        let roles = vec![SecretRole::State(key.to_owned())];
        Ok(Loaded {
            identity: self.state_identity(key),
            roles,
            value: found.value,
            labels,
            stored: None,
        })
    }

    /// It has no part in the run until it is stored as one.
    fn loaded_escrow(&self, key: &str, found: SecretValue) -> Result<Loaded, StepError> {
        let labels = labels(&found.metadata, found.value.expose())?;
        Ok(Loaded {
            identity: self.escrow_identity(key),
            roles: Vec::new(),
            value: found.value,
            labels,
            stored: None,
        })
    }

    pub(super) fn escrow_identity(&self, key: &str) -> String {
        format!("{}#escrow/{key}", self.by.run)
    }

    pub(super) fn state_identity(&self, key: &str) -> String {
        format!("{}#state/{key}", self.by.run)
    }

    pub(super) async fn load_annotation(&self, of: Role, key: &str) -> Result<Option<String>, StepError> {
        let Some(version) = self.version_of(of) else {
            return Ok(None);
        };
        let head = self.live(&self.pinned.secret, Some(&version)).await?;
        Ok(find(&head, &version).and_then(|found| found.metadata.annotations.get(key).cloned()))
    }

    pub(super) async fn other_versions(&self, name: &SecretName) -> Result<Vec<VersionFacts>, StepError> {
        let head = self.inner.vault.head(name).await;
        let head = head.map_err(|error| vault_error(&error))?;
        let facts = |version: &VersionInfo| VersionFacts {
            version: version.id.to_string(),
            current: version.stage == Stage::Current,
            enabled: true,
            created_at: Some(version.created),
            expires_at: version.metadata.expires,
        };
        Ok(head.versions.iter().take(LISTED).map(facts).collect())
    }

    /// What lives of a name, and this version of it.
    pub(super) async fn live(
        &self,
        name: &SecretName,
        also: Option<&VersionId>,
    ) -> Result<Arc<Head>, StepError> {
        let knows = |head: &Arc<Head>| also.is_none_or(|version| find(head, version).is_some());
        if let Some(head) = self.seen.head(name).filter(knows) {
            return Ok(head);
        }
        let also = also.map_or(&[] as &[VersionId], std::slice::from_ref);
        let head = self.inner.vault.live(name, also).await;
        Ok(self.seen.note_head(head.map_err(|error| vault_error(&error))?))
    }
}

fn gone(name: &SecretName, version: &VersionId) -> StepError {
    StepError::new(
        ErrorKind::NotFound,
        "vault.no-version",
        format!("{name} has no version {version}"),
    )
}
