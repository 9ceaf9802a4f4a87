//! HTTP shapes: the request must be the declared one in method, URL, query, places of secrets, body and captures.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use keywheel_manifest::{
    Call, Manifest, Meaning, Piece, Position, Request, SecretRole, SecretUse, ShapeBody,
};
use keywheel_model::Role;
use serde_json::{Value, json};

const MANIFEST: &str = r#"
format = 1
name = "example"
version = "1"
summary = "An example"
config-schema = "schema.json"
capabilities = ["core", "http"]
target = ["/api"]
account = ["/name"]
inputs = ["admin"]
[[mode]]
class = "D"
strategy = "issue-and-revoke"
proof = "login"
belief = "10s"

[[http]]
id = "create"
request = "POST https://{/api}/v3/api_keys"
secret = { authorization = "bearer {input:admin}" }
body = { "/name" = "{text}", "/scopes" = "{any}", "/kind" = "{/kind}", "/live" = true }
capture = ["/api_key"]
show = ["/api_key_id", "/name", "/scopes/*"]
headers = ["Retry-After"]
effect = "create"

[[http]]
id = "delete"
request = "DELETE https://{/api}/v3/api_keys/{text}?force={/force}"
secret = { authorization = "bearer {input:admin}" }
effect = "delete"

[[http]]
id = "told"
request = "POST https://{/api}/{/path}"
secret = { authorization = "bearer {input:admin}" }
effect = "set"

[[http]]
id = "signed"
request = "PUT https://{/api}/signed"
secret = { authorization = "bearer {input:admin}", "query:token" = "{current}" }
effect = "set"
"#;
const SCHEMA: &str = r#"{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "additionalProperties": false}"#;

fn configuration() -> Value {
    json!({"api": "api.example.net", "name": "n", "kind": "app", "force": true, "path": "a/b/c"})
}

fn bearer() -> (Position, Vec<Piece>) {
    (
        Position::Authorization,
        vec![
            Piece::text("bearer "),
            Piece::Secret(SecretUse::of(SecretRole::Input("admin".into()))),
        ],
    )
}

fn create() -> Request {
    Request {
        method: "POST".into(),
        url: "https://api.example.net/v3/api_keys".into(),
        query: Vec::new(),
        secrets: vec![bearer()],
        body: Some(json!({"name": "x", "scopes": ["mail"], "kind": "app", "live": true})),
        capture: vec!["/api_key".into()],
    }
}

fn delete(url: &str) -> Request {
    Request {
        method: "DELETE".into(),
        url: url.into(),
        query: vec![("force".into(), "true".into())],
        secrets: vec![bearer()],
        body: None,
        capture: Vec::new(),
    }
}

fn matched(request: Request) -> Option<String> {
    let manifest = Manifest::from_toml(MANIFEST, SCHEMA).unwrap();
    manifest
        .require_shape(&Call::Request(request), &configuration())
        .ok()
        .map(|shape| shape.id().to_owned())
}

#[test]
fn the_declared_requests_are_found() {
    assert_eq!(matched(create()).as_deref(), Some("create"));
    assert_eq!(
        matched(Request {
            body: Some(json!({"name": "x"})),
            ..create()
        })
        .as_deref(),
        Some("create")
    );
    assert_eq!(
        matched(delete("https://api.example.net/v3/api_keys/k-1")).as_deref(),
        Some("delete")
    );
}

#[test]
fn what_is_shown_of_the_answer_is_declared() {
    let manifest = Manifest::from_toml(MANIFEST, SCHEMA).unwrap();
    let ShapeBody::Http(http) = manifest.shape("create").unwrap().body() else {
        panic!("not http")
    };
    assert_eq!(http.headers(), ["retry-after"]);
    assert_eq!(
        http.show().iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["/api_key_id", "/name", "/scopes/*"]
    );
}

#[test]
fn every_other_url_is_refused() {
    for url in [
        "http://api.example.net/v3/api_keys/k",
        "https://evil.example/v3/api_keys/k",
        "https://api.example.net@evil.example/v3/api_keys/k",
        "https://api.example.net:444/v3/api_keys/k",
        "https://api.example.net/v3/api_keys/",
        "https://api.example.net/v3/api_keys/..",
        "https://api.example.net/v3/api_keys/%2E%2e",
        "https://api.example.net/v3/api_keys/k/extra",
        "https://api.example.net/v3/api_keys/k?x=1",
        "https://api.example.net/v3/api_keys/k#f",
        "https://api.example.net/v3/api_keys/k k",
        "https://api.example.net/v3\\api_keys/k",
    ] {
        assert_eq!(matched(delete(url)), None, "{url}");
    }
}

/// The operator wrote it: the last place of the configuration in a path may be several segments, exactly as they are written.
#[test]
fn a_path_of_the_configuration_may_have_several_segments() {
    let told = |path: &str| {
        let url = format!("https://api.example.net/{path}");
        matched(Request {
            method: "POST".into(),
            query: Vec::new(),
            ..delete(&url)
        })
    };
    assert_eq!(told("a/b/c").as_deref(), Some("told"));
    for other in [
        "a",
        "a/b",
        "a/b/c/d",
        "a/b/c/",
        "/a/b/c",
        "a/../a/b/c",
        "a%2fb/c",
        "",
    ] {
        assert_eq!(told(other), None, "{other}");
    }
}

#[test]
fn every_other_query_place_body_and_capture_is_refused() {
    let good = "https://api.example.net/v3/api_keys/k";
    let queries = [
        vec![],
        vec![("force", "false")],
        vec![("force", "true"), ("force", "true")],
        vec![("force", "true"), ("x", "1")],
    ];
    for query in queries {
        let query = query
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect::<Vec<_>>();
        assert_eq!(
            matched(Request {
                query: query.clone(),
                ..delete(good)
            }),
            None,
            "{query:?}"
        );
    }
    for body in [
        json!({"name": 1}),
        json!({"other": "x"}),
        json!(["x"]),
        json!({"name": "x", "live": false}),
        json!({"kind": "root"}),
        json!({"a": {}, "b": 1}),
    ] {
        assert_eq!(
            matched(Request {
                body: Some(body.clone()),
                ..create()
            }),
            None,
            "{body}"
        );
    }
    let (_, pieces) = bearer();
    for secrets in [
        vec![(Position::Header("x-api-key".into()), pieces.clone())],
        vec![bearer(), (Position::Query("q".into()), pieces.clone())],
        vec![bearer(), bearer()],
        vec![(
            Position::Authorization,
            vec![Piece::text("basic "), pieces[1].clone()],
        )],
        vec![],
    ] {
        assert_eq!(
            matched(Request {
                secrets: secrets.clone(),
                ..create()
            }),
            None,
            "{secrets:?}"
        );
    }
    assert_eq!(
        matched(Request {
            capture: vec!["/other".into()],
            ..create()
        }),
        None
    );
    assert_eq!(
        matched(Request {
            method: "PUT".into(),
            ..create()
        }),
        None
    );
}

#[test]
fn places_that_servers_echo_cannot_be_declared() {
    for place in [
        "header:origin",
        "header:User-Agent",
        "header:access-control-request-headers",
        "header:",
        "cookie",
        "body:name",
    ] {
        let text = MANIFEST.replacen(
            "{ authorization = \"bearer {input:admin}\" }",
            &format!("{{ \"{place}\" = \"{{input:admin}}\" }}"),
            1,
        );
        assert!(Manifest::from_toml(&text, SCHEMA).is_err(), "{place}");
    }
}

#[test]
fn each_declared_place_holds_its_secret_once() {
    let token = |role| {
        (
            Position::Query("token".into()),
            vec![Piece::Secret(SecretUse::of(SecretRole::Run(role)))],
        )
    };
    let signed = |secrets| Request {
        method: "PUT".into(),
        url: "https://api.example.net/signed".into(),
        query: Vec::new(),
        secrets,
        body: None,
        capture: Vec::new(),
    };
    assert_eq!(
        matched(signed(vec![token(Role::Current), bearer()])).as_deref(),
        Some("signed")
    );
    assert_eq!(matched(signed(vec![bearer(), bearer()])), None);
    assert_eq!(matched(signed(vec![bearer(), token(Role::Pending)])), None);
    assert_eq!(matched(signed(vec![bearer()])), None);
}

fn with_login(secret: &str, rejects: &str) -> Result<Manifest, keywheel_manifest::Error> {
    let login = format!(
        "\n[[http]]\nid = \"login\"\nrequest = \"GET https://{{/api}}/who\"\nsecret = {{ authorization = \"{secret}\" }}\nrejects = {rejects}\neffect = \"login\"\n"
    );
    Manifest::from_toml(&format!("{MANIFEST}{login}"), SCHEMA)
}

/// A user that only the plugin knows: nothing of what stands beside it becomes a part of it.
#[test]
fn a_user_of_basic_authentication_may_be_any() {
    let manifest = with_login("basic {text}:{subject/password}", "[403]").unwrap();
    let login = |before: &str| {
        let password = SecretUse {
            part: Some("/password".parse().unwrap()),
            ..SecretUse::of(SecretRole::Run(Role::Subject))
        };
        let call = Call::Request(Request {
            method: "GET".to_owned(),
            url: "https://api.example.net/who".to_owned(),
            query: Vec::new(),
            secrets: vec![(
                Position::Authorization,
                vec![Piece::text(before), Piece::Secret(password)],
            )],
            body: None,
            capture: Vec::new(),
        });
        let shape = manifest.find_shape(&call, &configuration()).ok().flatten()?;
        Some(shape.id().to_owned())
    };
    assert_eq!(login("basic SK1:").as_deref(), Some("login"));
    for before in [
        "basic :",
        "basic SK1",
        "basic SK1:x",
        "basic a:b:",
        "bearer SK1:",
        "SK1:",
    ] {
        assert_eq!(login(before), None, "{before}");
    }
    for bad in [
        "bearer {text}:{subject}",
        "basic x{text}:{subject}",
        "basic {text}{subject}",
        "basic {text}:{subject}:{subject}",
    ] {
        assert!(with_login(bad, "[]").is_err(), "{bad}");
    }
}

#[test]
fn a_service_that_says_no_in_another_way_has_it_declared() {
    let manifest = with_login("bearer {subject}", "[403, 404]").unwrap();
    let ShapeBody::Http(http) = manifest.shape("login").unwrap().body() else {
        panic!("not http")
    };
    assert_eq!(http.rejects(), [403, 404]);
    for bad in ["[200]", "[429]", "[500]", "[\"403\"]", "403", "[70000]"] {
        assert!(with_login("bearer {subject}", bad).is_err(), "{bad}");
    }
}

#[test]
fn what_an_answer_says_beside_its_status_is_declared() {
    let with = |told: &str| {
        let text = MANIFEST.replacen(
            "effect = \"create\"",
            &format!("effect = \"create\"\ntold = [{told}]"),
            1,
        );
        Manifest::from_toml(&text, SCHEMA)
    };
    let manifest = with("{ status = 401, at = \"/reason\", is = \"no\", means = \"accepted\" }").unwrap();
    let ShapeBody::Http(http) = manifest.shape("create").unwrap().body() else {
        panic!("not http")
    };
    let [told] = http.told() else { panic!("not one") };
    assert_eq!(
        (told.status, told.at.as_str(), told.means),
        (401, "/reason", Meaning::Accepted)
    );
    for bad in [
        "{ status = 99, at = \"/a\", is = \"b\", means = \"accepted\" }",
        "{ status = 401, at = \"/a/*\", is = \"b\", means = \"accepted\" }",
        "{ status = 401, at = \"header:a\", is = \"b\", means = \"accepted\" }",
        "{ status = 401, at = \"/a\", is = \"b\", means = \"good\" }",
        "{ status = 401, at = \"/a\", means = \"accepted\" }",
        "{ status = 401, at = \"/a\", is = \"b\", means = \"accepted\", more = 1 }",
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
}
