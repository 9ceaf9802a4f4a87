use super::*;

fn set(role: &str, secret: &str) -> Result<Statement, Error> {
    let mut s = Statement::new(Dialect::Postgres);
    s.text("ALTER ROLE ")?;
    s.identifier(role)?;
    s.text(" PASSWORD ")?;
    s.secret_literal(SecretBytes::copy_of(secret.as_bytes()))?;
    Ok(s)
}

#[test]
fn identifiers_and_secrets_are_quoted_by_doubling() {
    let s = set("a\"b'c", "p'w\"\\").unwrap();
    assert_eq!(
        *s.render().unwrap().sql,
        r#"ALTER ROLE "a""b'c" PASSWORD 'p''w"\'"#
    );
    assert_eq!(s.preview(), r#"ALTER ROLE "a""b'c" PASSWORD ***"#);
    assert!(s.carries_secret());
    assert_eq!(s.verb(), "ALTER");
    assert!(!format!("{s:?}").contains("p'w"));
}

#[test]
fn nul_and_overlong_names_are_refused() {
    assert!(set("a\0b", "x").is_err());
    assert!(set("", "x").is_err());
    assert!(set(&"a".repeat(64), "x").is_err());
    assert!(set("r", "x\0y").unwrap().render().is_err());
}

#[test]
fn text_cannot_open_what_it_does_not_close() {
    let mut s = Statement::new(Dialect::Postgres);
    for bad in [
        "SELECT 'a",
        "SELECT \"a",
        "SELECT 1; DROP",
        "SELECT $1",
        "$$",
        "-- x",
        "/* x */",
        "E'\\''",
        "a\0",
    ] {
        assert!(s.text(bad).is_err(), "{bad}");
    }
    assert!(s.text("SELECT 'it''s', \"A-b\", 1 - -1").is_ok());
}

#[test]
fn pieces_cannot_merge_at_their_joint() {
    for (before, after) in [
        ("PASSWORD E", ""),
        ("U&", ""),
        ("'a'", ""),
        ("\"x\"", ""),
        ("x", ""),
        (" ", "'b'"),
        (" ", "\"b\""),
        (" ", "x"),
    ] {
        let mut s = Statement::new(Dialect::Postgres);
        let built = s
            .text(before)
            .and_then(|()| s.secret_literal(SecretBytes::copy_of(b"x")))
            .and_then(|()| s.text(after));
        assert!(built.is_err(), "{before:?} {after:?}");
    }
    let mut s = Statement::new(Dialect::Postgres);
    s.text("SELECT 1 -").unwrap();
    assert!(s.text("- x").is_err());
    let mut s = Statement::new(Dialect::Postgres);
    s.text("SELECT E").unwrap();
    assert!(s.text("'x'").is_err());
    let mut s = Statement::new(Dialect::Postgres);
    s.identifier("a").unwrap();
    assert!(s.identifier("b").is_err());
}

#[test]
fn where_the_dialect_says_so_backslashes_are_doubled_and_parameters_are_literals() {
    let mut s = Statement::new(Dialect::MariaDb);
    for bad in ["SELECT 1 # x", "SELECT `a", "SELECT '\\''"] {
        assert!(s.text(bad).is_err(), "{bad}");
    }
    s.text("ALTER USER ").unwrap();
    s.literal("o'\\").unwrap();
    s.text("@").unwrap();
    s.literal("%").unwrap();
    s.text(" IDENTIFIED BY ").unwrap();
    s.secret_literal(SecretBytes::copy_of(b"\\' OR '")).unwrap();
    let expected = r"ALTER USER 'o''\\'@'%' IDENTIFIED BY '\\'' OR '''";
    assert_eq!(*s.render().unwrap().sql, expected);
    let mut s = Statement::new(Dialect::MySql);
    s.text("SELECT ").unwrap();
    s.identifier("a`b\\").unwrap();
    let text = Value::Text("'".into());
    for value in [
        Value::Int(-7),
        Value::Float(0.5),
        text,
        Value::Bytes(vec![0, 255]),
    ] {
        s.text(", ").unwrap();
        s.param(value).unwrap();
    }
    assert!(s.param(Value::Float(f64::NAN)).is_err());
    assert_eq!(
        *s.render().unwrap().sql,
        r"SELECT `a``b\`, (-7), (5e-1), '''', X'00ff'"
    );
    let mut s = Statement::new(Dialect::MySql);
    s.text("SELECT `a`").unwrap();
    assert!(s.identifier("b").is_err() && s.text("`b`").is_err());
    s.text(" INTO OUT").unwrap();
    s.text("file 'x'").unwrap();
    assert_eq!(s.words(), ["SELECT", "A", "INTO", "OUTFILE", "X"]);
}

#[test]
fn sql_server_has_brackets_and_national_strings() {
    let mut s = Statement::new(Dialect::MsSql);
    s.text("ALTER LOGIN ").unwrap();
    s.identifier("a]b'c").unwrap();
    s.text(" WITH PASSWORD = ").unwrap();
    s.secret_literal(SecretBytes::copy_of("p'w\\\u{20AC}".as_bytes()))
        .unwrap();
    let values = [
        Value::Bool(true),
        Value::Null,
        Value::Int(-7),
        Value::Bytes(vec![0, 255]),
        Value::Text("'".into()),
    ];
    for value in values {
        s.text(", ").unwrap();
        s.param(value).unwrap();
    }
    let sql = "ALTER LOGIN [a]]b'c] WITH PASSWORD = N'p''w\\\u{20AC}', 1, NULL, (-7), 0x00ff, N''''";
    assert_eq!(*s.render().unwrap().sql, sql);
    // Not the literal that it seems to be; not quoted by the host; longer than a name can be.
    for text in ["a\\\nb", "a\\\r\nb", "a\0"] {
        assert!(s.literal(text).is_err() && s.param(Value::Text(text.into())).is_err());
        let mut s = Statement::new(Dialect::MsSql);
        s.text("SELECT ").unwrap();
        s.secret_literal(SecretBytes::copy_of(text.as_bytes())).unwrap();
        assert!(s.render().is_err());
    }
    assert!(s.text(" [a]").is_err() && s.identifier(&"\u{1F511}".repeat(65)).is_err());
    s.text(", 'DROP x', \"EXEC\" ").unwrap();
    assert_eq!(s.unquoted_words(), ["ALTER", "LOGIN", "WITH", "PASSWORD"]);
}

#[test]
fn parameters_are_numbered_in_order() {
    let mut s = Statement::new(Dialect::Postgres);
    s.text("SELECT ").unwrap();
    s.param(Value::Int(1)).unwrap();
    s.text(", ").unwrap();
    s.param(Value::Text("x".into())).unwrap();
    s.text(", ").unwrap();
    s.literal("$1").unwrap();
    let rendered = s.render().unwrap();
    assert_eq!(*rendered.sql, "SELECT $1, $2, '$1'");
    assert_eq!(s.preview(), "SELECT $1, $2, '$1'");
    assert_eq!(rendered.params, [Value::Int(1), Value::Text("x".into())]);
}
