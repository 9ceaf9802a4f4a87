//! The ways out by which a plugin could leak, weaken or misplace a secret, tried on the two shipped plugins. Each must be
//! refused before anything is sent.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod frames;
mod statements;

use keywheel_manifest::{
    Call, FrameToken, Framing, Manifest, Piece, Reason, Refusal, Reply, SecretRole, SecretUse, ShapeBody,
    ShapeEffect,
};
use keywheel_model::{Role, StepName};
use serde_json::{Value, json};

const SCRAM: &str = "postgres.scram-sha-256";

fn plugin(name: &str) -> Manifest {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../plugins")
        .join(name);
    let text = std::fs::read_to_string(folder.join("manifest.toml")).unwrap();
    let schema = std::fs::read_to_string(folder.join(Manifest::schema_file(&text).unwrap())).unwrap();
    Manifest::from_toml(&text, &schema).unwrap()
}

fn role_configuration() -> Value {
    json!({"host": "db", "port": 5432, "mode": "role", "role": "app", "admin": "keywheel"})
}

fn pair_configuration() -> Value {
    json!({"host": "db", "port": 5432, "mode": "alternating", "roles": ["app_a", "app_b"], "admin": "keywheel"})
}

fn redis_configuration() -> Value {
    json!({"nodes": [{"host": "r1", "port": 6379}], "user": "app", "admin": "keywheel"})
}

fn own(role: Role) -> SecretUse {
    SecretUse::of(SecretRole::Run(role))
}

fn pending_scram() -> Piece {
    Piece::Secret(own(Role::Pending).derived(SCRAM))
}

fn statement(pieces: Vec<Piece>) -> Call {
    Call::Statement {
        dialect: "postgres".into(),
        pieces,
    }
}

/// `ALTER ROLE <name> PASSWORD <secret> VALID UNTIL 'infinity'`
fn alter(name: &str, secret: Piece) -> Call {
    statement(vec![
        Piece::text("ALTER ROLE "),
        Piece::Identifier(name.into()),
        Piece::text(" PASSWORD "),
        secret,
        Piece::text(" VALID UNTIL 'infinity'"),
    ])
}

fn frame(elements: Vec<Vec<Piece>>) -> Call {
    let element = |pieces| FrameToken::Element { tag: None, pieces };
    Call::Frame {
        framing: Framing::Resp,
        tokens: elements.into_iter().map(element).collect(),
    }
}

fn words(words: &[&str]) -> Vec<Vec<Piece>> {
    words.iter().map(|word| vec![Piece::text(*word)]).collect()
}

fn with(mut elements: Vec<Vec<Piece>>, last: Vec<Piece>) -> Call {
    elements.push(last);
    frame(elements)
}

fn postgres_refuses(call: &Call) -> Refusal {
    plugin("postgres")
        .find_shape(call, &role_configuration())
        .unwrap_err()
}

fn redis_refuses(call: &Call) -> Refusal {
    plugin("redis")
        .find_shape(call, &redis_configuration())
        .unwrap_err()
}

#[track_caller]
fn shape_of(name: &str, call: &Call, configuration: &Value) -> String {
    plugin(name)
        .require_shape(call, configuration)
        .unwrap()
        .id()
        .to_owned()
}

#[test]
fn what_the_plugins_declare_is_found() {
    let (role, pair, redis) = (role_configuration(), pair_configuration(), redis_configuration());
    assert_eq!(shape_of("postgres", &alter("app", pending_scram()), &role), "set");
    let pair_password = |role| Piece::Secret(own(role).part("/password".parse().unwrap()).derived(SCRAM));
    assert_eq!(
        shape_of("postgres", &alter("app_b", pair_password(Role::Pending)), &pair),
        "set-pair"
    );
    assert_eq!(
        shape_of("postgres", &alter("app_a", pair_password(Role::Current)), &pair),
        "restore-pair"
    );
    let clear = statement(vec![
        Piece::text("ALTER ROLE "),
        Piece::Identifier("app_a".into()),
        Piece::text(" PASSWORD NULL"),
    ]);
    assert_eq!(shape_of("postgres", &clear, &pair), "clear-pair");
    let login = |user: &str, password| Call::Login {
        driver: "postgres".into(),
        user: user.into(),
        password,
    };
    assert_eq!(
        shape_of(
            "postgres",
            &login("keywheel", SecretUse::of(SecretRole::Input("admin".into()))),
            &role
        ),
        "admin"
    );
    assert_eq!(
        shape_of("postgres", &login("app", own(Role::Subject)), &role),
        "login"
    );
    let hash = |role| Piece::Secret(own(role).derived("redis.sha256"));
    let set = |prefix: &str, secret| {
        with(
            words(&["ACL", "SETUSER", "app"]),
            vec![Piece::text(prefix), secret],
        )
    };
    assert_eq!(shape_of("redis", &set("#", hash(Role::Pending)), &redis), "add");
    assert_eq!(
        shape_of("redis", &set("!", hash(Role::Subject)), &redis),
        "remove"
    );
    assert_eq!(
        shape_of(
            "redis",
            &with(words(&["AUTH", "app"]), vec![Piece::Secret(own(Role::Subject))]),
            &redis
        ),
        "auth"
    );
}

#[test]
fn way_5_another_principal() {
    assert_eq!(
        postgres_refuses(&alter("postgres", pending_scram())).reason,
        Reason::NoShape
    );
    assert_eq!(
        postgres_refuses(&alter("keywheel", pending_scram())).reason,
        Reason::NoShape
    );
    let login = Call::Login {
        driver: "postgres".into(),
        user: "postgres".into(),
        password: own(Role::Subject),
    };
    assert_eq!(postgres_refuses(&login).reason, Reason::NoShape);
    let other = with(
        words(&["ACL", "SETUSER", "default"]),
        vec![
            Piece::text("#"),
            Piece::Secret(own(Role::Pending).derived("redis.sha256")),
        ],
    );
    assert_eq!(redis_refuses(&other).reason, Reason::NoShape);
}

#[test]
fn way_6_a_known_value_where_the_secret_is_expected() {
    // No secret in it, so no refusal here; it has no shape either, and so it is run read-only, where it cannot write.
    let known = alter("app", Piece::Literal("SCRAM-SHA-256$1:known".into()));
    assert_eq!(
        plugin("postgres").find_shape(&known, &role_configuration()),
        Ok(None)
    );
    let fixed = frame(words(&["ACL", "SETUSER", "app", "#0000"]));
    assert_eq!(
        plugin("redis")
            .require_shape(&fixed, &redis_configuration())
            .unwrap_err()
            .reason,
        Reason::NoShape
    );
}

#[test]
fn way_7_text_around_the_secret() {
    let hash = Piece::Secret(own(Role::Pending).derived("redis.sha256"));
    for pieces in [
        vec![Piece::text("#x"), hash.clone()],
        vec![Piece::text("#"), hash.clone(), Piece::text("x")],
        vec![hash.clone()],
        vec![Piece::text("#"), hash.clone(), hash.clone()],
        vec![Piece::text("#"), hash.clone(), Piece::text(" allcommands")],
    ] {
        let call = with(words(&["ACL", "SETUSER", "app"]), pieces);
        assert_eq!(redis_refuses(&call).reason, Reason::NoShape, "{call:?}");
    }
    let prefixed = statement(vec![
        Piece::text("ALTER ROLE "),
        Piece::Identifier("app".into()),
        Piece::text(" PASSWORD E"),
        pending_scram(),
        Piece::text(" VALID UNTIL 'infinity'"),
    ]);
    assert_eq!(postgres_refuses(&prefixed).reason, Reason::NoShape);
}

#[test]
fn way_10_a_secret_of_the_wrong_role() {
    let admin = SecretUse::of(SecretRole::Input("admin".into()));
    let login = |user: &str, password: &SecretUse| Call::Login {
        driver: "postgres".into(),
        user: user.into(),
        password: password.clone(),
    };
    assert_eq!(postgres_refuses(&login("app", &admin)).reason, Reason::NoShape);
    assert_eq!(
        postgres_refuses(&login("keywheel", &own(Role::Subject))).reason,
        Reason::NoShape
    );
    assert_eq!(
        postgres_refuses(&login("app", &own(Role::Current))).reason,
        Reason::NoShape
    );
    assert_eq!(
        postgres_refuses(&alter("app", Piece::Secret(admin.clone().derived(SCRAM)))).reason,
        Reason::NoShape
    );
    let auth = with(
        words(&["AUTH", "keywheel"]),
        vec![Piece::Secret(own(Role::Subject))],
    );
    assert_eq!(redis_refuses(&auth).reason, Reason::NoShape);
}

#[test]
fn plan_and_test_can_change_nothing_and_a_restored_epoch_deletes_nothing() {
    for name in ["mariadb", "mysql", "postgres", "redis"] {
        let manifest = plugin(name);
        for shape in manifest.shapes() {
            let own = shape
                .secrets()
                .iter()
                .any(|role| matches!(role, SecretRole::Run(_)));
            let writes = [
                "set", "restore", "clear", "add", "remove", "save", "rewrite", "kill",
            ]
            .iter()
            .any(|word| shape.id().starts_with(word));
            let in_step = |step, restored| shape.effect().allowed_in(step, restored);
            assert_eq!(
                in_step(StepName::Plan, false),
                !own && !writes,
                "{name} {}",
                shape.id()
            );
            assert_eq!(in_step(StepName::Test, false), !writes, "{name} {}", shape.id());
            let takes_away = ["clear", "remove", "kill"]
                .iter()
                .any(|word| shape.id().starts_with(word));
            assert_eq!(
                in_step(StepName::Revoke, true),
                !takes_away,
                "{name} {}",
                shape.id()
            );
            assert!(in_step(StepName::Revoke, false), "{name} {}", shape.id());
        }
    }
    assert!(ShapeEffect::Delete.allowed_in(StepName::Rollback, false));
}
