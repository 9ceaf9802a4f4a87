//! A run's door to vault and journal, for one call of its plugin.

mod context;
mod journal;
mod load;
mod seen;
mod store;

pub(crate) use journal::compared_with;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use keywheel_audit::Entry;
use keywheel_capability::handle::{Labels, StoredAt};
use keywheel_capability::port::{
    AuditFact, Conclusion, Intent, Loaded, NewVersion, Output, RunPort, VaultWrite, VersionFacts, Wanted,
};
use keywheel_failpoint::{Point, reach};
use keywheel_model::{ErrorKind, Role, SecretBytes, SecretName, StepError, StepName, Timestamp, VersionId};
use keywheel_traces::{Begun, SpanId};
use keywheel_vault::Author;
use keywheel_workflow::Call;

use crate::Error;
use crate::engine::Inner;
use crate::pinned::Pinned;
use crate::port::seen::Seen;

/// What one call did that its report must tell.
#[derive(Debug, Default)]
struct Told {
    pending: Option<VersionId>,
    current_valid_until: Option<Timestamp>,
    /// Calls of targets that are under way, by the number of their intent.
    calls: BTreeMap<u64, (Intent, Begun)>,
    /// Uses of secrets that are not in the audit trail yet: they ride with the call's next write, or with its end.
    uses: Vec<Entry>,
}

/// See [`RunPort`].
pub(crate) struct Port {
    inner: Arc<Inner>,
    pinned: Arc<Pinned>,
    call: Call,
    by: Author,
    /// Whether there is a run whose journal it writes.
    journalled: bool,
    /// The span of the step that it is called in.
    span: Option<SpanId>,
    told: Mutex<Told>,
    seen: Seen,
}

impl Port {
    pub(crate) fn new(
        inner: Arc<Inner>,
        pinned: Arc<Pinned>,
        call: Call,
        by: Author,
        span: Option<SpanId>,
    ) -> Self {
        let told = Told {
            pending: call.roles.pending.clone(),
            ..Told::default()
        };
        Self {
            inner,
            pinned,
            call,
            by,
            journalled: true,
            span,
            told: Mutex::new(told),
            seen: Seen::default(),
        }
    }

    /// For a call outside of any run (`plan`, `target test`): it keeps nothing but audit rows.
    pub(crate) fn outside(inner: Arc<Inner>, pinned: Arc<Pinned>, call: Call, by: Author) -> Self {
        let mut port = Self::new(inner, pinned, call, by, None);
        port.journalled = false;
        port
    }

    /// The version that is durably pending now.
    pub(crate) fn pending(&self) -> Option<VersionId> {
        self.told().pending.clone()
    }

    /// Until when the target said that it keeps accepting `current`.
    pub(crate) fn current_valid_until(&self) -> Option<Timestamp> {
        self.told().current_valid_until
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        // Each change is one assignment: a panic elsewhere leaves nothing half done.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version that plays a part in this call. `apply` may be about the current version, which the target has lost: it is the pending
    /// one for the plugin then.
    fn version_of(&self, role: Role) -> Option<VersionId> {
        let roles = &self.call.roles;
        match role {
            Role::Current => roles.current.clone(),
            Role::Previous => roles.previous.clone(),
            Role::Subject => self.call.subject.clone(),
            Role::Pending if self.call.step == StepName::Apply => {
                self.call.subject.clone().or_else(|| self.pending())
            }
            Role::Pending => self.pending(),
        }
    }

    /// Whether the call puts the current version on the target again. It is the pending one and nothing else there: a manifest
    /// that declares the same change for `{pending}` and, for rollback, for `{current}` has one shape for it.
    fn repairs(&self) -> bool {
        let (call, current) = (&self.call, &self.call.roles.current);
        call.step == StepName::Apply && current.is_some() && call.subject == *current
    }

    fn pending_or_refuse(&self) -> Result<VersionId, StepError> {
        self.version_of(Role::Pending).ok_or_else(|| {
            StepError::new(
                ErrorKind::NotFound,
                "run.no-pending",
                "there is no pending version yet: `set-pending` comes first",
            )
        })
    }
}

/// A call that was let go of half-way, because its lease was lost, still tells what it had used.
impl Drop for Port {
    fn drop(&mut self) {
        let uses = std::mem::take(&mut self.told().uses);
        if let (false, Ok(executor)) = (uses.is_empty(), tokio::runtime::Handle::try_current()) {
            let inner = Arc::clone(&self.inner);
            executor.spawn(async move {
                let written: Result<(), Error> =
                    inner.store.write(move |tx| Ok(journal::record(tx, &uses)?)).await;
                if let Err(error) = written {
                    tracing::error!(%error, "uses of secrets are missing in the audit trail");
                }
            });
        }
    }
}

#[async_trait]
impl RunPort for Port {
    async fn load(&self, wanted: &Wanted) -> Result<Option<Loaded>, StepError> {
        self.load_wanted(wanted).await
    }

    async fn set_pending(&self, new: NewVersion<'_>) -> Result<StoredAt, StepError> {
        self.store_pending(new).await
    }

    async fn set_output(&self, output: Output<'_>) -> Result<(), StepError> {
        self.store_output(output).await
    }

    async fn set_expiry(&self, at: Timestamp) -> Result<(), StepError> {
        self.store_annotation("expires-at", &at.as_unix_ms().to_string())
            .await
    }

    async fn set_valid_until(&self, of: Role, at: Timestamp) -> Result<(), StepError> {
        if of == Role::Current {
            self.told().current_valid_until = Some(at);
        }
        self.journal_fact("valid-until", &format!("{of:?}").to_lowercase(), at)
            .await
    }

    async fn annotate(&self, key: &str, value: &str) -> Result<(), StepError> {
        self.store_annotation(key, value).await
    }

    async fn annotation(&self, of: Role, key: &str) -> Result<Option<String>, StepError> {
        self.load_annotation(of, key).await
    }

    async fn ask(&self, _key: &str, _text: &str) -> Result<Option<Loaded>, StepError> {
        let message = "asking a person for a secret is not offered by this host yet";
        Err(StepError::new(ErrorKind::Denied, "host.not-offered", message))
    }

    async fn get_state(&self, key: &str) -> Result<Option<Vec<u8>>, StepError> {
        self.scratch(key).await
    }

    async fn set_state(&self, key: &str, value: Option<&[u8]>) -> Result<(), StepError> {
        self.set_scratch(key, value).await
    }

    async fn set_secret_state(
        &self,
        key: &str,
        value: &SecretBytes,
        labels: &Labels,
    ) -> Result<String, StepError> {
        self.store_state(key, value, labels).await
    }

    async fn escrow(&self, name: &str, value: &SecretBytes, labels: &Labels) -> Result<String, StepError> {
        self.store_escrow(name, value, labels).await
    }

    async fn intend(&self, intent: &Intent) -> Result<u64, StepError> {
        reach(Point::IntentBefore);
        let begun = self.inner.traces.begin(self.inner.clock.now());
        let number = self.append_intent(intent).await?;
        let begun = begun.filter(|_| self.journalled);
        self.told()
            .calls
            .extend(begun.map(|begun| (number, (intent.clone(), begun))));
        reach(Point::IntentAfter);
        Ok(number)
    }

    async fn conclude(&self, intent: u64, conclusion: &Conclusion) -> Result<(), StepError> {
        reach(Point::ConcludeBefore);
        self.trace_call(intent, conclusion);
        self.append_conclusion(intent, conclusion).await?;
        reach(Point::ConcludeAfter);
        Ok(())
    }

    async fn audit(&self, fact: &AuditFact) -> Result<(), StepError> {
        self.append_fact(fact).await
    }

    async fn spend_comparison(&self, identities: [&str; 2]) -> Result<bool, StepError> {
        self.spend(identities).await
    }

    async fn vault_write(&self, write: VaultWrite<'_>) -> Result<String, StepError> {
        self.write_other(write).await
    }

    async fn vault_versions(&self, name: &SecretName) -> Result<Vec<VersionFacts>, StepError> {
        self.other_versions(name).await
    }
}
