//! The ways out by which a plugin could leak, weaken or misplace a secret, tried on the two shipped plugins. Each must be
//! refused before anything is sent.

use keywheel_manifest::{Call, Framing, FrameToken, Manifest, Piece, Reason, Refusal, Reply, SecretRole, SecretUse, ShapeBody, ShapeEffect};
use keywheel_model::{Role, StepName};
use serde_json::{Value, json};

const SCRAM: &str = "postgres.scram-sha-256";

fn plugin(name: &str) -> Manifest {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins").join(name);
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
    Call::Statement { dialect: "postgres".into(), pieces }
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
    Call::Frame { framing: Framing::Resp, tokens: elements.into_iter().map(element).collect() }
}

fn words(words: &[&str]) -> Vec<Vec<Piece>> {
    words.iter().map(|word| vec![Piece::text(*word)]).collect()
}

fn with(mut elements: Vec<Vec<Piece>>, last: Vec<Piece>) -> Call {
    elements.push(last);
    frame(elements)
}

fn postgres_refuses(call: &Call) -> Refusal {
    plugin("postgres").find_shape(call, &role_configuration()).unwrap_err()
}

fn redis_refuses(call: &Call) -> Refusal {
    plugin("redis").find_shape(call, &redis_configuration()).unwrap_err()
}

#[track_caller]
fn shape_of(name: &str, call: &Call, configuration: &Value) -> String {
    plugin(name).require_shape(call, configuration).unwrap().id().to_owned()
}

#[test]
fn what_the_plugins_declare_is_found() {
    let (role, pair, redis) = (role_configuration(), pair_configuration(), redis_configuration());
    assert_eq!(shape_of("postgres", &alter("app", pending_scram()), &role), "set");
    let pair_password = |role| Piece::Secret(own(role).part("/password".parse().unwrap()).derived(SCRAM));
    assert_eq!(shape_of("postgres", &alter("app_b", pair_password(Role::Pending)), &pair), "set-pair");
    assert_eq!(shape_of("postgres", &alter("app_a", pair_password(Role::Current)), &pair), "restore-pair");
    let clear = statement(vec![Piece::text("ALTER ROLE "), Piece::Identifier("app_a".into()), Piece::text(" PASSWORD NULL")]);
    assert_eq!(shape_of("postgres", &clear, &pair), "clear-pair");
    let login = |user: &str, password| Call::Login { driver: "postgres".into(), user: user.into(), password };
    assert_eq!(shape_of("postgres", &login("keywheel", SecretUse::of(SecretRole::Input("admin".into()))), &role), "admin");
    assert_eq!(shape_of("postgres", &login("app", own(Role::Subject)), &role), "login");
    let hash = |role| Piece::Secret(own(role).derived("redis.sha256"));
    let set = |prefix: &str, secret| with(words(&["ACL", "SETUSER", "app"]), vec![Piece::text(prefix), secret]);
    assert_eq!(shape_of("redis", &set("#", hash(Role::Pending)), &redis), "add");
    assert_eq!(shape_of("redis", &set("!", hash(Role::Subject)), &redis), "remove");
    assert_eq!(shape_of("redis", &with(words(&["AUTH", "app"]), vec![Piece::Secret(own(Role::Subject))]), &redis), "auth");
}

#[test]
fn how_the_author_cut_the_text_does_not_matter_and_every_byte_of_it_does() {
    let cut = |pieces: Vec<&str>| {
        let mut all: Vec<Piece> = pieces.into_iter().map(Piece::text).collect();
        all.extend([Piece::Identifier("app".into()), Piece::text(" PASSWORD "), pending_scram(), Piece::text(" VALID UNTIL 'infinity'\n")]);
        statement(all)
    };
    assert_eq!(shape_of("postgres", &cut(vec!["  ALTER", " ROLE", " "]), &role_configuration()), "set");
    for other in ["alter role ", "ALTER  ROLE ", "ALTER USER ", "ALTER ROLE/**/ "] {
        assert_eq!(postgres_refuses(&cut(vec![other])).reason, Reason::NoShape, "{other}");
    }
}

#[test]
fn way_1_reading_the_secret_back_with_a_query() {
    let refusal = postgres_refuses(&statement(vec![Piece::text("SELECT "), Piece::Secret(own(Role::Pending))]));
    assert_eq!((refusal.code(), refusal.preview.as_str()), ("shape.none", "SELECT …"));
    assert!(refusal.lines.is_empty(), "nothing to paste that would let a query carry a secret: {}", refusal.lines);
    assert!(refusal.notes.iter().any(|note| note.contains("begins with one of ALTER")), "{:?}", refusal.notes);
}

#[test]
fn way_2_guessing_it_character_by_character() {
    let guess = statement(vec![
        Piece::text("SELECT 1 WHERE substr("),
        Piece::Secret(own(Role::Current)),
        Piece::text(", 1, 1) = "),
        Piece::Literal("a".into()),
    ]);
    assert_eq!(postgres_refuses(&guess).reason, Reason::NoShape);
}

#[test]
fn way_3_having_the_server_echo_it() {
    let echo = with(words(&["ECHO"]), vec![Piece::Secret(own(Role::Pending))]);
    assert_eq!(redis_refuses(&echo).preview, "ECHO …");
    let eval = frame(vec![vec![Piece::text("EVAL")], vec![Piece::text("return '"), Piece::Secret(own(Role::Pending)), Piece::text("'")], vec![Piece::text("0")]]);
    assert_eq!(redis_refuses(&eval).reason, Reason::NoShape);
}

#[test]
fn way_4_storing_it_under_a_key_and_reading_ranges() {
    let set = with(words(&["SET", "k"]), vec![Piece::Secret(own(Role::Pending))]);
    assert_eq!(redis_refuses(&set).reason, Reason::NoShape);
    // Its second half carries no secret; on the channel that did, only declared frames go on.
    let range = frame(words(&["GETRANGE", "k", "0", "0"]));
    let redis = plugin("redis");
    assert_eq!(redis.find_shape(&range, &redis_configuration()), Ok(None));
    assert_eq!(redis.require_shape(&range, &redis_configuration()).unwrap_err().reason, Reason::NoShape);
}

#[test]
fn way_5_another_principal() {
    assert_eq!(postgres_refuses(&alter("postgres", pending_scram())).reason, Reason::NoShape);
    assert_eq!(postgres_refuses(&alter("keywheel", pending_scram())).reason, Reason::NoShape);
    let login = Call::Login { driver: "postgres".into(), user: "postgres".into(), password: own(Role::Subject) };
    assert_eq!(postgres_refuses(&login).reason, Reason::NoShape);
    let other = with(words(&["ACL", "SETUSER", "default"]), vec![Piece::text("#"), Piece::Secret(own(Role::Pending).derived("redis.sha256"))]);
    assert_eq!(redis_refuses(&other).reason, Reason::NoShape);
}

#[test]
fn way_6_a_known_value_where_the_secret_is_expected() {
    // No secret in it, so no refusal here; it has no shape either, and so it is run read-only, where it cannot write.
    let known = alter("app", Piece::Literal("SCRAM-SHA-256$1:known".into()));
    assert_eq!(plugin("postgres").find_shape(&known, &role_configuration()), Ok(None));
    let fixed = frame(words(&["ACL", "SETUSER", "app", "#0000"]));
    assert_eq!(plugin("redis").require_shape(&fixed, &redis_configuration()).unwrap_err().reason, Reason::NoShape);
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
fn way_8_a_second_statement_glued_on() {
    let glued = |tail: &str| {
        statement(vec![
            Piece::text("ALTER ROLE "),
            Piece::Identifier("app".into()),
            Piece::text(" PASSWORD "),
            pending_scram(),
            Piece::text(format!(" VALID UNTIL 'infinity'{tail}")),
        ])
    };
    for tail in ["; ALTER ROLE app SUPERUSER", " SUPERUSER", " -- ", ";"] {
        assert_eq!(postgres_refuses(&glued(tail)).reason, Reason::NoShape, "{tail}");
    }
    // Nor can an author declare it.
    assert!(postgres_refuses(&glued("; COMMIT")).notes.iter().any(|note| note.contains("one statement a shape")));
}

#[test]
fn way_9_the_derivation_left_out_or_another_one_or_the_wrong_part() {
    for secret in [
        own(Role::Pending),
        own(Role::Pending).derived("redis.sha256"),
        own(Role::Pending).derived(SCRAM).form("hex"),
        own(Role::Pending).part("/username".parse().unwrap()).derived(SCRAM),
    ] {
        assert_eq!(postgres_refuses(&alter("app", Piece::Secret(secret.clone()))).reason, Reason::NoShape, "{secret:?}");
    }
    let part = own(Role::Pending).part("/username".parse().unwrap()).derived(SCRAM);
    let postgres = plugin("postgres");
    let refusal = postgres.find_shape(&alter("app_a", Piece::Secret(part)), &pair_configuration()).unwrap_err();
    assert_eq!(refusal.reason, Reason::NoShape);
}

#[test]
fn way_10_a_secret_of_the_wrong_role() {
    let admin = SecretUse::of(SecretRole::Input("admin".into()));
    let login = |user: &str, password: &SecretUse| Call::Login { driver: "postgres".into(), user: user.into(), password: password.clone() };
    assert_eq!(postgres_refuses(&login("app", &admin)).reason, Reason::NoShape);
    assert_eq!(postgres_refuses(&login("keywheel", &own(Role::Subject))).reason, Reason::NoShape);
    assert_eq!(postgres_refuses(&login("app", &own(Role::Current))).reason, Reason::NoShape);
    assert_eq!(postgres_refuses(&alter("app", Piece::Secret(admin.clone().derived(SCRAM)))).reason, Reason::NoShape);
    let auth = with(words(&["AUTH", "keywheel"]), vec![Piece::Secret(own(Role::Subject))]);
    assert_eq!(redis_refuses(&auth).reason, Reason::NoShape);
}

#[test]
fn way_11_an_unfinished_bulk_string_that_swallows_the_next_frame() {
    let swallow = frame(vec![vec![Piece::text("ECHO $200")]]);
    assert_eq!(plugin("redis").require_shape(&swallow, &redis_configuration()).unwrap_err().reason, Reason::NoShape);
    let inside = frame(vec![vec![Piece::text("PING\r\n*2\r\n$4\r\nECHO\r\n$200\r\n")]]);
    assert_eq!(plugin("redis").require_shape(&inside, &redis_configuration()).unwrap_err().reason, Reason::NoShape);
    let inline = with(words(&["AUTH", "app\r\n"]), vec![Piece::Secret(own(Role::Subject))]);
    assert_eq!(redis_refuses(&inline).reason, Reason::NoShape);
}

#[test]
fn way_12_a_name_that_breaks_out_of_its_quotes() {
    let name = "app\" SUPERUSER PASSWORD 'x' --";
    assert_eq!(postgres_refuses(&alter(name, pending_scram())).reason, Reason::NoShape);
    // Where the operator's configuration really has such a name, it is one piece that the host quotes, never text.
    let odd = json!({"host": "db", "port": 5432, "mode": "role", "role": name, "admin": "keywheel"});
    assert_eq!(shape_of("postgres", &alter(name, pending_scram()), &odd), "set");
    let as_text = statement(vec![Piece::text(format!("ALTER ROLE \"{name}\" PASSWORD ")), pending_scram(), Piece::text(" VALID UNTIL 'infinity'")]);
    assert_eq!(plugin("postgres").find_shape(&as_text, &odd).unwrap_err().reason, Reason::NoShape);
    // Nor may the name come as author's text, a literal, or a parameter, plain as it is.
    for piece in [Piece::text("app"), Piece::Literal("app".into()), Piece::Param] {
        let call = statement(vec![Piece::text("ALTER ROLE "), piece, Piece::text(" PASSWORD "), pending_scram(), Piece::text(" VALID UNTIL 'infinity'")]);
        assert_eq!(postgres_refuses(&call).reason, Reason::NoShape, "{call:?}");
    }
}

#[test]
fn way_13_a_composed_or_unstored_secret() {
    let composed = alter("app", Piece::Secret(SecretUse::default().derived(SCRAM)));
    let refusal = postgres_refuses(&composed);
    assert_eq!((refusal.code(), refusal.lines.as_str()), ("shape.unplaced-secret", ""));
}

#[test]
fn way_14_leaving_the_expiry_as_it_is() {
    let call = statement(vec![Piece::text("ALTER ROLE "), Piece::Identifier("app".into()), Piece::text(" PASSWORD "), pending_scram()]);
    assert_eq!(postgres_refuses(&call).reason, Reason::NoShape);
}

#[test]
fn way_15_a_shape_of_the_mode_that_is_not_configured() {
    let clear = statement(vec![Piece::text("ALTER ROLE "), Piece::Identifier("app".into()), Piece::text(" PASSWORD NULL")]);
    assert_eq!(plugin("postgres").find_shape(&clear, &role_configuration()), Ok(None));
    let postgres = plugin("postgres");
    let set = alter("app_a", pending_scram());
    assert_eq!(postgres.find_shape(&set, &pair_configuration()).unwrap_err().reason, Reason::NoShape);
}

#[test]
fn an_answer_that_could_hold_a_secret_is_shown_as_its_status_only() {
    for shape in plugin("redis").shapes() {
        let ShapeBody::Frame(frame) = shape.body() else { panic!("redis declares frames only") };
        assert!(shape.secrets().is_empty() || frame.reply() != Reply::All, "{}", shape.id());
    }
}

#[test]
fn plan_and_test_can_change_nothing_and_a_restored_epoch_deletes_nothing() {
    for name in ["postgres", "redis"] {
        let manifest = plugin(name);
        for shape in manifest.shapes() {
            let own = shape.secrets().iter().any(|role| matches!(role, SecretRole::Run(_)));
            let writes = ["set", "restore", "clear", "add", "remove", "save", "rewrite", "kill"].iter().any(|word| shape.id().starts_with(word));
            let in_step = |step, restored| shape.effect().allowed_in(step, restored);
            assert_eq!(in_step(StepName::Plan, false), !own && !writes, "{name} {}", shape.id());
            assert_eq!(in_step(StepName::Test, false), !writes, "{name} {}", shape.id());
            let takes_away = ["clear", "remove", "kill"].iter().any(|word| shape.id().starts_with(word));
            assert_eq!(in_step(StepName::Revoke, true), !takes_away, "{name} {}", shape.id());
            assert!(in_step(StepName::Revoke, false), "{name} {}", shape.id());
        }
    }
    assert!(ShapeEffect::Delete.allowed_in(StepName::Rollback, false));
}
