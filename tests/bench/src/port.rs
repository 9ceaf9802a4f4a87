//! A vault and a journal that answer at once: what a step costs without them.

use async_trait::async_trait;
use keywheel_capability::RunPort;
use keywheel_capability::handle::{Alphabet, Labels, StoredAt};
use keywheel_capability::port::{
    AuditFact, Conclusion, Intent, Loaded, NewVersion, Output, VaultWrite, VersionFacts, Wanted,
};
use keywheel_manifest::SecretRole;
use keywheel_model::{ErrorKind, Role, SecretBytes, SecretName, StepError, Timestamp};

/// It has a current version, takes a pending one and facts, and nothing else.
pub(crate) struct Immediate {
    pub(crate) secret: SecretName,
}

impl Immediate {
    fn stored(&self, version: &str) -> StoredAt {
        StoredAt {
            name: self.secret.clone(),
            version: version.to_owned(),
            created_at: None,
            expires_at: None,
        }
    }
}

fn nothing<T>() -> Result<T, StepError> {
    let message = "the measured step asks for more than it did when this was written";
    Err(StepError::new(ErrorKind::Unavailable, "bench.nothing", message))
}

#[async_trait]
impl RunPort for Immediate {
    async fn load(&self, wanted: &Wanted) -> Result<Option<Loaded>, StepError> {
        Ok((*wanted == Wanted::Role(Role::Current)).then(|| Loaded {
            identity: format!("{}@1", self.secret),
            roles: vec![SecretRole::Run(Role::Current)],
            value: SecretBytes::copy_of(b"the-password-that-is-in-use-now"),
            labels: Labels::imported("text/plain", Alphabet::Text),
            stored: Some(self.stored("1")),
        }))
    }

    async fn set_pending(&self, _: NewVersion<'_>) -> Result<StoredAt, StepError> {
        Ok(self.stored("2"))
    }

    async fn annotate(&self, _: &str, _: &str) -> Result<(), StepError> {
        Ok(())
    }

    async fn audit(&self, _: &AuditFact) -> Result<(), StepError> {
        Ok(())
    }

    async fn set_output(&self, _: Output<'_>) -> Result<(), StepError> {
        nothing()
    }

    async fn set_expiry(&self, _: Timestamp) -> Result<(), StepError> {
        nothing()
    }

    async fn set_valid_until(&self, _: Role, _: Timestamp) -> Result<(), StepError> {
        nothing()
    }

    async fn annotation(&self, _: Role, _: &str) -> Result<Option<String>, StepError> {
        nothing()
    }

    async fn ask(&self, _: &str, _: &str) -> Result<Option<Loaded>, StepError> {
        nothing()
    }

    async fn get_state(&self, _: &str) -> Result<Option<Vec<u8>>, StepError> {
        nothing()
    }

    async fn set_state(&self, _: &str, _: Option<&[u8]>) -> Result<(), StepError> {
        nothing()
    }

    async fn set_secret_state(&self, _: &str, _: &SecretBytes, _: &Labels) -> Result<String, StepError> {
        nothing()
    }

    async fn escrow(&self, _: &str, _: &SecretBytes, _: &Labels) -> Result<String, StepError> {
        nothing()
    }

    async fn intend(&self, _: &Intent) -> Result<u64, StepError> {
        nothing()
    }

    async fn conclude(&self, _: u64, _: &Conclusion) -> Result<(), StepError> {
        nothing()
    }

    async fn spend_comparison(&self, _: [&str; 2]) -> Result<bool, StepError> {
        nothing()
    }

    async fn vault_write(&self, _: VaultWrite<'_>) -> Result<String, StepError> {
        nothing()
    }

    async fn vault_versions(&self, _: &SecretName) -> Result<Vec<VersionFacts>, StepError> {
        nothing()
    }
}
