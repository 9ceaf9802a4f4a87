//! Requests as a guest makes them: what goes out, what is refused before, what comes back.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use keywheel_capability::bindings::keywheel::http::client::{Host as _, HostRequest, HostResponse};
use keywheel_capability::bindings::keywheel::plugin::runs::HostRun as _;
use keywheel_capability::handle::{Alphabet, Labels};
use keywheel_capability::http::{Request, Response};
use keywheel_capability::port::Wanted;
use keywheel_capability::report::LoginResult;
use keywheel_capability::{Error, Handle};
use keywheel_manifest::{Manifest, Shape};
use keywheel_model::{Effect, Role, StepName};
use keywheel_policy::{Grant, Policy};
use wasmtime::component::Resource;

use crate::world::{SCHEMA, VALUE, World, again, code, world_with};

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

fn json(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nRetry-After: 7\r\nX-More: m\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

struct Scene {
    world: World,
    port: u16,
    asked: Receiver<String>,
}

impl Scene {
    fn open(step: StepName, answer: &str) -> Self {
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

    async fn request(&mut self, method: &str, path: &str) -> Resource<Request> {
        let url = format!("http://localhost:{}{path}", self.port);
        HostRequest::new(&mut self.world.state, method.to_owned(), url)
            .await
            .unwrap()
    }

    async fn admin(&mut self) -> Resource<Handle> {
        let run = self.world.run();
        self.world.state.input(run, "admin".to_owned()).await.unwrap()
    }

    async fn bearer(&mut self, request: &Resource<Request>) {
        let admin = self.admin().await;
        HostRequest::bearer(&mut self.world.state, same(request), again(&admin))
            .await
            .unwrap();
    }

    /// The request that has a key made, with everything that it needs.
    async fn create(&mut self) -> Resource<Request> {
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

    async fn send(&mut self, request: Resource<Request>) -> Result<Resource<Response>, Error> {
        HostRequest::send(&mut self.world.state, request).await
    }

    async fn body(&mut self, response: &Resource<Response>) -> String {
        let body = HostResponse::body(&mut self.world.state, Resource::new_borrow(response.rep())).await;
        String::from_utf8(body.unwrap()).unwrap()
    }

    async fn captured(&mut self, response: &Resource<Response>) -> Option<Resource<Handle>> {
        let response = Resource::new_borrow(response.rep());
        HostResponse::captured(&mut self.world.state, response, "key".to_owned())
            .await
            .unwrap()
    }

    fn concluded(&self) -> (Effect, Option<String>) {
        let intents = &self.world.memory.get().intents;
        let conclusion = intents.last().unwrap().1.as_ref().unwrap();
        (conclusion.effect, conclusion.code.clone())
    }
}

fn same(request: &Resource<Request>) -> Resource<Request> {
    Resource::new_borrow(request.rep())
}

async fn capture(
    state: &mut keywheel_capability::HostState,
    request: &Resource<Request>,
) -> Result<(), Error> {
    let (name, selector, kind) = ("key".to_owned(), "/key".to_owned(), "text/plain".to_owned());
    HostRequest::capture(state, same(request), name, selector, kind).await
}

#[tokio::test]
async fn what_the_target_issues_is_kept_and_the_guest_sees_the_declared_fields() {
    let answer = json(
        "201 Created",
        r#"{"key":"SG.issued-1","id":"k1","name":"kw-1","secret":"x"}"#,
    );
    let mut scene = Scene::open(StepName::Create, &answer);
    let request = scene.create().await;
    let state = &mut scene.world.state;
    HostRequest::idempotency_key(state, same(&request), "op-1".to_owned())
        .await
        .unwrap();
    let response = scene.send(request).await.unwrap();
    let asked = scene.asked.recv().unwrap();
    assert!(
        asked.contains("authorization: Bearer planted-admin\r\n"),
        "{asked}"
    );
    assert!(
        asked.contains("idempotency-key: op-1\r\n") && asked.contains("content-type: application/json\r\n")
    );
    assert_eq!(scene.body(&response).await, r#"{"id":"k1","name":"kw-1"}"#);
    let headers = |name: &str| (Resource::new_borrow(response.rep()), name.to_owned());
    for (name, shown) in [("Retry-After", &["7"][..]), ("x-more", &[])] {
        let (response, name) = headers(name);
        assert_eq!(
            HostResponse::header(&mut scene.world.state, response, name)
                .await
                .unwrap(),
            shown
        );
    }
    let kept = scene.world.memory.get().escrow.clone();
    assert_eq!(kept, [("key".to_owned(), b"SG.issued-1".to_vec())]);
    assert_eq!(scene.concluded(), (Effect::Applied, None));
    assert_eq!(
        scene.world.memory.get().intents[0].0.idempotency.as_deref(),
        Some("op-1")
    );
    let issued = scene.captured(&response).await.unwrap();
    scene.world.set_pending(&issued).await.unwrap();
}

#[tokio::test]
async fn an_answer_without_the_value_fails_and_its_body_is_kept() {
    for body in [
        r#"{"id":"k1"}"#,
        r#"{"key":"a","key":"b"}"#,
        r#"{"key":7}"#,
        "<html>no</html>",
        r#"{"key":"SG."#,
    ] {
        let mut scene = Scene::open(StepName::Create, &json("201 Created", body));
        let request = scene.create().await;
        let failed = scene.send(request).await;
        let Err(Error::Answer(error)) = failed else {
            panic!("{body}")
        };
        assert_eq!(
            (error.code.as_str(), error.effect),
            ("http.capture", Effect::Applied),
            "{body}"
        );
        assert!(!error.message.contains("SG."));
        assert_eq!(
            scene.world.memory.get().escrow,
            [("http:body".to_owned(), body.into())]
        );
    }
}

#[tokio::test]
async fn an_answer_is_an_answer_whatever_its_status_is() {
    for (status, effect, seen) in [
        ("401 Unauthorized", Effect::None, 401),
        ("403 Forbidden", Effect::None, 403),
        ("429 Too Many Requests", Effect::None, 429),
        ("500 Oh", Effect::Maybe, 500),
        ("307 There", Effect::Maybe, 307),
    ] {
        let mut scene = Scene::open(StepName::Create, &json(status, r#"{"errors":["no"]}"#));
        let request = scene.create().await;
        let response = scene.send(request).await.unwrap();
        let shown = HostResponse::status(&mut scene.world.state, Resource::new_borrow(response.rep())).await;
        assert_eq!(shown.unwrap(), seen);
        assert_eq!(scene.body(&response).await, "");
        assert!(scene.captured(&response).await.is_none());
        assert_eq!(scene.concluded(), (effect, Some(format!("http.{seen}"))));
    }
}

/// Abuse case 7: plain, in base64, in an unusual spelling of JSON, in a field that is shown.
#[tokio::test]
async fn an_answer_that_holds_a_live_secret_is_withheld() {
    for said in [VALUE, "cGxhbnRlZC03ZjMtY3VycmVudA==", "\\u0070lanted-7f3-current"] {
        let answer = json(
            "201 Created",
            &format!(r#"{{"key":"SG.issued-1","id":"{said}"}}"#),
        );
        let mut scene = Scene::open(StepName::Create, &answer);
        scene.world.current().await;
        let request = scene.create().await;
        let stopped = scene.send(request).await;
        assert!(matches!(stopped, Err(Error::Stop(_))), "{said}");
        assert_eq!(scene.concluded().0, Effect::Applied);
        assert!(scene.world.state.into_report().reflection);
    }
    // The new one itself, where it was not looked for.
    let answer = json("201 Created", r#"{"key":"SG.issued-1","id":"SG.issued-1"}"#);
    let mut scene = Scene::open(StepName::Create, &answer);
    let request = scene.create().await;
    assert!(matches!(scene.send(request).await, Err(Error::Stop(_))));
}

#[tokio::test]
async fn a_recorded_answer_is_found_by_the_next_try() {
    let answer = json("201 Created", r#"{"key":"SG.issued-1","id":"k1"}"#);
    let mut scene = Scene::open(StepName::Create, &answer);
    assert!(
        scene
            .world
            .state
            .recall("made".to_owned())
            .await
            .unwrap()
            .is_none()
    );
    let request = scene.create().await;
    let state = &mut scene.world.state;
    HostRequest::record_as(state, same(&request), "made".to_owned())
        .await
        .unwrap();
    scene.send(request).await.unwrap();
    let kept = scene
        .world
        .memory
        .get()
        .state
        .values()
        .cloned()
        .collect::<Vec<_>>()
        .concat();
    assert!(!kept.is_empty() && !String::from_utf8(kept).unwrap().contains("SG.issued"));
    let recalled = scene
        .world
        .state
        .recall("made".to_owned())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(scene.body(&recalled).await, r#"{"id":"k1"}"#);
    let issued = scene.captured(&recalled).await.unwrap();
    scene.world.set_pending(&issued).await.unwrap();
    // What was recorded is of no use without the value.
    scene
        .world
        .memory
        .get()
        .secrets
        .remove(&Wanted::Escrow("key".to_owned()));
    assert!(
        scene
            .world
            .state
            .recall("made".to_owned())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_login_says_what_the_status_says() {
    for (status, result) in [
        ("200 OK", LoginResult::Accepted),
        ("401 Unauthorized", LoginResult::Rejected),
        ("403 Forbidden", LoginResult::Limited),
        ("429 Slow", LoginResult::Unknown),
        ("302 Found", LoginResult::Unknown),
        ("500 Oh", LoginResult::Unknown),
    ] {
        let mut scene = Scene::open(StepName::Test, &json(status, r#"{"scopes":["a"]}"#));
        let labels = Labels::imported("text/plain", Alphabet::Text);
        scene
            .world
            .memory
            .keep(Wanted::Role(Role::Subject), "ver-new", "SG.subject-1", labels);
        let run = scene.world.run();
        let subject = scene.world.state.subject(run).await.unwrap();
        let request = scene.request("GET", "/who").await;
        HostRequest::bearer(&mut scene.world.state, same(&request), again(&subject))
            .await
            .unwrap();
        scene.send(request).await.unwrap();
        assert_eq!(
            scene.world.state.into_report().subject_login(),
            Some(result),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_secret_goes_where_it_is_declared_and_nowhere_else() {
    let mut scene = Scene::open(StepName::Apply, "");
    let mut refused = Vec::new();
    for (method, path) in [("POST", "/other"), ("PUT", "/keys"), ("DELETE", "/keys/a/b")] {
        let request = scene.request(method, path).await;
        scene.bearer(&request).await;
        refused.push(code(scene.send(request).await));
    }
    let request = scene.request("DELETE", "/keys/k1").await;
    let admin = scene.admin().await;
    let state = &mut scene.world.state;
    HostRequest::secret_query(state, same(&request), "q".to_owned(), again(&admin))
        .await
        .unwrap();
    refused.push(code(scene.send(request).await));
    assert_eq!(refused, ["shape.none"; 4]);
    assert!(scene.world.memory.get().intents.is_empty());
    assert!(scene.asked.try_recv().is_err());
}

/// Abuse case 1: another port, another scheme.
#[tokio::test]
async fn only_a_granted_host_is_asked_even_without_a_secret() {
    let mut scene = Scene::open(StepName::Plan, "");
    let port = scene.port;
    for url in [
        format!("http://localhost:{}/", port ^ 1),
        format!("https://localhost:{port}/"),
        format!("http://127.0.0.1:{port}/"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "https://metadata.google.internal/".to_owned(),
    ] {
        let request = HostRequest::new(&mut scene.world.state, "GET".to_owned(), url.clone())
            .await
            .unwrap();
        assert_eq!(code(scene.send(request).await), "policy.denied", "{url}");
    }
    assert!(scene.asked.try_recv().is_err());
}

#[tokio::test]
async fn plan_gets_and_changes_nothing() {
    let mut scene = Scene::open(StepName::Plan, &json("200 OK", r#"{"a":1}"#));
    let request = scene.request("POST", "/free").await;
    assert_eq!(code(scene.send(request).await), "step.effect");
    let request = scene.create().await;
    assert_eq!(code(scene.send(request).await), "step.effect");
    let request = scene.request("GET", "/free").await;
    let response = scene.send(request).await.unwrap();
    assert_eq!(scene.body(&response).await, r#"{"a":1}"#);
}

#[tokio::test]
async fn a_composed_body_and_a_signature_go_to_their_places() {
    let mut scene = Scene::open(StepName::Apply, &json("200 OK", "{}"));
    let current = scene.world.current().await;
    let document = scene
        .world
        .compose(
            "application/json",
            r#"{"note":"n","key":""#,
            &current,
            "json",
            "\"}",
        )
        .await
        .unwrap();
    let request = scene.request("POST", "/push").await;
    let admin = scene.admin().await;
    let state = &mut scene.world.state;
    HostRequest::secret_body(state, same(&request), again(&document))
        .await
        .unwrap();
    let parameters = r#"{"header":"X-Signature"}"#.to_owned();
    HostRequest::sign(
        state,
        same(&request),
        "hmac-sha256".to_owned(),
        parameters,
        again(&admin),
    )
    .await
    .unwrap();
    scene.send(request).await.unwrap();
    let asked = scene.asked.recv().unwrap();
    assert!(
        asked.ends_with(&format!("\r\n\r\n{{\"note\":\"n\",\"key\":\"{VALUE}\"}}")),
        "{asked}"
    );
    assert!(asked.contains("\r\nx-signature: t=1000,v1="), "{asked}");
    assert!(!asked.contains("planted-admin"));
}

#[tokio::test]
async fn basic_and_a_parameter_are_written_as_they_have_to_be() {
    let mut scene = Scene::open(
        StepName::Plan,
        &json("200 OK", r#"{"result":[{"id":"a","key":"x"}]}"#),
    );
    let request = scene.request("GET", "/keys").await;
    let admin = scene.admin().await;
    let state = &mut scene.world.state;
    HostRequest::query(state, same(&request), "page".to_owned(), "a b&c".to_owned())
        .await
        .unwrap();
    HostRequest::basic(state, same(&request), "app".to_owned(), again(&admin))
        .await
        .unwrap();
    let response = scene.send(request).await.unwrap();
    assert_eq!(scene.body(&response).await, r#"{"result":[{"id":"a"}]}"#);
    let asked = scene.asked.recv().unwrap();
    assert!(
        asked.starts_with("GET /keys?page=a%20b%26c HTTP/1.1\r\n"),
        "{asked}"
    );
    // app:planted-admin
    assert!(
        asked.contains("authorization: Basic YXBwOnBsYW50ZWQtYWRtaW4=\r\n"),
        "{asked}"
    );
}

/// What only looks leaves nothing in doubt, whether it was answered or not.
#[tokio::test]
async fn a_lost_answer_is_in_doubt_only_where_something_could_change() {
    for (is_create, effect) in [(true, Effect::Maybe), (false, Effect::None)] {
        let step = if is_create {
            StepName::Create
        } else {
            StepName::Plan
        };
        let mut scene = Scene::open(step, "HTTP/1.1 201 Cre");
        let request = if is_create {
            scene.create().await
        } else {
            scene.request("GET", "/free").await
        };
        let Err(Error::Answer(error)) = scene.send(request).await else {
            panic!("it was answered")
        };
        assert_eq!(error.effect, effect, "{error:?}");
    }
}

/// Abuse case 6: nothing becomes a line of its own, and a key that no header carries is not sent.
#[tokio::test]
async fn what_would_break_out_of_a_header_is_refused_with_its_own_error() {
    let mut scene = Scene::open(StepName::Create, "");
    let request = scene.request("GET", "/free").await;
    let state = &mut scene.world.state;
    for (name, value) in [
        ("x", "a\r\nb: c"),
        ("x:y", "a"),
        ("Host", "evil"),
        ("Range", "bytes=0-1"),
        ("x", "é"),
    ] {
        let set = HostRequest::header(state, same(&request), name.to_owned(), value.to_owned()).await;
        assert_eq!(code(set), "http.header", "{name} {value}");
    }
    let user = HostRequest::basic(state, same(&request), "a:b".to_owned(), Resource::new_borrow(0)).await;
    assert_eq!(code(user), "http.user");
    let labels = Labels::imported("text/plain", Alphabet::Text);
    scene.world.memory.keep(
        Wanted::Input("admin".to_owned()),
        "ver-bad",
        "planted\r\nX-Admin: 1",
        labels,
    );
    let request = scene.create().await;
    let refused = scene.send(request).await;
    assert_eq!(code(refused), "http.secret");
    assert!(scene.asked.try_recv().is_err() && scene.world.memory.get().intents.is_empty());
}

#[tokio::test]
async fn what_is_not_built_says_so() {
    let mut scene = Scene::open(StepName::Create, "");
    let request = scene.create().await;
    HostRequest::follow_redirects(&mut scene.world.state, same(&request), 3)
        .await
        .unwrap();
    assert_eq!(code(scene.send(request).await), "host.not-offered");
    let request = scene.request("GET", "/free").await;
    let selected = HostRequest::capture_session(
        &mut scene.world.state,
        same(&request),
        "t".to_owned(),
        "xml:/a".to_owned(),
    )
    .await;
    assert_eq!(code(selected), "host.not-offered");
    let admin = scene.admin().await;
    let state = &mut scene.world.state;
    HostRequest::sign(
        state,
        same(&request),
        "azure.shared-key".to_owned(),
        "{}".to_owned(),
        again(&admin),
    )
    .await
    .unwrap();
    assert_eq!(code(scene.send(request).await), "http.sign");
}
