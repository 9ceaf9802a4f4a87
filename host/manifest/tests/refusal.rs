//! A refusal prints what to add to the manifest, and adding it is enough.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use keywheel_manifest::{
    Call, FrameToken, Framing, Manifest, Piece, Position, Reason, Request, SecretRole, SecretUse,
};
use keywheel_model::Role;
use serde_json::{Value, json};

const HEAD: &str = r#"
format = 1
name = "example"
version = "1"
summary = "An example"
config-schema = "schema.json"
capabilities = ["core", "sql", "net", "http"]
target = ["/host"]
account = ["/role"]
inputs = ["admin"]
[[mode]]
class = "C"
strategy = "one-slot"
proof = "login"
belief = "0s"
"#;
const SCHEMA: &str = r#"{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "additionalProperties": false}"#;

fn with(lines: &str) -> Manifest {
    Manifest::from_toml(&format!("{HEAD}\n{lines}"), SCHEMA).unwrap()
}

fn configuration() -> Value {
    json!({"host": "api.example.net", "role": "app", "until": "2030-01-01", "nodes": [{"user": "cache"}]})
}

fn secret(role: Role) -> SecretUse {
    SecretUse::of(SecretRole::Run(role))
}

/// Refused with these lines; accepted once they are in the manifest.
#[track_caller]
fn check(call: &Call, preview: &str, lines: &str) {
    let refusal = with("").require_shape(call, &configuration()).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        format!("no shape matches \"{preview}\"; add to manifest.toml:\n{lines}")
    );
    assert_eq!(refusal.notes, [""; 0]);
    assert!(with(&refusal.lines).require_shape(call, &configuration()).is_ok());
}

#[test]
fn a_statement() {
    let call = Call::Statement {
        dialect: "postgres".into(),
        pieces: vec![
            Piece::text("ALTER USER "),
            Piece::Identifier("app".into()),
            Piece::text(" PASSWORD "),
            Piece::Secret(secret(Role::Pending).derived("postgres.scram-sha-256")),
            Piece::text(" VALID UNTIL "),
            Piece::Literal("2030-01-01".into()),
        ],
    };
    let lines = "[[sql]]\nid = \"sql-1\"\ndialect = \"postgres\"\n\
        text = \"ALTER USER {ident:/role} PASSWORD {pending|postgres.scram-sha-256} VALID UNTIL {/until}\"\neffect = \"set\"\n";
    check(&call, "ALTER USER … PASSWORD … VALID UNTIL …", lines);
}

#[test]
fn a_frame() {
    let element = |pieces| FrameToken::Element { tag: None, pieces };
    let call = Call::Frame {
        framing: Framing::Resp,
        tokens: vec![
            element(vec![Piece::text("AUTH")]),
            element(vec![Piece::text("cache")]),
            element(vec![Piece::Secret(secret(Role::Subject))]),
        ],
    };
    let lines = "[[frame]]\nid = \"frame-1\"\nframing = \"resp\"\nsend = [\"AUTH\", \"{/nodes/*/user}\", \"{subject}\"]\n\
        effect = \"login\"\nreply = \"status\"\n";
    check(&call, "AUTH cache …", lines);
}

#[test]
fn a_nested_frame() {
    let leaf = |tag, pieces| FrameToken::Element {
        tag: Some(tag),
        pieces,
    };
    let call = Call::Frame {
        framing: Framing::Ber,
        tokens: vec![
            FrameToken::Open(0x30),
            leaf(0x02, vec![Piece::text("\u{1}")]),
            FrameToken::Open(0x60),
            leaf(0x04, vec![Piece::text("app")]),
            leaf(
                0x80,
                vec![Piece::Secret(SecretUse::of(SecretRole::Input("admin".into())))],
            ),
            FrameToken::Close,
            FrameToken::Close,
        ],
    };
    let lines = "[[frame]]\nid = \"frame-1\"\nframing = \"ber\"\n\
        send = [\"(30\", \"02 \\u0001\", \"(60\", \"04 {/role}\", \"80 {input:admin}\", \")\", \")\"]\neffect = \"set\"\nreply = \"status\"\n";
    check(&call, "  app …", lines);
}

#[test]
fn a_login() {
    let call = Call::Login {
        driver: "postgres".into(),
        user: "app".into(),
        password: secret(Role::Subject),
    };
    let lines = "[[login]]\nid = \"login-1\"\ndriver = \"postgres\"\nuser = \"{/role}\"\npassword = \"{subject}\"\neffect = \"login\"\n";
    check(&call, "postgres login of … with …", lines);
}

#[test]
fn a_request() {
    let call = Call::Request(Request {
        method: "POST".into(),
        url: "https://api.example.net/v3/keys".into(),
        query: vec![("page".into(), "1".into())],
        secrets: vec![(
            Position::Authorization,
            vec![
                Piece::text("bearer "),
                Piece::Secret(SecretUse::of(SecretRole::Input("admin".into()))),
            ],
        )],
        body: Some(json!({"name": "n", "scopes": ["a"]})),
        capture: vec!["/api_key".into()],
    });
    let lines = "[[http]]\nid = \"http-1\"\nrequest = \"POST https://{/host}/v3/keys?page={text}\"\n\
        secret = { \"authorization\" = \"bearer {input:admin}\" }\nbody = { \"/name\" = \"{text}\", \"/scopes\" = \"{any}\" }\n\
        capture = [\"/api_key\"]\neffect = \"create\"\n";
    check(&call, "POST https://api.example.net/v3/keys", lines);
}

#[test]
fn a_name_that_is_nowhere_in_the_configuration_is_noted() {
    let call = Call::Login {
        driver: "postgres".into(),
        user: "mallory".into(),
        password: secret(Role::Subject),
    };
    let refusal = with("").find_shape(&call, &configuration()).unwrap_err();
    assert!(
        refusal.notes[0].starts_with("\"mallory\" is nowhere in the configuration"),
        "{:?}",
        refusal.notes
    );
    assert!(
        with(&refusal.lines).find_shape(&call, &configuration()).is_err(),
        "pasting must not let it through"
    );
}

#[test]
fn lines_are_found_for_one_call_after_the_other() {
    let call = |user: &str| Call::Login {
        driver: "postgres".into(),
        user: user.into(),
        password: secret(Role::Subject),
    };
    let first = with("")
        .find_shape(&call("app"), &configuration())
        .unwrap_err()
        .lines;
    let second = with(&first)
        .find_shape(&call("cache"), &configuration())
        .unwrap_err()
        .lines;
    assert!(second.contains("\"login-2\""), "{second}");
    let both = with(&(first + &second));
    assert!(both.find_shape(&call("app"), &configuration()).is_ok());
    assert!(both.find_shape(&call("cache"), &configuration()).is_ok());
}

#[test]
fn two_shapes_that_both_match_are_refused_by_name() {
    let login = |id: &str, user: &str| {
        format!(
            "[[login]]\nid = \"{id}\"\ndriver = \"postgres\"\nuser = \"{user}\"\npassword = \"{{subject}}\"\neffect = \"login\"\n"
        )
    };
    let manifest = with(&(login("one", "{/role}") + &login("two", "app")));
    let call = Call::Login {
        driver: "postgres".into(),
        user: "app".into(),
        password: secret(Role::Subject),
    };
    let refusal = manifest.find_shape(&call, &configuration()).unwrap_err();
    assert_eq!(refusal.reason, Reason::Ambiguous("one".into(), "two".into()));
    assert_eq!(
        refusal.to_string(),
        "the shapes `one` and `two` both match \"postgres login of … with …\""
    );
}

#[test]
fn a_long_call_is_cut_and_its_control_characters_are_not_printed() {
    let long = "x".repeat(4000);
    let call = Call::Statement {
        dialect: "postgres".into(),
        pieces: vec![
            Piece::text(format!("\u{1b}[2J{long}")),
            Piece::Secret(secret(Role::Current)),
        ],
    };
    let refusal = with("").find_shape(&call, &configuration()).unwrap_err();
    assert!(
        refusal.preview.len() < 200 && !refusal.to_string().contains('\u{1b}'),
        "{refusal}"
    );
}

#[test]
fn a_version_that_plays_two_parts_may_log_in_by_the_shape_of_either() {
    let login = |id: &str, role: &str, effect: &str| {
        format!(
            "[[login]]\nid = \"{id}\"\ndriver = \"postgres\"\nuser = \"{{/role}}\"\npassword = \"{{{role}}}\"\neffect = \"{effect}\"\n"
        )
    };
    let mut password = secret(Role::Subject);
    password.roles.insert(0, SecretRole::Run(Role::Current));
    let call = Call::Login {
        driver: "postgres".into(),
        user: "app".into(),
        password,
    };
    let found = |other: &str| {
        let manifest = with(&(login("one", "subject", "login") + &login("two", "current", other)));
        let found = manifest.find_shape(&call, &configuration());
        found
            .map(|shape| shape.map(|shape| shape.id().to_owned()))
            .map_err(|refusal| refusal.reason)
    };
    assert_eq!(found("login").unwrap().as_deref(), Some("one"));
    assert_eq!(
        found("set").unwrap_err(),
        Reason::Ambiguous("one".into(), "two".into())
    );
}

#[test]
fn a_version_that_plays_two_parts_may_be_sent_by_the_frame_of_either() {
    let frame = |id: &str, role: &str, effect: &str, reply: &str| {
        format!(
            "[[frame]]\nid = \"{id}\"\nframing = \"resp\"\nsend = [\"AUTH\", \"{{{role}}}\"]\neffect = \"{effect}\"\nreply = \"{reply}\"\n"
        )
    };
    let mut password = secret(Role::Subject);
    password.roles.insert(0, SecretRole::Run(Role::Pending));
    let element = |pieces| FrameToken::Element { tag: None, pieces };
    let call = Call::Frame {
        framing: Framing::Resp,
        tokens: vec![
            element(vec![Piece::text("AUTH")]),
            element(vec![Piece::Secret(password)]),
        ],
    };
    let found = |role: &str, effect: &str, reply: &str| {
        let manifest = with(&(frame("one", "subject", "set", "status") + &frame("two", role, effect, reply)));
        let found = manifest.find_shape(&call, &configuration());
        found
            .map(|shape| shape.map(|shape| shape.id().to_owned()))
            .map_err(|refusal| refusal.reason)
    };
    assert_eq!(found("pending", "set", "status").unwrap().as_deref(), Some("one"));
    let ambiguous = Reason::Ambiguous("one".into(), "two".into());
    for (role, effect, reply) in [("pending", "delete", "status"), ("pending", "set", "none")] {
        assert_eq!(
            found(role, effect, reply).unwrap_err(),
            ambiguous,
            "{role} {effect} {reply}"
        );
    }
}
