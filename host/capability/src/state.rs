use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use keywheel_manifest::{Manifest, Pointer, SecretRole, SecretUse};
use keywheel_model::{
    Clock, Epoch, ErrorKind, RotationName, RunId, SecretBytes, SecretName, StepError, StepName, Timestamp,
    Trigger,
};
use keywheel_policy::Policy;
use keywheel_policy::rules::rule;
use tokio::sync::watch;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::capability::Capability;
use crate::error::{Error, Stop};
use crate::handle::Handle;
use crate::http::Http;
use crate::mask::{Mask, WITHHELD};
use crate::net::Net;
use crate::port::{AuditFact, Loaded, RunPort};
use crate::report::StepReport;
use crate::runs::Collected;
use crate::sql::Sql;

/// Calls of host functions that one call of a plugin may make.
pub const MAX_HOST_CALLS: u32 = 1000;
/// Handles that it may hold at once.
pub const MAX_HANDLES: usize = 1000;

/// What the call is about, and what it may use. Made by the engine for each call.
pub struct StepContext {
    /// The run.
    pub run: RunId,
    /// The rotation that it is a run of.
    pub rotation: RotationName,
    /// The rotated secret.
    pub secret: SecretName,
    /// Why the run was started.
    pub trigger: Trigger,
    /// The step.
    pub step: StepName,
    /// 1 for the first try.
    pub attempt: u32,
    /// Whether an earlier try may have reached the target.
    pub interrupted: bool,
    /// The restore epoch; part of idempotency keys (rule P2).
    pub epoch: Epoch,
    /// Whether the state was restored and nothing may be deleted yet (rule P2).
    pub restored: bool,
    /// When the host ends the call.
    pub deadline: Timestamp,
    /// The plugin's configuration.
    pub config: Arc<serde_json::Value>,
    /// JSON pointers of the rotated secret that the rotation's configuration declares to be no secret (`/username`).
    pub public_parts: BTreeSet<String>,
    /// What the plugin declares.
    pub manifest: Arc<Manifest>,
    /// What the operator grants.
    pub policy: Arc<Policy>,
    /// The other secrets that the rotation names, by the name of the input.
    pub inputs: BTreeMap<String, SecretName>,
    /// The host's key for idempotency keys and salts, 32 bytes; the same as long as the store lives.
    pub sub_key: SecretBytes,
    /// Secrets of the run that the engine has at hand anyway: nothing that the guest reads may hold them.
    pub watched: Vec<Loaded>,
    /// The door to vault and journal.
    pub port: Arc<dyn RunPort>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Raised when the operator or a deadline cancels the run.
    pub cancel: Cancel,
}

/// Whether a run is cancelled. The engine keeps the other end.
#[derive(Clone)]
pub struct Cancel(watch::Receiver<bool>);

impl Cancel {
    /// A new one, not cancelled, and the end that cancels it by sending `true`.
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Whether it is.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is; for ever if nobody can cancel it any more.
    pub async fn cancelled(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What a secret is to the run, beside its labels.
#[derive(Clone, Debug, Default)]
struct Placement {
    identity: String,
    roles: BTreeSet<SecretRole>,
    part: Option<Pointer>,
}

/// Everything that one call of a plugin may see and use. Made by [`crate::capability::Capabilities::prepare`], dropped with
/// the instance.
pub struct HostState {
    pub(crate) step: StepContext,
    pub(crate) table: ResourceTable,
    pub(crate) sql: <Sql as Capability>::PerStep,
    pub(crate) net: <Net as Capability>::PerStep,
    pub(crate) http: <Http as Capability>::PerStep,
    pub(crate) report: StepReport,
    pub(crate) mask: Mask,
    pub(crate) collected: Collected,
    pub(crate) concealed_bytes: usize,
    pub(crate) held_bytes: usize,
    placements: BTreeMap<String, Placement>,
    wasi: WasiCtx,
}

/// Where a store's data keeps its [`HostState`].
pub trait HostView: Send + 'static {
    /// It.
    fn host(&mut self) -> &mut HostState;
}

impl HostView for HostState {
    fn host(&mut self) -> &mut HostState {
        self
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl HostState {
    pub(crate) fn new(
        mut step: StepContext,
        sql: <Sql as Capability>::PerStep,
        net: <Net as Capability>::PerStep,
        http: <Http as Capability>::PerStep,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        let watched = std::mem::take(&mut step.watched);
        let mask = Mask::beside(&step.config);
        let mut state = Self {
            step,
            table,
            sql,
            net,
            http,
            report: StepReport::default(),
            mask,
            collected: Collected::default(),
            concealed_bytes: 0,
            held_bytes: 0,
            placements: BTreeMap::new(),
            // Nothing is inherited: no files, no sockets, no environment, no arguments, no standard streams.
            wasi: WasiCtx::builder().build(),
        };
        for mut loaded in watched {
            // As when the plugin asks for it: a captured value that equals it becomes this very handle.
            if loaded
                .roles
                .iter()
                .any(|role| matches!(role, SecretRole::Input(_)))
            {
                loaded.labels = loaded.labels.for_use_only();
            }
            state.adopt(loaded);
        }
        state
    }

    /// What the call is about.
    pub fn step(&self) -> &StepContext {
        &self.step
    }

    /// What the host saw, after the call.
    pub fn into_report(self) -> StepReport {
        self.report
    }

    /// Counts one call of a host function. To be called for each, by the store's call hook.
    ///
    /// # Errors
    /// The call has to end: too many calls, or its time is over.
    pub fn on_host_call(&mut self) -> wasmtime::Result<()> {
        self.report.host_calls += 1;
        if self.report.host_calls > MAX_HOST_CALLS {
            return Err(self.stop(Stop::HostCalls).into_trap());
        }
        if self.remaining().is_zero() {
            return Err(self.stop(Stop::Deadline).into_trap());
        }
        Ok(())
    }

    /// What is left of the call's time.
    pub fn remaining(&self) -> Duration {
        self.step.deadline.saturating_since(self.step.clock.now())
    }

    /// Waits for something, no longer than the call's time, and not after the run is cancelled. What was begun may have taken
    /// effect: the caller says so by what it concludes.
    ///
    /// # Errors
    /// `timeout` and `cancelled`, both with the effect `none`; and the error of the future itself.
    pub fn within<T, F>(&self, future: F) -> impl Future<Output = Result<T, Error>> + use<T, F>
    where
        F: Future<Output = Result<T, Error>>,
    {
        // The future holds nothing of the state, which is not `Sync`.
        let (cancel, remaining) = (self.step.cancel.clone(), self.remaining());
        async move {
            tokio::select! {
                biased;
                () = cancel.cancelled() => Err(Error::answer(ErrorKind::Cancelled, "run.cancelled", "the run was cancelled")),
                ended = tokio::time::timeout(remaining, future) => ended.unwrap_or_else(|_elapsed| {
                    Err(Error::answer(ErrorKind::Timeout, "run.deadline", "the step's deadline has passed"))
                }),
            }
        }
    }

    /// Ends the guest's call, and notes why.
    pub(crate) fn stop(&mut self, stop: Stop) -> Error {
        self.report.stopped = Some(stop);
        self.report.reflection |= stop == Stop::Reflection;
        Error::Stop(stop)
    }

    /// Notes a refusal in the report and in the audit trail, and gives it back as the answer. The message quotes what the plugin
    /// asked for: if that holds a live secret the refusal is kept without it, and the call ends.
    pub async fn deny(&mut self, code: &str, message: impl Into<String>) -> Error {
        debug_assert!(
            rule(code).is_some(),
            "`policy explain` does not know the rule `{code}`"
        );
        self.deny_asked(code, message, format!("rule {code}")).await
    }

    /// The same, with what `policy explain` is to be asked.
    pub(crate) async fn deny_asked(
        &mut self,
        code: &str,
        message: impl Into<String>,
        mut request: String,
    ) -> Error {
        let mut error = StepError::new(ErrorKind::Denied, code, message);
        let told = self
            .clear_text(&error.message, "what a refused call asked for")
            .and_then(|()| self.clear_text(&request, "what a refused call asked for"));
        if told.is_err() {
            WITHHELD.clone_into(&mut error.message);
            WITHHELD.clone_into(&mut request);
        }
        self.report.denied.push(error.clone());
        let fact = AuditFact::Denied {
            code: error.code.clone(),
            message: error.message.clone(),
            request,
        };
        match self.step.port.audit(&fact).await {
            Ok(()) => told.err().unwrap_or(Error::Answer(error)),
            // What cannot be audited is not answered as if it had been.
            Err(failed) => Error::Answer(failed),
        }
    }

    /// A handle on what the port gave, watched from now on.
    pub(crate) fn adopt(&mut self, loaded: Loaded) -> Handle {
        let Loaded {
            identity,
            roles,
            value,
            labels,
            stored,
        } = loaded;
        let handle = Handle::stored(identity, value, labels, stored);
        self.place(&handle, handle.id().to_owned(), roles, None);
        self.watch(&handle);
        handle
    }

    /// From now on nothing that the guest reads or writes may hold this value.
    pub(crate) fn watch(&mut self, handle: &Handle) {
        self.mask.watch(handle);
    }

    /// Notes what a secret is to the run. Roles that it has already are kept.
    pub(crate) fn place(
        &mut self,
        handle: &Handle,
        identity: String,
        roles: impl IntoIterator<Item = SecretRole>,
        part: Option<Pointer>,
    ) {
        let placement = self.placements.entry(handle.id().to_owned()).or_default();
        placement.identity = identity;
        placement.roles.extend(roles);
        placement.part = part;
    }

    /// Gives a secret that was made of another the same roles.
    pub(crate) fn place_like(&mut self, handle: &Handle, base: &Handle, part: Option<Pointer>) {
        if let Some(mut placement) = self.placements.get(base.id()).cloned() {
            if let Some(part) = part {
                placement.identity = format!("{}#{}", placement.identity, part);
                placement.part = Some(part);
            }
            self.placements.entry(handle.id().to_owned()).or_insert(placement);
        }
    }

    /// How a call uses a secret: by what it is to the run, never by what the guest says of it.
    pub fn secret_use(&self, handle: &Handle) -> SecretUse {
        let derivation = handle.labels().derivation.clone();
        match self.placements.get(handle.id()) {
            Some(placed) => SecretUse {
                roles: placed.roles.iter().cloned().collect(),
                part: placed.part.clone(),
                derivation,
                form: None,
            },
            None => SecretUse {
                derivation,
                ..SecretUse::default()
            },
        }
    }

    /// What is the same for every handle on one stored value, in every call; of a value that was never stored its handle's id.
    pub(crate) fn identity<'s>(&'s self, handle: &'s Handle) -> &'s str {
        self.placements
            .get(handle.id())
            .map_or(handle.id(), |placed| &placed.identity)
    }
}
