//! The one place where a call that may reach a target is let through or refused.
//!
//! A call goes out only if all of this holds; whatever fails is audited, and answered `denied` with the lines to add:
//! 1. the manifest lists the package and the grant allows it ([`HostState::permit_package`]);
//! 2. the grant allows the host, port and transport ([`HostState::permit_destination`]); the addresses that may be dialled
//!    come back, for the dialler to check the resolved one;
//! 3. its pieces are exactly one shape of the manifest, whose digest the grant pins;
//! 4. the step may do what the shape declares: `plan` nothing, `test` no more than a login, a restored state no deletion;
//! 5. every secret in it may flow there by its labels, is granted, is not known to the guest where it logs in (rule H8), and
//!    is durable already (the write-ahead rule);
//! 6. the intent is in the journal, if it may change the target.

use keywheel_manifest::{Call, Capability, Reply, SecretRole, SecretUse, Shape, ShapeBody, ShapeEffect};
use keywheel_model::{Effect, SecretName, StepError};
use keywheel_policy::{Binding, Destination, Request, SecretRef, Transport};

use crate::error::Error;
use crate::handle::{Handle, Sink};
use crate::port::{Conclusion, Intent};
use crate::report::{LoginResult, LoginSeen};
use crate::sql::SessionFacts;
use crate::state::HostState;

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// As the guest gave it: what the grant names.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether it goes through TLS with a verified certificate.
    pub transport: Transport,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A call that passed every check. Nothing of it is in the journal.
#[derive(Clone, Debug)]
pub struct Permitted {
    kind: &'static str,
    /// The shape that it is; `None` for a call without a secret that no shape declares.
    pub shape: Option<String>,
    /// What it may change.
    pub effect: ShapeEffect,
    /// What of a frame's answer comes back.
    pub reply: Reply,
    /// What each secret in it is to the run, in order.
    pub secrets: Vec<SecretUse>,
    /// For a statement: the session that it goes through, if a takeover could end it.
    pub session: Option<SessionFacts>,
    /// For a request: the key that it is sent with.
    pub idempotency: Option<String>,
    ids: Vec<String>,
    /// Whether its answer tells of the one secret in it.
    proof: bool,
}

impl Permitted {
    /// Whether a secret is in it: then only what its shape declares may come back.
    pub fn carries_secret(&self) -> bool {
        !self.secrets.is_empty()
    }
}

/// A call that is in the journal as begun. It is in doubt until it is concluded; one that is dropped stays so.
#[must_use = "a call that is never concluded counts as `maybe`"]
#[derive(Debug)]
pub struct Begun {
    permitted: Permitted,
    intent: Option<u64>,
    login: Option<usize>,
}

impl Begun {
    /// The call.
    pub fn call(&self) -> &Permitted {
        &self.permitted
    }
}

/// How a call ended, as the host saw it.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What became of it on the target.
    pub effect: Effect,
    /// For a login: what the target said.
    pub login: Option<LoginResult>,
    /// Where it failed: the error's code.
    pub code: Option<String>,
}

impl Ended {
    /// Without a login and without an error.
    pub fn with(effect: Effect) -> Self {
        Self {
            effect,
            login: None,
            code: None,
        }
    }
}

impl HostState {
    pub(crate) fn binding(&self) -> Binding<'_> {
        Binding {
            plugin: &self.step.manifest.name,
            rotation: &self.step.rotation,
            configuration: &self.step.config,
            secret: &self.step.secret,
            inputs: &self.step.inputs,
        }
    }

    /// Asks the policy; the addresses that may be dialled come back for a connection.
    async fn granted(&mut self, request: Request<'_>) -> Result<Option<Destination>, Error> {
        match self.step.policy.decide(self.binding(), request).into_result() {
            Ok(permit) => Ok(permit.destination),
            Err(denial) => Err(self
                .deny_asked(denial.code(), denial.to_string(), request.words())
                .await),
        }
    }

    /// Whether the plugin may call a package at all. To be asked by every function that reaches out of the host.
    ///
    /// # Errors
    /// `denied`: the manifest does not list it, or the grant does not allow it.
    pub async fn permit_package(&mut self, package: Capability) -> Result<(), Error> {
        if !self.step.manifest.capabilities.contains(&package) {
            let message =
                format!("the manifest does not list `{package}`; add it to `capabilities` in manifest.toml");
            let request = Request::Call(package).words();
            return Err(self.deny_asked("manifest.capability", message, request).await);
        }
        self.granted(Request::Call(package)).await.map(drop)
    }

    /// Whether a peer may be connected to, and which of its addresses may be dialled. Asked before its name is looked up.
    ///
    /// # Errors
    /// `denied`.
    pub async fn permit_destination(&mut self, peer: &Peer) -> Result<Destination, Error> {
        // A name is looked up on servers that are nobody's here.
        self.clear_text(&peer.host, "the name of a host")?;
        let request = Request::Connect {
            host: &peer.host.clone(),
            port: peer.port,
            transport: peer.transport,
        };
        Ok(self.granted(request).await?.unwrap_or_default())
    }

    /// Whether a secret of the run may be used.
    ///
    /// # Errors
    /// `denied`.
    pub async fn permit_secret(&mut self, role: &SecretRole) -> Result<(), Error> {
        match role {
            SecretRole::Run(_) => self.granted(Request::Use(SecretRef::Own)).await.map(drop),
            SecretRole::Input(name) => self.granted(Request::Use(SecretRef::Input(name))).await.map(drop),
            // Made in this run, of secrets that were granted.
            SecretRole::State(_) | SecretRole::Session(_) => Ok(()),
        }
    }

    /// Whether another secret of a vault may be used.
    ///
    /// # Errors
    /// `denied`.
    pub async fn permit_vault_name(&mut self, name: &SecretName) -> Result<(), Error> {
        self.granted(Request::Use(SecretRef::Vault(name))).await.map(drop)
    }

    /// Checks a call: everything but the journal. `handles` are the secrets in it, in the order of [`Call::secrets`], whose
    /// uses must come from [`HostState::secret_use`]. `declared_only`: it needs a shape even without a secret, as everything
    /// does on a channel that carried one (rule H2).
    ///
    /// # Errors
    /// `denied`, audited.
    pub async fn permit(
        &mut self,
        call: &Call,
        handles: &[Handle],
        peer: &Peer,
        declared_only: bool,
    ) -> Result<Permitted, Error> {
        let secrets: Vec<SecretUse> = call.secrets().into_iter().cloned().collect();
        self.check_uses(&secrets, handles)?;
        self.permit_destination(peer).await?;
        for handle in handles {
            self.check_durable(handle).await?;
        }
        let manifest = self.step.manifest.clone();
        let found = if declared_only {
            manifest.require_shape(call, &self.step.config).map(Some)
        } else {
            manifest.find_shape(call, &self.step.config)
        };
        let shape = match found {
            Ok(shape) => shape,
            Err(refusal) => return Err(self.deny(refusal.code(), refusal.to_string()).await),
        };
        if let Some(shape) = shape {
            self.granted(Request::Shape(shape)).await?;
        }
        let effect = shape.map_or(ShapeEffect::Set, Shape::effect);
        self.check_effect(effect, shape.map(Shape::id)).await?;
        for (handle, used) in handles.iter().zip(&secrets) {
            self.check_secret(handle, used, is_login(call, effect), effect)
                .await?;
        }
        let proof = self.is_proof(call, &secrets, effect).await?;
        Ok(Permitted {
            kind: kind(call),
            shape: shape.map(|shape| shape.id().to_owned()),
            effect,
            reply: reply(shape, !secrets.is_empty()),
            secrets,
            session: None,
            idempotency: None,
            ids: handles.iter().map(|handle| handle.id().to_owned()).collect(),
            proof,
        })
    }

    /// Checks bytes that no shape could describe (a write on a channel that is no frame): they count as `set`.
    ///
    /// # Errors
    /// `denied` in a step that may change nothing.
    pub async fn permit_undeclared(&mut self, kind: &'static str, peer: &Peer) -> Result<Permitted, Error> {
        self.permit_destination(peer).await?;
        self.check_effect(ShapeEffect::Set, None).await?;
        let reply = Reply::All;
        Ok(Permitted {
            kind,
            shape: None,
            effect: ShapeEffect::Set,
            reply,
            secrets: Vec::new(),
            session: None,
            idempotency: None,
            ids: Vec::new(),
            proof: false,
        })
    }

    /// The same for what changes nothing: SQL without a secret that the host runs in a read-only transaction, a request without one that only gets.
    ///
    /// # Errors
    /// `denied`.
    pub async fn permit_read_only(&mut self, kind: &'static str, peer: &Peer) -> Result<Permitted, Error> {
        self.permit_destination(peer).await?;
        let reply = Reply::All;
        Ok(Permitted {
            kind,
            shape: None,
            effect: ShapeEffect::None,
            reply,
            secrets: Vec::new(),
            session: None,
            idempotency: None,
            ids: Vec::new(),
            proof: false,
        })
    }

    /// The handles have to be those that the uses were made of: the guard believes no caller.
    fn check_uses(&self, uses: &[SecretUse], handles: &[Handle]) -> Result<(), Error> {
        let same = |(handle, used): (&Handle, &SecretUse)| {
            SecretUse {
                form: used.form.clone(),
                ..self.secret_use(handle)
            } == *used
        };
        if uses.len() == handles.len() && handles.iter().zip(uses).all(same) {
            return Ok(());
        }
        Err(Error::Host(wasmtime::Error::msg(
            "a call was described with other secrets than it holds",
        )))
    }

    async fn check_effect(&mut self, effect: ShapeEffect, shape: Option<&str>) -> Result<(), Error> {
        let (step, restored) = (self.step.step, self.step.restored);
        if effect.allowed_in(step, restored) {
            return Ok(());
        }
        let what = shape.map_or_else(
            || "a call that no shape declares counts as".to_owned(),
            |id| format!("`{id}` declares the effect"),
        );
        let why = if restored && effect == ShapeEffect::Delete {
            "after a restore nothing is deleted"
        } else {
            "the step may not do that"
        };
        Err(self
            .deny("step.effect", format!("{what} `{effect}`; in `{step}`: {why}"))
            .await)
    }

    /// The write-ahead rule: what a crash of the host would lose does not reach a target.
    async fn check_durable(&mut self, handle: &Handle) -> Result<(), Error> {
        if handle.is_durable() {
            return Ok(());
        }
        let message = format!(
            "{} was generated and is not stored yet; call `set-pending` or `set-secret-state` first",
            handle.id()
        );
        Err(self.deny("secret.not-durable", message).await)
    }

    /// Labels, taint and grant of one secret in a call.
    async fn check_secret(
        &mut self,
        handle: &Handle,
        used: &SecretUse,
        login: bool,
        effect: ShapeEffect,
    ) -> Result<(), Error> {
        let labels = handle.labels();
        let sink = if login { Sink::Login } else { Sink::Target };
        let id = handle.id();
        if !labels.sinks.contains(&sink) {
            return Err(self
                .deny(
                    "secret.sink",
                    format!(
                        "{id} may not flow to a target: it is {:?} for another use",
                        labels.origin
                    ),
                )
                .await);
        }
        if labels.holds_known && (login || effect >= ShapeEffect::Create) {
            let message = format!(
                "{id} holds a value that the plugin may know: never a credential, never a login (rule H8)"
            );
            return Err(self.deny("secret.known", message).await);
        }
        for role in &used.roles {
            self.permit_secret(role).await?;
        }
        Ok(())
    }

    /// Appends the intent of a call that may change the target. From here on the call is in doubt until it is concluded.
    ///
    /// # Errors
    /// The journal could not be written: nothing may be sent.
    pub async fn begin(&mut self, permitted: Permitted, peer: &Peer) -> Result<Begun, Error> {
        let mut intent = None;
        if permitted.effect != ShapeEffect::None {
            let entry = Intent {
                kind: permitted.kind,
                destination: peer.to_string(),
                shape: permitted.shape.clone(),
                effect: permitted.effect,
                secrets: permitted.ids.clone(),
                session: permitted.session.clone(),
                idempotency: permitted.idempotency.clone(),
            };
            intent = Some(self.step.port.intend(&entry).await?);
        }
        if permitted.effect >= ShapeEffect::Create {
            self.report.in_doubt += 1;
        }
        self.report.strongest = self.report.strongest.max(Some(permitted.effect));
        let login = match (permitted.secrets.as_slice(), permitted.ids.as_slice()) {
            ([used], [id]) if permitted.proof => {
                let (roles, secret) = (used.roles.clone(), id.clone());
                let seen = LoginSeen {
                    roles,
                    secret,
                    destination: peer.to_string(),
                    result: LoginResult::Unknown,
                };
                self.report.logins.push(seen);
                Some(self.report.logins.len() - 1)
            }
            _ => None,
        };
        Ok(Begun {
            permitted,
            intent,
            login,
        })
    }

    /// [`HostState::permit`], then [`HostState::begin`].
    ///
    /// # Errors
    /// `denied`, audited; or the journal could not be written.
    pub async fn admit(
        &mut self,
        call: &Call,
        handles: &[Handle],
        peer: &Peer,
        declared_only: bool,
    ) -> Result<Begun, Error> {
        let permitted = self.permit(call, handles, peer, declared_only).await?;
        self.begin(permitted, peer).await
    }

    /// Notes how a call ended, in the report and the journal.
    ///
    /// # Errors
    /// The journal could not be written; the call then stays in doubt for whoever reads it.
    pub async fn conclude(&mut self, begun: Begun, ended: Ended) -> Result<(), Error> {
        let changes = begun.permitted.effect >= ShapeEffect::Create;
        let effect = if changes { ended.effect } else { Effect::None };
        if let (Some(at), Some(result)) = (begun.login, ended.login) {
            self.report.logins[at].result = result;
        }
        if changes {
            self.report.in_doubt -= 1;
            self.report.settle(effect);
        }
        if let Some(intent) = begun.intent {
            let conclusion = Conclusion {
                effect,
                code: ended.code,
                login: ended.login,
            };
            self.step.port.conclude(intent, &conclusion).await?;
        }
        Ok(())
    }

    /// Notes that a transaction was opened (or, with `false`, ended) on a connection of this call.
    pub fn note_transaction(&mut self, open: bool) {
        let count = self.report.open_transactions;
        self.report.open_transactions = if open { count + 1 } else { count.saturating_sub(1) };
    }

    /// Notes that something that was concluded as applied was taken back or is in doubt after all, such as by a commit that
    /// was not answered.
    pub fn note_effect(&mut self, effect: Effect) {
        self.report.settle(effect);
    }
}

impl From<StepError> for Ended {
    fn from(error: StepError) -> Self {
        Self {
            effect: error.effect,
            login: None,
            code: Some(error.code),
        }
    }
}

/// What logs in: a database login whatever its effect, and a frame whose shape says so.
fn is_login(call: &Call, effect: ShapeEffect) -> bool {
    matches!(call, Call::Login { .. }) || effect == ShapeEffect::Login
}

fn kind(call: &Call) -> &'static str {
    match call {
        Call::Login { .. } => "login",
        Call::Statement { .. } => "sql",
        Call::Frame { .. } => "frame",
        Call::Request(_) => "http",
    }
}

fn reply(shape: Option<&Shape>, carries_secret: bool) -> Reply {
    match shape.map(Shape::body) {
        Some(ShapeBody::Frame(frame)) if carries_secret && frame.reply() == Reply::All => Reply::Status,
        Some(ShapeBody::Frame(frame)) => frame.reply(),
        _ if carries_secret => Reply::None,
        _ => Reply::All,
    }
}
