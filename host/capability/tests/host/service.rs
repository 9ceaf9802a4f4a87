//! A service as a guest asks it: one connection, one answer, and what it was asked.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use keywheel_capability::bindings::keywheel::http::client::{HostRequest, HostResponse};
use keywheel_capability::bindings::keywheel::plugin::runs::HostRun as _;
use keywheel_capability::http::{Request, Response};
use keywheel_capability::{Error, Handle};
use keywheel_manifest::{Manifest, Shape};
use keywheel_model::{Effect, StepName};
use keywheel_policy::{Grant, Policy};
use wasmtime::component::Resource;

use crate::world::{SCHEMA, World, again, world_with};

const MANIFEST: &str = r#"
format = 1
name = "probe"
version = "0.1.0"
summary = "What the tests call"
config-schema = "schema.json"
capabilities = ["core", "http"]
target = ["/host", "/port"]
account = ["/user"]
inputs = ["admin"]

[[mode]]
class = "D"
strategy = "issue-and-revoke"
proof = "login"
belief = "0s"

[[http]]
id = "create"
request = "POST http://{/host}:{/port}/keys"
secret = { authorization = "bearer {input:admin}" }
body = { "/name" = "{text}" }
capture = ["/key"]
show = ["/id", "/name"]
headers = ["retry-after"]
effect = "create"

[[http]]
id = "list"
request = "GET http://{/host}:{/port}/keys?page={text}"
secret = { authorization = "basic {/user}:{input:admin}" }
show = ["/result/*/id"]
effect = "none"

[[http]]
id = "who"
request = "GET http://{/host}:{/port}/who"
secret = { authorization = "bearer {subject}" }
show = ["/scopes"]
effect = "login"

# Whose words say more than its status.
[[http]]
id = "whoami"
request = "GET http://{/host}:{/port}/whoami"
secret = { authorization = "basic {/user}:{subject}" }
told = [{ status = 401, at = "/reason", is = "no right", means = "accepted" }]
show = ["/reason"]
effect = "login"

[[http]]
id = "whoami-document"
request = "GET http://{/host}:{/port}/whoami"
secret = { authorization = "basic {/user}:{subject/password}" }
effect = "login"

[[http]]
id = "caller"
request = "POST http://{/host}:{/port}/"
secret = { authorization = "{subject as aws.sigv4}" }
told = [{ status = 403, at = "xml:/Error/Code", is = "Unknown", means = "rejected" }]
capture = ["xml:/New/Secret"]
show = ["/Error/Code", "/New/Id", "/New/Secret"]
effect = "login"

[[http]]
id = "delete"
request = "DELETE http://{/host}:{/port}/keys/{text}"
secret = { authorization = "bearer {input:admin}" }
effect = "delete"

[[http]]
id = "push"
request = "POST http://{/host}:{/port}/push"
secret = { "body:/key" = "{current}", "header:x-signature" = "{input:admin as hmac-sha256}" }
body = { "/note" = "{text}" }
effect = "set"
"#;

/// A server for one connection: what it was asked, once it was.
fn server(answer: &str) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (said, asked) = channel();
    let answer = answer.to_owned();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let (mut text, mut buffer) = (String::new(), [0; 4096]);
        while !is_whole(&text) {
            let count = stream.read(&mut buffer).unwrap();
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        said.send(text).unwrap();
        let _ = stream.write_all(answer.as_bytes());
    });
    (port, asked)
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

pub(crate) fn json(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nRetry-After: 7\r\nX-More: m\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) port: u16,
    pub(crate) asked: Receiver<String>,
}

impl Scene {
    pub(crate) fn open(step: StepName, answer: &str) -> Self {
        let (port, asked) = server(answer);
        let manifest = Manifest::from_toml(MANIFEST, SCHEMA).unwrap();
        let pin = |shape: &Shape| format!("{} = \"{}\"\n", shape.id(), shape.digest());
        let pins: String = manifest.shapes().iter().map(pin).collect();
        let text = format!(
            "plugin = \"probe\"\ncapabilities = [\"core\", \"http\"]\nhosts = [\"localhost:{port} plaintext\"]\n\
             secrets = [\"{{secret}}\", \"{{input:admin}}\"]\n[shapes]\n{pins}"
        );
        let grant = Grant::from_toml("policies/probe.toml", &text).unwrap();
        let world = world_with(step, |step| {
            step.config = Arc::new(serde_json::json!({"host": "localhost", "port": port, "user": "app"}));
            step.manifest = Arc::new(manifest);
            step.policy = Arc::new(Policy::of(vec![grant]).unwrap());
        });
        Self { world, port, asked }
    }

    pub(crate) async fn request(&mut self, method: &str, path: &str) -> Resource<Request> {
        let url = format!("http://localhost:{}{path}", self.port);
        HostRequest::new(&mut self.world.state, method.to_owned(), url)
            .await
            .unwrap()
    }

    pub(crate) async fn admin(&mut self) -> Resource<Handle> {
        let run = self.world.run();
        self.world.state.input(run, "admin".to_owned()).await.unwrap()
    }

    pub(crate) async fn bearer(&mut self, request: &Resource<Request>) {
        let admin = self.admin().await;
        HostRequest::bearer(&mut self.world.state, same(request), again(&admin))
            .await
            .unwrap();
    }

    /// The request that has a key made, with everything that it needs.
    pub(crate) async fn create(&mut self) -> Resource<Request> {
        let request = self.request("POST", "/keys").await;
        self.bearer(&request).await;
        let state = &mut self.world.state;
        let body = br#"{"name":"kw-1"}"#.to_vec();
        HostRequest::body(state, same(&request), body, "application/json".to_owned())
            .await
            .unwrap();
        capture(state, &request).await.unwrap();
        request
    }

    pub(crate) async fn send(&mut self, request: Resource<Request>) -> Result<Resource<Response>, Error> {
        HostRequest::send(&mut self.world.state, request).await
    }

    pub(crate) async fn body(&mut self, response: &Resource<Response>) -> String {
        let body = HostResponse::body(&mut self.world.state, Resource::new_borrow(response.rep())).await;
        String::from_utf8(body.unwrap()).unwrap()
    }

    pub(crate) async fn captured(&mut self, response: &Resource<Response>) -> Option<Resource<Handle>> {
        let response = Resource::new_borrow(response.rep());
        HostResponse::captured(&mut self.world.state, response, "key".to_owned())
            .await
            .unwrap()
    }

    pub(crate) fn concluded(&self) -> (Effect, Option<String>) {
        let intents = &self.world.memory.get().intents;
        let conclusion = intents.last().unwrap().1.as_ref().unwrap();
        (conclusion.effect, conclusion.code.clone())
    }
}

pub(crate) fn same(request: &Resource<Request>) -> Resource<Request> {
    Resource::new_borrow(request.rep())
}

pub(crate) async fn capture(
    state: &mut keywheel_capability::HostState,
    request: &Resource<Request>,
) -> Result<(), Error> {
    let (name, selector, kind) = ("key".to_owned(), "/key".to_owned(), "text/plain".to_owned());
    HostRequest::capture(state, same(request), name, selector, kind).await
}
