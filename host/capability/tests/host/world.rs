//! One step of one rotation, as small as it can be.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keywheel_capability::bindings::keywheel::core::secrets::{Host as _, HostComposer as _, HostSecret};
use keywheel_capability::bindings::keywheel::plugin::runs::HostRun as _;
use keywheel_capability::capability::{Capabilities, Settings};
use keywheel_capability::guard::Peer;
use keywheel_capability::handle::{Alphabet, Labels};
use keywheel_capability::http::HttpSettings;
use keywheel_capability::net::NetSettings;
use keywheel_capability::port::Wanted;
use keywheel_capability::runs::Run;
use keywheel_capability::sql::SqlSettings;
use keywheel_capability::{Cancel, Error, Handle, HostState, StepContext};
use keywheel_manifest::{Manifest, Shape};
use keywheel_model::{Clock, Epoch, Role, RunId, SecretBytes, StepName, Timestamp, Trigger};
use keywheel_policy::{Grant, Policy, Transport};
use keywheel_target::Outbound;
use keywheel_target::dial::Dialer;
use keywheel_target::postgres::{Pool, PoolLimits};
use keywheel_target::tls::TrustStore;
use wasmtime::component::Resource;

use crate::memory::Memory;

pub(crate) const MANIFEST: &str = r#"
format = 1
name = "probe"
version = "0.1.0"
summary = "What the tests call"
config-schema = "schema.json"
capabilities = ["core", "sql", "net", "vault"]
target = ["/host", "/port"]
account = ["/user"]
inputs = ["admin"]

[[mode]]
class = "A"
strategy = "two-slot"
proof = "login"
belief = "0s"

[[login]]
id = "login"
driver = "postgres"
user = "{/user}"
password = "{subject}"
effect = "login"

[[login]]
id = "login-pair"
driver = "postgres"
user = "{/users/*}"
password = "{subject/password}"
effect = "login"

[[frame]]
id = "auth-pair"
framing = "resp"
send = ["AUTH", "{/users/*}", "{subject/password}"]
effect = "login"
reply = "status"

[[sql]]
id = "set"
dialect = "postgres"
text = "ALTER ROLE {ident:/user} PASSWORD {pending|postgres.scram-sha-256}"
effect = "set"

[[sql]]
id = "set-kept"
dialect = "postgres"
text = "ALTER ROLE {ident:/user} PASSWORD {state:kept}"
effect = "set"

[[sql]]
id = "set-part"
dialect = "postgres"
text = "ALTER ROLE {ident:/user} PASSWORD {pending/password}"
effect = "set"

[[sql]]
id = "drop"
dialect = "postgres"
text = "ALTER ROLE {ident:/user} PASSWORD {previous}"
effect = "delete"

[[sql]]
id = "not-granted"
dialect = "postgres"
text = "CALL stash({pending})"
effect = "set"
"#;

pub(crate) const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": { "host": { "type": "string" }, "port": { "type": "integer" }, "user": { "type": "string" } }
}"#;

pub(crate) const VALUE: &str = "planted-7f3-current";

struct Fixed(Timestamp);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        self.0
    }
}

pub(crate) fn manifest() -> Manifest {
    Manifest::from_toml(MANIFEST, SCHEMA).unwrap()
}

/// Everything is granted but the shape `not-granted`.
fn policy(manifest: &Manifest) -> Policy {
    policy_with(manifest, r#""{secret}", "{input:admin}", "other/*""#)
}

/// The same with a grant for these secrets alone.
pub(crate) fn policy_with(manifest: &Manifest, secrets: &str) -> Policy {
    let pins = manifest
        .shapes()
        .iter()
        .filter(|shape| shape.id() != "not-granted");
    let pins: String = pins
        .map(|shape: &Shape| format!("{} = \"{}\"\n", shape.id(), shape.digest()))
        .collect();
    let text = format!(
        "plugin = \"probe\"\ncapabilities = [\"core\", \"sql\", \"net\", \"vault\"]\nhosts = [\"db.internal:5432 tls\"]\n\
         secrets = [{secrets}]\n[shapes]\n{pins}"
    );
    Policy::of(vec![Grant::from_toml("policies/probe.toml", &text).unwrap()]).unwrap()
}

pub(crate) struct World {
    pub(crate) state: HostState,
    pub(crate) memory: Arc<Memory>,
}

pub(crate) fn world(step: StepName) -> World {
    world_with(step, |_| {})
}

pub(crate) fn world_with(step: StepName, change: impl FnOnce(&mut StepContext)) -> World {
    world_trusting(TrustStore::new(), step, change)
}

pub(crate) fn world_trusting(
    trust: TrustStore,
    step: StepName,
    change: impl FnOnce(&mut StepContext),
) -> World {
    let memory = Arc::new(Memory::default());
    memory.keep(
        Wanted::Role(Role::Current),
        "ver-cur",
        VALUE,
        Labels::imported("text/plain", Alphabet::Text),
    );
    memory.keep(
        Wanted::Input("admin".to_owned()),
        "ver-adm",
        "planted-admin",
        Labels::imported("text/plain", Alphabet::Text),
    );
    memory.get().comparisons_left = 2;
    let manifest = manifest();
    let now = Timestamp::from_unix_ms(1_000_000);
    let mut context = StepContext {
        run: RunId::from_number(7),
        rotation: "db".parse().unwrap(),
        secret: "app/db".parse().unwrap(),
        trigger: Trigger::Manual,
        step,
        attempt: 1,
        interrupted: false,
        epoch: Epoch(1),
        restored: false,
        deadline: now + Duration::from_mins(1),
        config: Arc::new(serde_json::json!({"host": "db.internal", "port": 5432, "user": "app"})),
        public_parts: BTreeSet::new(),
        policy: Arc::new(policy(&manifest)),
        manifest: Arc::new(manifest),
        inputs: [("admin".to_owned(), "ops/admin".parse().unwrap())].into(),
        sub_key: SecretBytes::new(vec![7; 32]),
        watched: Vec::new(),
        port: memory.clone(),
        clock: Arc::new(Fixed(now)),
        cancel: Cancel::new().1,
    };
    change(&mut context);
    World {
        state: capabilities(trust).prepare(context),
        memory,
    }
}

fn capabilities(trust: TrustStore) -> Capabilities {
    let outbound = Arc::new(Outbound::new(Dialer::system(), trust));
    let sql = SqlSettings {
        outbound: outbound.clone(),
        pool: Arc::new(Pool::new(PoolLimits::default())),
    };
    Capabilities::configure(Settings {
        sql,
        net: NetSettings {
            outbound: outbound.clone(),
        },
        http: HttpSettings { outbound },
    })
    .unwrap()
}

pub(crate) fn peer() -> Peer {
    Peer {
        host: "db.internal".to_owned(),
        port: 5432,
        transport: Transport::Tls,
    }
}

/// The code of a refusal.
pub(crate) fn code<T>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Answer(error)) => error.code,
        Err(other) => panic!("not an answer: {other:?}"),
        Ok(_) => panic!("it was let through"),
    }
}

pub(crate) fn again(secret: &Resource<Handle>) -> Resource<Handle> {
    Resource::new_borrow(secret.rep())
}

impl World {
    pub(crate) fn run(&mut self) -> Resource<Run> {
        self.state.open_run().unwrap()
    }

    pub(crate) async fn password(&mut self) -> Resource<Handle> {
        let policy = self.state.new_policy(24).await;
        self.state.generate_password(policy).await.unwrap()
    }

    pub(crate) async fn conceal(&mut self, text: &str) -> Resource<Handle> {
        self.state
            .conceal(text.into(), "text/plain".to_owned())
            .await
            .unwrap()
    }

    /// Text, a secret, text.
    pub(crate) async fn compose(
        &mut self,
        media_type: &str,
        before: &str,
        secret: &Resource<Handle>,
        encoding: &str,
        after: &str,
    ) -> Result<Resource<Handle>, Error> {
        let composer = self.state.new_composer(media_type).await;
        let borrow = || Resource::new_borrow(composer.rep());
        self.state.text(borrow(), before.to_owned()).await?;
        self.state
            .secret(borrow(), again(secret), encoding.to_owned())
            .await?;
        self.state.text(borrow(), after.to_owned()).await?;
        self.state.finish(composer).await
    }

    /// A composition without any secret.
    pub(crate) async fn text_alone(&mut self, text: &str) -> Resource<Handle> {
        self.text_alone_as("text/plain", text).await
    }

    /// The same, of this kind.
    pub(crate) async fn text_alone_as(&mut self, media_type: &str, text: &str) -> Resource<Handle> {
        let composer = self.state.new_composer(media_type).await;
        let borrow = Resource::new_borrow(composer.rep());
        self.state.text(borrow, text.to_owned()).await.unwrap();
        self.state.finish(composer).await.unwrap()
    }

    pub(crate) async fn document(&mut self, secret: &Resource<Handle>) -> Resource<Handle> {
        self.compose(
            "application/json",
            r#"{"username": "app", "password": ""#,
            secret,
            "json",
            r#""}"#,
        )
        .await
        .unwrap()
    }

    pub(crate) async fn current(&mut self) -> Resource<Handle> {
        let run = self.run();
        self.state.current(run).await.unwrap().unwrap()
    }

    pub(crate) async fn set_pending(&mut self, secret: &Resource<Handle>) -> Result<(), Error> {
        let run = self.run();
        self.state.set_pending(run, again(secret)).await
    }

    pub(crate) async fn pending(&mut self) -> Resource<Handle> {
        let run = self.run();
        self.state.pending(run).await.unwrap().unwrap()
    }

    pub(crate) async fn id(&mut self, secret: &Resource<Handle>) -> String {
        HostSecret::id(&mut self.state, again(secret)).await.unwrap()
    }
}

/// Constructors, which all generated traits call `new`.
trait Constructors {
    async fn new_policy(&mut self, length: u16) -> Resource<keywheel_capability::secrets::PasswordPolicy>;
    async fn new_composer(&mut self, media_type: &str) -> Resource<keywheel_capability::secrets::Composer>;
}

impl Constructors for HostState {
    async fn new_policy(&mut self, length: u16) -> Resource<keywheel_capability::secrets::PasswordPolicy> {
        keywheel_capability::bindings::keywheel::core::secrets::HostPasswordPolicy::new(self, length)
            .await
            .unwrap()
    }

    async fn new_composer(&mut self, media_type: &str) -> Resource<keywheel_capability::secrets::Composer> {
        keywheel_capability::bindings::keywheel::core::secrets::HostComposer::new(self, media_type.to_owned())
            .await
            .unwrap()
    }
}
