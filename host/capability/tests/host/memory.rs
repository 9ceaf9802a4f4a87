//! A vault and a journal in memory: what the engine's port does, without the engine.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use keywheel_capability::handle::{Labels, StoredAt};
use keywheel_capability::port::{
    AuditFact, Conclusion, Intent, Loaded, NewVersion, Output, RunPort, VaultWrite, VersionFacts, Wanted,
};
use keywheel_manifest::SecretRole;
use keywheel_model::{ErrorKind, Role, SecretBytes, SecretName, StepError, Timestamp};

/// A stored value.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) identity: String,
    pub(crate) value: SecretBytes,
    pub(crate) labels: Labels,
}

#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) secrets: BTreeMap<Wanted, Kept>,
    pub(crate) outputs: BTreeMap<String, Vec<u8>>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) state: BTreeMap<String, Vec<u8>>,
    /// Names and values.
    pub(crate) escrow: Vec<(String, Vec<u8>)>,
    pub(crate) facts: Vec<AuditFact>,
    pub(crate) intents: Vec<(Intent, Option<Conclusion>)>,
    pub(crate) writes: BTreeMap<String, Labels>,
    pub(crate) comparisons_left: u32,
    /// Every write fails: the disk is full.
    pub(crate) full: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Inner>);

impl Memory {
    pub(crate) fn get(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub(crate) fn keep(&self, wanted: Wanted, identity: &str, value: &str, labels: Labels) {
        let value = SecretBytes::copy_of(value.as_bytes());
        self.get().secrets.insert(
            wanted,
            Kept {
                identity: identity.to_owned(),
                value,
                labels,
            },
        );
    }

    fn room(&self) -> Result<MutexGuard<'_, Inner>, StepError> {
        let inner = self.get();
        if inner.full {
            Err(StepError::new(
                ErrorKind::Unavailable,
                "store.full",
                "the disk is full",
            ))
        } else {
            Ok(inner)
        }
    }
}

fn name() -> SecretName {
    "app/db".parse().unwrap()
}

#[async_trait]
impl RunPort for Memory {
    async fn load(&self, wanted: &Wanted) -> Result<Option<Loaded>, StepError> {
        let inner = self.get();
        let Some(kept) = inner.secrets.get(wanted) else {
            return Ok(None);
        };
        let mut roles = Vec::new();
        for (other, candidate) in &inner.secrets {
            if candidate.identity == kept.identity {
                roles.push(match other {
                    Wanted::Role(role) => SecretRole::Run(*role),
                    Wanted::Input(name) => SecretRole::Input(name.clone()),
                    Wanted::State(key) => SecretRole::State(key.clone()),
                    Wanted::Vault { .. } | Wanted::Escrow(_) => continue,
                });
            }
        }
        let stored = matches!(wanted, Wanted::Role(_)).then(|| StoredAt {
            name: name(),
            version: kept.identity.clone(),
            created_at: None,
            expires_at: None,
        });
        Ok(Some(Loaded {
            identity: kept.identity.clone(),
            roles,
            value: kept.value.duplicate(),
            labels: kept.labels.clone(),
            stored,
        }))
    }

    async fn set_pending(&self, new: NewVersion<'_>) -> Result<StoredAt, StepError> {
        let mut inner = self.room()?;
        let identity = "ver-new".to_owned();
        let kept = Kept {
            identity: identity.clone(),
            value: new.value.duplicate(),
            labels: new.labels.clone(),
        };
        inner.secrets.insert(Wanted::Role(Role::Pending), kept);
        inner.annotations.extend(new.annotations.clone());
        inner.expires_at = new.expires_at;
        for output in new.outputs {
            inner
                .outputs
                .insert(output.name.to_owned(), output.value.expose().to_vec());
        }
        Ok(StoredAt {
            name: name(),
            version: identity,
            created_at: None,
            expires_at: new.expires_at,
        })
    }

    async fn set_output(&self, output: Output<'_>) -> Result<(), StepError> {
        self.room()?
            .outputs
            .insert(output.name.to_owned(), output.value.expose().to_vec());
        Ok(())
    }

    async fn set_expiry(&self, at: Timestamp) -> Result<(), StepError> {
        self.room()?.expires_at = Some(at);
        Ok(())
    }

    async fn set_valid_until(&self, _of: Role, _at: Timestamp) -> Result<(), StepError> {
        self.room().map(drop)
    }

    async fn annotate(&self, key: &str, value: &str) -> Result<(), StepError> {
        self.room()?.annotations.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    async fn annotation(&self, _of: Role, key: &str) -> Result<Option<String>, StepError> {
        Ok(self.get().annotations.get(key).cloned())
    }

    async fn ask(&self, _key: &str, _text: &str) -> Result<Option<Loaded>, StepError> {
        Ok(None)
    }

    async fn get_state(&self, key: &str) -> Result<Option<Vec<u8>>, StepError> {
        Ok(self.get().state.get(key).cloned())
    }

    async fn set_state(&self, key: &str, value: Option<&[u8]>) -> Result<(), StepError> {
        let mut inner = self.room()?;
        match value {
            Some(value) => inner.state.insert(key.to_owned(), value.to_vec()),
            None => inner.state.remove(key),
        };
        Ok(())
    }

    async fn set_secret_state(
        &self,
        key: &str,
        value: &SecretBytes,
        labels: &Labels,
    ) -> Result<String, StepError> {
        let mut inner = self.room()?;
        let identity = format!("state-{key}");
        let kept = Kept {
            identity: identity.clone(),
            value: value.duplicate(),
            labels: labels.clone(),
        };
        inner.secrets.insert(Wanted::State(key.to_owned()), kept);
        Ok(identity)
    }

    async fn escrow(&self, name: &str, value: &SecretBytes, labels: &Labels) -> Result<String, StepError> {
        let mut inner = self.room()?;
        inner.escrow.push((name.to_owned(), value.expose().to_vec()));
        let identity = format!("escrow-{}", inner.escrow.len());
        let kept = Kept {
            identity: identity.clone(),
            value: value.duplicate(),
            labels: labels.clone(),
        };
        inner.secrets.insert(Wanted::Escrow(name.to_owned()), kept);
        Ok(identity)
    }

    async fn intend(&self, intent: &Intent) -> Result<u64, StepError> {
        let mut inner = self.room()?;
        inner.intents.push((intent.clone(), None));
        Ok(inner.intents.len() as u64 - 1)
    }

    async fn conclude(&self, intent: u64, conclusion: &Conclusion) -> Result<(), StepError> {
        self.room()?.intents[usize::try_from(intent).unwrap()].1 = Some(conclusion.clone());
        Ok(())
    }

    async fn audit(&self, fact: &AuditFact) -> Result<(), StepError> {
        self.room()?.facts.push(fact.clone());
        Ok(())
    }

    async fn spend_comparison(&self, _identities: [&str; 2]) -> Result<bool, StepError> {
        let mut inner = self.room()?;
        let left = inner.comparisons_left.checked_sub(1);
        inner.comparisons_left = left.unwrap_or(0);
        Ok(left.is_some())
    }

    async fn vault_write(&self, write: VaultWrite<'_>) -> Result<String, StepError> {
        self.room()?
            .writes
            .insert(write.name.to_string(), write.labels.clone());
        Ok("ver-written".to_owned())
    }

    async fn vault_versions(&self, _name: &SecretName) -> Result<Vec<VersionFacts>, StepError> {
        Ok(Vec::new())
    }
}
