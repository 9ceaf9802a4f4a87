use super::*;

#[test]
fn how_the_author_cut_the_text_does_not_matter_and_every_byte_of_it_does() {
    let cut = |pieces: Vec<&str>| {
        let mut all: Vec<Piece> = pieces.into_iter().map(Piece::text).collect();
        all.extend([
            Piece::Identifier("app".into()),
            Piece::text(" PASSWORD "),
            pending_scram(),
            Piece::text(" VALID UNTIL 'infinity'\n"),
        ]);
        statement(all)
    };
    assert_eq!(
        shape_of(
            "postgres",
            &cut(vec!["  ALTER", " ROLE", " "]),
            &role_configuration()
        ),
        "set"
    );
    for other in ["alter role ", "ALTER  ROLE ", "ALTER USER ", "ALTER ROLE/**/ "] {
        assert_eq!(
            postgres_refuses(&cut(vec![other])).reason,
            Reason::NoShape,
            "{other}"
        );
    }
}

#[test]
fn way_1_reading_the_secret_back_with_a_query() {
    let refusal = postgres_refuses(&statement(vec![
        Piece::text("SELECT "),
        Piece::Secret(own(Role::Pending)),
    ]));
    assert_eq!(
        (refusal.code(), refusal.preview.as_str()),
        ("shape.none", "SELECT …")
    );
    assert!(
        refusal.lines.is_empty(),
        "nothing to paste that would let a query carry a secret: {}",
        refusal.lines
    );
    assert!(
        refusal
            .notes
            .iter()
            .any(|note| note.contains("begins with one of ALTER")),
        "{:?}",
        refusal.notes
    );
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
    assert!(
        postgres_refuses(&glued("; COMMIT"))
            .notes
            .iter()
            .any(|note| note.contains("one statement a shape"))
    );
}

#[test]
fn way_9_the_derivation_left_out_or_another_one_or_the_wrong_part() {
    for secret in [
        own(Role::Pending),
        own(Role::Pending).derived("redis.sha256"),
        own(Role::Pending).derived(SCRAM).form("hex"),
        own(Role::Pending)
            .part("/username".parse().unwrap())
            .derived(SCRAM),
    ] {
        assert_eq!(
            postgres_refuses(&alter("app", Piece::Secret(secret.clone()))).reason,
            Reason::NoShape,
            "{secret:?}"
        );
    }
    let part = own(Role::Pending)
        .part("/username".parse().unwrap())
        .derived(SCRAM);
    let postgres = plugin("postgres");
    let refusal = postgres
        .find_shape(&alter("app_a", Piece::Secret(part)), &pair_configuration())
        .unwrap_err();
    assert_eq!(refusal.reason, Reason::NoShape);
}

#[test]
fn way_12_a_name_that_breaks_out_of_its_quotes() {
    let name = "app\" SUPERUSER PASSWORD 'x' --";
    assert_eq!(
        postgres_refuses(&alter(name, pending_scram())).reason,
        Reason::NoShape
    );
    // Where the operator's configuration really has such a name, it is one piece that the host quotes, never text.
    let odd = json!({"host": "db", "port": 5432, "mode": "role", "role": name, "admin": "keywheel"});
    assert_eq!(shape_of("postgres", &alter(name, pending_scram()), &odd), "set");
    let as_text = statement(vec![
        Piece::text(format!("ALTER ROLE \"{name}\" PASSWORD ")),
        pending_scram(),
        Piece::text(" VALID UNTIL 'infinity'"),
    ]);
    assert_eq!(
        plugin("postgres").find_shape(&as_text, &odd).unwrap_err().reason,
        Reason::NoShape
    );
    // Nor may the name come as author's text, a literal, or a parameter, plain as it is.
    for piece in [Piece::text("app"), Piece::Literal("app".into()), Piece::Param] {
        let call = statement(vec![
            Piece::text("ALTER ROLE "),
            piece,
            Piece::text(" PASSWORD "),
            pending_scram(),
            Piece::text(" VALID UNTIL 'infinity'"),
        ]);
        assert_eq!(postgres_refuses(&call).reason, Reason::NoShape, "{call:?}");
    }
}

#[test]
fn way_13_a_composed_or_unstored_secret() {
    let composed = alter("app", Piece::Secret(SecretUse::default().derived(SCRAM)));
    let refusal = postgres_refuses(&composed);
    assert_eq!(
        (refusal.code(), refusal.lines.as_str()),
        ("shape.unplaced-secret", "")
    );
}

#[test]
fn way_14_leaving_the_expiry_as_it_is() {
    let call = statement(vec![
        Piece::text("ALTER ROLE "),
        Piece::Identifier("app".into()),
        Piece::text(" PASSWORD "),
        pending_scram(),
    ]);
    assert_eq!(postgres_refuses(&call).reason, Reason::NoShape);
}

#[test]
fn way_15_a_shape_of_the_mode_that_is_not_configured() {
    let clear = statement(vec![
        Piece::text("ALTER ROLE "),
        Piece::Identifier("app".into()),
        Piece::text(" PASSWORD NULL"),
    ]);
    assert_eq!(
        plugin("postgres").find_shape(&clear, &role_configuration()),
        Ok(None)
    );
    let postgres = plugin("postgres");
    let set = alter("app_a", pending_scram());
    assert_eq!(
        postgres
            .find_shape(&set, &pair_configuration())
            .unwrap_err()
            .reason,
        Reason::NoShape
    );
}

#[test]
fn way_16_another_dialect_or_driver_with_other_quoting() {
    let Call::Statement { pieces, .. } = alter("app", pending_scram()) else {
        panic!("a statement")
    };
    let dialect = "mysql".into();
    assert_eq!(
        postgres_refuses(&Call::Statement { dialect, pieces }).reason,
        Reason::NoShape
    );
    let (user, password) = ("app".into(), own(Role::Subject));
    let login = Call::Login {
        driver: "mysql".into(),
        user,
        password,
    };
    assert_eq!(postgres_refuses(&login).reason, Reason::NoShape);
}
