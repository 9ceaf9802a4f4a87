//! `keywheel:plugin/runs`: the run that a step belongs to.

use std::collections::BTreeMap;

use keywheel_manifest::SecretRole;
use keywheel_model::{ErrorKind, Role, Timestamp, Trigger};
use wasmtime::component::Resource;

use crate::bindings::keywheel::plugin::runs;
use crate::error::Error;
use crate::handle::{Handle, Labels, Sink};
use crate::port::{AuditFact, NewVersion, Output, Wanted};
use crate::state::HostState;

/// The run in a guest's hands. It holds nothing: there is one for each call.
pub struct Run;

const MAX_ANNOTATIONS: usize = 32;
const MAX_ANNOTATION_BYTES: usize = 1024;
const MAX_NAME_BYTES: usize = 63;

/// What is to be committed with the pending version, before there is one.
#[derive(Default)]
pub(crate) struct Collected {
    annotations: BTreeMap<String, String>,
    outputs: BTreeMap<String, Handle>,
    expires_at: Option<Timestamp>,
    /// Whether the run has a pending version, once that is known; and the ids of the handles that are it.
    pending: Option<Vec<String>>,
}

/// A name that a plugin gives: an annotation's key, a label, an output.
fn check_form(name: &str, what: &str) -> Result<(), Error> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b':');
    if (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(good) {
        return Ok(());
    }
    Err(Error::invalid(
        "run.name",
        format!("{what} has 1 to {MAX_NAME_BYTES} of the characters a-z A-Z 0-9 - _ . / :"),
    ))
}

fn role_of(word: &str) -> Result<Role, Error> {
    match word {
        "current" => Ok(Role::Current),
        "pending" => Ok(Role::Pending),
        "previous" => Ok(Role::Previous),
        "subject" => Ok(Role::Subject),
        _ => Err(Error::invalid(
            "run.of",
            "a version is `current`, `pending`, `previous` or `subject`",
        )),
    }
}

fn trigger_word(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Schedule => "schedule",
        Trigger::Manual => "manual",
        Trigger::Expiry => "expiry",
        Trigger::Compromise => "compromise",
        Trigger::Adopt => "adopt",
        Trigger::Drift => "drift",
        Trigger::Restore => "restore",
        Trigger::Rollback => "rollback",
    }
}

impl HostState {
    /// Puts the run into the table: to be given to the guest, once for each call.
    ///
    /// # Errors
    /// The table is full.
    pub fn open_run(&mut self) -> wasmtime::Result<Resource<Run>> {
        self.table
            .push(Run)
            .map_err(|error| Error::from(error).into_trap())
    }

    /// Checks a name that a plugin gives, and that it says no secret: names are kept in the clear.
    ///
    /// # Errors
    /// `invalid`; [`crate::error::Stop::Reflection`].
    pub(crate) fn check_name(&mut self, name: &str, what: &str) -> Result<(), Error> {
        check_form(name, what)?;
        self.clear_text(name, what)
    }

    /// That what the plugin had a hand in among a secret's labels (its media type, the names in a document) says no other secret:
    /// labels are kept in the clear.
    ///
    /// # Errors
    /// [`crate::error::Stop::Reflection`].
    pub(crate) fn check_labels(&mut self, labels: &Labels) -> Result<(), Error> {
        let text = serde_json::to_string(labels)
            .map_err(|_unwritable| Error::Host(wasmtime::Error::msg("labels cannot be written down")))?;
        self.clear_text(&text, "a secret's labels")
    }

    async fn version(&mut self, role: Role) -> Result<Option<Handle>, Error> {
        self.use_secret(&SecretRole::Run(role), &Wanted::Role(role)).await
    }

    /// A secret by the part that it plays, if it is granted.
    pub(crate) async fn use_secret(
        &mut self,
        role: &SecretRole,
        wanted: &Wanted,
    ) -> Result<Option<Handle>, Error> {
        self.permit_secret(role).await?;
        let port = self.step.port.clone();
        let Some(mut loaded) = self.within(async { Ok(port.load(wanted).await?) }).await? else {
            return Ok(None);
        };
        if matches!(role, SecretRole::Input(_)) {
            loaded.labels = loaded.labels.for_use_only();
        }
        if !loaded.roles.contains(role) {
            loaded.roles.push(role.clone());
        }
        let fact = AuditFact::Used {
            secret: loaded.identity.clone(),
            role: role.to_string(),
        };
        port.audit(&fact).await?;
        Ok(Some(self.adopt(loaded)))
    }

    /// The ids of the handles that are the pending version; empty if there is none.
    async fn pending_ids(&mut self) -> Result<Vec<String>, Error> {
        if let Some(ids) = &self.collected.pending {
            return Ok(ids.clone());
        }
        let port = self.step.port.clone();
        let loaded = self
            .within(async { Ok(port.load(&Wanted::Role(Role::Pending)).await?) })
            .await?;
        let ids: Vec<String> = loaded
            .map(|loaded| self.adopt(loaded).id().to_owned())
            .into_iter()
            .collect();
        self.collected.pending = Some(ids.clone());
        Ok(ids)
    }

    /// Whether a value may become a credential (rules H3, H8, H9).
    async fn check_storable(&mut self, secret: &Handle) -> Result<(), Error> {
        let labels: &Labels = secret.labels();
        self.check_labels(labels)?;
        let why = if labels.holds_known {
            "holds a value that the plugin may know"
        } else if self.is_old(secret) {
            "is a version of the rotated secret already: nothing would be rotated"
        } else if !labels.sinks.contains(&Sink::Pending) {
            "is another secret, or a one-way form, and is not stored under a second name"
        } else {
            return Ok(());
        };
        let message = format!(
            "{} {why}: a credential is generated, captured, imported or asked for (rule H8)",
            secret.id()
        );
        Err(self.deny("secret.not-a-credential", message).await)
    }

    /// Whether it is a version that this run rotates out, or has before: what `pending` gave does not count.
    fn is_old(&self, secret: &Handle) -> bool {
        let roles = self.secret_use(secret).roles;
        let has = |role: Role| roles.contains(&SecretRole::Run(role));
        (has(Role::Current) || has(Role::Previous)) && !has(Role::Pending)
    }

    pub(crate) async fn make_pending(&mut self, secret: &Handle) -> Result<(), Error> {
        self.check_storable(secret).await?;
        let pending = self.pending_ids().await?;
        if pending.iter().any(|id| id == secret.id()) {
            return Ok(());
        }
        if !pending.is_empty() {
            let message = "another secret is pending already; call `pending` first when `interrupted`";
            return Err(Error::answer(ErrorKind::Conflict, "run.pending", message));
        }
        let outputs = self.collected.outputs.iter();
        let new = NewVersion {
            handle: secret.id(),
            value: secret.value(),
            labels: secret.labels(),
            expires_at: self.collected.expires_at,
            annotations: &self.collected.annotations,
            outputs: outputs
                .map(|(name, handle)| Output {
                    name,
                    value: handle.value(),
                    labels: handle.labels(),
                })
                .collect(),
        };
        // Not raced against the deadline: whether it is stored has to be known.
        let stored = self.step.port.set_pending(new).await?;
        secret.mark_durable();
        for output in self.collected.outputs.values() {
            output.mark_durable();
        }
        self.place_pending(secret, &stored.version);
        self.collected.pending = Some(vec![secret.id().to_owned(), stored.version]);
        Ok(())
    }

    /// The handle is the pending version from now on, and so is each piece that was inserted whole, at its place.
    fn place_pending(&mut self, secret: &Handle, version: &str) {
        let role = || [SecretRole::Run(Role::Pending)];
        self.place(secret, version.to_owned(), role(), None);
        for (place, piece) in secret.pieces() {
            if let Ok(pointer) = place.parse() {
                self.place(piece, format!("{version}#{place}"), role(), Some(pointer));
            }
        }
    }

    async fn make_output(&mut self, name: &str, secret: &Handle) -> Result<(), Error> {
        self.check_name(name, "an output's name")?;
        self.check_storable(secret).await?;
        if self.pending_ids().await?.is_empty() {
            self.collected.outputs.insert(name.to_owned(), secret.clone());
            return Ok(());
        }
        self.step
            .port
            .set_output(Output {
                name,
                value: secret.value(),
                labels: secret.labels(),
            })
            .await?;
        Ok(())
    }

    async fn keep_fact(&mut self, key: &str, value: &str) -> Result<(), Error> {
        self.check_name(key, "an annotation's key")?;
        if value.len() > MAX_ANNOTATION_BYTES {
            return Err(Error::limit(
                "run.annotation",
                format!("an annotation has at most {MAX_ANNOTATION_BYTES} bytes"),
            ));
        }
        let value = self.guest_text(value, "an annotation")?;
        if !self.pending_ids().await?.is_empty() {
            return Ok(self.step.port.annotate(key, &value).await?);
        }
        let full = self.collected.annotations.len() == MAX_ANNOTATIONS
            && !self.collected.annotations.contains_key(key);
        if full {
            return Err(Error::limit(
                "run.annotation",
                format!("a version has at most {MAX_ANNOTATIONS} annotations"),
            ));
        }
        self.collected.annotations.insert(key.to_owned(), value);
        Ok(())
    }

    fn idempotency(&mut self, label: &str) -> Result<String, Error> {
        self.check_name(label, "a label")?;
        let (epoch, step) = (self.step.epoch.0.to_string(), self.step.step.as_str());
        let digest = self.keyed_digest("idempotency", &[&epoch, self.step.run.as_str(), step, label])?;
        Ok(digest[..16].iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl runs::Host for HostState {}

impl runs::HostRun for HostState {
    async fn id(&mut self, _run: Resource<Run>) -> wasmtime::Result<String> {
        Ok(self.step.run.to_string())
    }

    async fn rotation_id(&mut self, _run: Resource<Run>) -> wasmtime::Result<String> {
        Ok(self.step.rotation.to_string())
    }

    async fn trigger(&mut self, _run: Resource<Run>) -> wasmtime::Result<String> {
        Ok(trigger_word(self.step.trigger).to_owned())
    }

    async fn attempt(&mut self, _run: Resource<Run>) -> wasmtime::Result<u32> {
        Ok(self.step.attempt)
    }

    async fn interrupted(&mut self, _run: Resource<Run>) -> wasmtime::Result<bool> {
        Ok(self.step.interrupted)
    }

    async fn deadline(&mut self, _run: Resource<Run>) -> wasmtime::Result<u64> {
        Ok(self.step.deadline.as_unix_ms())
    }

    async fn idempotency_key(&mut self, _run: Resource<Run>, label: String) -> wasmtime::Result<String> {
        self.idempotency(&label).map_err(Error::into_trap)
    }

    async fn config(&mut self, _run: Resource<Run>) -> wasmtime::Result<String> {
        Ok(self.step.config.to_string())
    }

    async fn current(&mut self, _run: Resource<Run>) -> Result<Option<Resource<Handle>>, Error> {
        self.version(Role::Current)
            .await?
            .map(|handle| self.hand_out(handle))
            .transpose()
    }

    async fn pending(&mut self, _run: Resource<Run>) -> Result<Option<Resource<Handle>>, Error> {
        self.version(Role::Pending)
            .await?
            .map(|handle| self.hand_out(handle))
            .transpose()
    }

    async fn previous(&mut self, _run: Resource<Run>) -> Result<Option<Resource<Handle>>, Error> {
        self.version(Role::Previous)
            .await?
            .map(|handle| self.hand_out(handle))
            .transpose()
    }

    async fn subject(&mut self, _run: Resource<Run>) -> Result<Resource<Handle>, Error> {
        let subject = self.version(Role::Subject).await?;
        let handle = subject
            .ok_or_else(|| Error::answer(ErrorKind::NotFound, "run.subject", "this step has no subject"))?;
        self.hand_out(handle)
    }

    async fn input(&mut self, _run: Resource<Run>, name: String) -> Result<Resource<Handle>, Error> {
        if !self.step.manifest.inputs.contains(&name) || !self.step.inputs.contains_key(&name) {
            let message = format!(
                "`{}` is no input of this rotation; the manifest declares and the rotation names each",
                name.escape_debug()
            );
            return Err(Error::answer(ErrorKind::NotFound, "run.input", message));
        }
        let input = self
            .use_secret(&SecretRole::Input(name.clone()), &Wanted::Input(name.clone()))
            .await?;
        let handle = input.ok_or_else(|| {
            Error::answer(
                ErrorKind::NotFound,
                "run.input",
                format!("the secret of input `{name}` has no current version"),
            )
        })?;
        self.hand_out(handle)
    }

    async fn set_pending(&mut self, _run: Resource<Run>, secret: Resource<Handle>) -> Result<(), Error> {
        let secret = self.handle(&secret)?;
        self.make_pending(&secret).await
    }

    async fn set_output(
        &mut self,
        _run: Resource<Run>,
        name: String,
        secret: Resource<Handle>,
    ) -> Result<(), Error> {
        let secret = self.handle(&secret)?;
        self.make_output(&name, &secret).await
    }

    async fn set_expiry(&mut self, _run: Resource<Run>, at: u64) -> Result<(), Error> {
        let at = Timestamp::from_unix_ms(at);
        if self.pending_ids().await?.is_empty() {
            self.collected.expires_at = Some(at);
            return Ok(());
        }
        Ok(self.step.port.set_expiry(at).await?)
    }

    async fn set_valid_until(&mut self, _run: Resource<Run>, of: String, at: u64) -> Result<(), Error> {
        let of = role_of(&of)?;
        Ok(self
            .step
            .port
            .set_valid_until(of, Timestamp::from_unix_ms(at))
            .await?)
    }

    async fn ask(
        &mut self,
        _run: Resource<Run>,
        key: String,
        text: String,
    ) -> Result<Option<Resource<Handle>>, Error> {
        self.check_name(&key, "a question's key")?;
        let text = self.guest_text(&text, "a question")?;
        let answer = match self.step.port.ask(&key, &text).await {
            Err(error) if error.kind == ErrorKind::Denied => {
                return Err(self.deny(&error.code, error.message).await);
            }
            answer => answer?,
        };
        answer
            .map(|loaded| self.adopt(loaded))
            .map(|handle| self.hand_out(handle))
            .transpose()
    }

    async fn annotate(&mut self, _run: Resource<Run>, key: String, value: String) -> Result<(), Error> {
        self.keep_fact(&key, &value).await
    }

    async fn annotation(
        &mut self,
        _run: Resource<Run>,
        of: String,
        key: String,
    ) -> Result<Option<String>, Error> {
        let of = role_of(&of)?;
        if let (Role::Pending, Some(value)) = (of, self.collected.annotations.get(&key)) {
            return Ok(Some(value.clone()));
        }
        let value = self.step.port.annotation(of, &key).await?;
        if let Some(value) = &value {
            self.clear_text(value, "an annotation")?;
        }
        Ok(value)
    }

    async fn drop(&mut self, run: Resource<Run>) -> wasmtime::Result<()> {
        self.table.delete(run)?;
        Ok(())
    }
}
