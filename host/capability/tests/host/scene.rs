//! A channel as a guest uses it, to a real Redis or to a peer that says what no server would.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use keywheel_capability::bindings::keywheel::net::frames::{Host as _, HostFrame};
use keywheel_capability::bindings::keywheel::net::tcp::HostChannel;
use keywheel_capability::bindings::keywheel::plugin::runs::HostRun as _;
use keywheel_capability::handle::{Alphabet, Labels};
use keywheel_capability::net::Channel;
use keywheel_capability::port::Wanted;
use keywheel_capability::{Error, Handle};
use keywheel_manifest::{Manifest, Shape};
use keywheel_model::{Role, StepName};
use keywheel_policy::{Grant, Policy};
use keywheel_target::tls::TrustStore;
use wasmtime::component::Resource;

use crate::world::{SCHEMA, World, again, world_trusting};

pub(crate) const MANIFEST: &str = r#"
format = 1
name = "probe"
version = "0.1.0"
summary = "What the tests call"
config-schema = "schema.json"
capabilities = ["core", "net"]
target = ["/host", "/port"]
account = ["/user"]
inputs = ["admin"]

[[mode]]
class = "A"
strategy = "two-slot"
proof = "login"
belief = "0s"

[[frame]]
id = "auth-admin"
framing = "resp"
send = ["AUTH", "admin", "{input:admin}"]
effect = "none"
reply = "status"

[[frame]]
id = "auth"
framing = "resp"
send = ["AUTH", "{/user}", "{subject}"]
effect = "login"
reply = "status"

[[frame]]
id = "ping"
framing = "resp"
send = ["PING"]
effect = "none"
reply = "status"

[[frame]]
id = "quit"
framing = "resp"
send = ["QUIT"]
effect = "none"
reply = "all"

[[frame]]
id = "bind"
framing = "ldap"
send = ["(30", "02 \u0002", "(60", "02 \u0003", "04 {text}", "80 {subject}", ")", ")"]
effect = "login"
reply = "status"

[[frame]]
id = "compare"
framing = "ldap"
send = ["(30", "02 \u0002", "(6e", "04 {/user}", "(30", "04 userPassword", "04 {subject}", ")", ")", ")"]
effect = "login"
reply = "status"

[[frame]]
id = "bind-admin"
framing = "ldap"
send = ["(30", "02 \u0002", "(60", "02 \u0003", "04 admin", "80 {input:admin}", ")", ")"]
effect = "none"
reply = "status"

[[frame]]
id = "look"
framing = "ldap"
send = ["(30", "02 \u0003", "(63", "04 {/user}", ")", ")"]
effect = "none"
reply = "all"
"#;

pub(crate) const TIMEOUT_MS: u32 = 10_000;
const LIMIT: u32 = 4096;
const OCTET_STRING: u32 = 4;

/// A peer that says this as soon as somebody connects, and nothing else. Its port.
pub(crate) fn peer(says: &'static str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        stream.write_all(says.as_bytes()).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    port
}

pub(crate) enum Word<'a> {
    Text(&'a str),
    Secret(&'a Resource<Handle>),
}

pub(crate) struct Scene {
    pub(crate) world: World,
    channel: Resource<Channel>,
}

impl Scene {
    /// Connected without TLS to this port of `localhost`, with a grant for that.
    pub(crate) async fn open(step: StepName, port: u16) -> Self {
        let hosts = format!("\"localhost:{port} plaintext\"");
        Self::granted(TrustStore::new(), step, port, &hosts).await
    }

    pub(crate) async fn granted(trust: TrustStore, step: StepName, port: u16, hosts: &str) -> Self {
        let manifest = Manifest::from_toml(MANIFEST, SCHEMA).unwrap();
        let pin = |shape: &Shape| format!("{} = \"{}\"\n", shape.id(), shape.digest());
        let pins: String = manifest.shapes().iter().map(pin).collect();
        let text = format!(
            "plugin = \"probe\"\ncapabilities = [\"core\", \"net\"]\nhosts = [{hosts}]\n\
             secrets = [\"{{secret}}\", \"{{input:admin}}\"]\n[shapes]\n{pins}"
        );
        let grant = Grant::from_toml("policies/probe.toml", &text).unwrap();
        let mut world = world_trusting(trust, step, |step| {
            step.config = Arc::new(serde_json::json!({"host": "localhost", "port": port, "user": "app"}));
            step.manifest = Arc::new(manifest);
            step.policy = Arc::new(Policy::of(vec![grant]).unwrap());
        });
        let channel = HostChannel::connect(&mut world.state, "localhost".to_owned(), port, TIMEOUT_MS).await;
        Self {
            channel: channel.unwrap(),
            world,
        }
    }

    pub(crate) fn channel(&self) -> Resource<Channel> {
        Resource::new_borrow(self.channel.rep())
    }

    pub(crate) async fn frame(&mut self, framing: &str, words: &[Word<'_>]) -> Result<(), Error> {
        let state = &mut self.world.state;
        let frame = HostFrame::new(state, framing.to_owned()).await.unwrap();
        let borrow = || Resource::new_borrow(frame.rep());
        let tag = if framing == "ber" { OCTET_STRING } else { 0 };
        for word in words {
            HostFrame::open(state, borrow(), tag).await.unwrap();
            match word {
                Word::Text(text) => HostFrame::bytes(state, borrow(), text.as_bytes().to_vec()).await,
                Word::Secret(secret) => {
                    HostFrame::secret(state, borrow(), again(secret), "raw".to_owned()).await
                }
            }
            .unwrap();
            HostFrame::close(state, borrow()).await.unwrap();
        }
        HostFrame::send(state, frame, Resource::new_borrow(self.channel.rep())).await
    }

    /// A command of one word, which holds no secret.
    pub(crate) async fn send(&mut self, word: &str) -> Result<(), Error> {
        self.frame("resp", &[Word::Text(word)]).await
    }

    /// A frame with a secret that is no proof.
    pub(crate) async fn administrator(&mut self) {
        let run = self.world.run();
        let admin = self.world.state.input(run, "admin".to_owned()).await.unwrap();
        let words = [Word::Text("AUTH"), Word::Text("admin"), Word::Secret(&admin)];
        self.frame("resp", &words).await.unwrap();
    }

    /// The login that `test` is for, with this as the subject.
    pub(crate) async fn login(&mut self, password: &str) -> Result<(), Error> {
        let labels = Labels::imported("text/plain", Alphabet::Text);
        let wanted = Wanted::Role(Role::Subject);
        self.world.memory.keep(wanted, "ver-pre", password, labels);
        let run = self.world.run();
        let subject = self.world.state.subject(run).await.unwrap();
        let words = [Word::Text("AUTH"), Word::Text("app"), Word::Secret(&subject)];
        self.frame("resp", &words).await
    }

    /// So many bytes as a secret that the target gave out.
    pub(crate) async fn read_secret(&mut self, length: usize) -> Result<Resource<Handle>, Error> {
        let (channel, length) = (self.channel(), u32::try_from(length).unwrap());
        let state = &mut self.world.state;
        HostChannel::read_secret(state, channel, length, "text/plain".to_owned(), TIMEOUT_MS).await
    }

    pub(crate) async fn receive(&mut self) -> Result<String, Error> {
        let channel = self.channel();
        let answer = self
            .world
            .state
            .receive(channel, "resp".to_owned(), LIMIT, TIMEOUT_MS)
            .await?;
        Ok(String::from_utf8(answer).unwrap())
    }

    pub(crate) async fn read_line(&mut self) -> Result<Vec<u8>, Error> {
        let channel = self.channel();
        HostChannel::read_until(
            &mut self.world.state,
            channel,
            b"\r\n".to_vec(),
            LIMIT,
            TIMEOUT_MS,
        )
        .await
    }
}
