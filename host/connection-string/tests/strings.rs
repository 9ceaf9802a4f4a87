//! Each form as its clients document it, and what is left as it was when a part is replaced.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what went wrong by panicking"
)]

use keywheel_connection_string::{ConnectionString, Error, Form, canonical};
use proptest::prelude::*;

/// The form, the text with `PASS` where the password is, and what stands there for `s3cret`.
const KNOWN: &[(Form, &str)] = &[
    (
        Form::Url,
        "postgresql://app:PASS@db.internal:5432/shop?sslmode=verify-full",
    ),
    (Form::Url, "postgres://app:PASS@[::1]:5432/shop"),
    (
        Form::Url,
        "postgresql://a.internal,b.internal/shop?user=app&password=PASS&target_session_attrs=primary",
    ),
    (Form::Url, "mysql://app:PASS@db.internal/shop?ssl-mode=REQUIRED"),
    (Form::Url, "redis://:PASS@cache.internal:6379/0"),
    (Form::Url, "rediss://app:PASS@cache.internal"),
    (Form::Url, "sqlserver://app:PASS@db.internal:1433?database=shop"),
    (
        Form::Jdbc,
        "jdbc:postgresql://db.internal/shop?user=app&password=PASS&ssl=true",
    ),
    (
        Form::JdbcMariaDb,
        "jdbc:mariadb://db.internal:3306/shop?user=app&password=PASS&sslMode=trust",
    ),
    (Form::Jdbc, "jdbc:mysql://db.internal:3306/shop?password=PASS"),
    (
        Form::JdbcSqlServer,
        "jdbc:sqlserver://db.internal\\one:1433;databaseName=shop;user=app;password=PASS;encrypt=true;",
    ),
    (
        Form::AdoNet,
        "Server=tcp:db.internal,1433;Initial Catalog=shop;User ID=app;Password=PASS;Encrypt=True;",
    ),
    (
        Form::AdoNet,
        "Host=db.internal;Port=5432;Username=app;Password=PASS;Database=shop",
    ),
    (
        Form::AdoNet,
        "server = db.internal ; uid = app ; pwd = PASS ; app==name = x",
    ),
    (
        Form::Odbc,
        "Driver={ODBC Driver 18 for SQL Server};Server=db.internal;UID=app;PWD=PASS;Encrypt=yes",
    ),
    (
        Form::Libpq,
        "host=db.internal port=5432 user=app password=PASS dbname='the shop'",
    ),
    (Form::Libpq, "host = db.internal  password = PASS"),
    (
        Form::StackExchange,
        "a.internal:6379,b.internal:6379,user=app,password=PASS,ssl=true,abortConnect=false",
    ),
    (
        Form::GoMySql,
        "app:PASS@tcp(db.internal:3306)/shop?tls=true&loc=Europe%2FZurich",
    ),
    (Form::GoMySql, "app:PASS@unix(/run/mysqld/mysqld.sock)/"),
    (Form::GoMySql, "app:PASS@tcp([::1]:3306)/shop"),
];

fn written(form: Form, text: &str, password: &str) -> String {
    let whole = text.replace("PASS", "old");
    let whole = ConnectionString::parse(&whole).unwrap();
    assert_eq!(whole.form(), form, "{text}");
    whole.with_part("password", password).unwrap().to_string()
}

#[test]
fn each_form_is_known_and_only_its_password_changes() {
    for (form, text) in KNOWN {
        assert_eq!(written(*form, text, "s3cret"), text.replace("PASS", "s3cret"));
    }
}

/// What is special in a form is written in its way.
#[test]
fn a_password_with_everything_in_it_is_quoted_as_the_form_wants_it() {
    let password = "a b;c'd\"e{f}g\\h=i@j:k/l?m#n%o+p&q";
    let percent = "a%20b%3Bc%27d%22e%7Bf%7Dg%5Ch%3Di%40j%3Ak%2Fl%3Fm%23n%25o%2Bp%26q";
    for (form, text) in KNOWN {
        if *form == Form::JdbcMariaDb {
            let whole = ConnectionString::parse(text).unwrap();
            let unwritable = Error::Unwritable { form: *form };
            assert_eq!(whole.with_part("password", "p&q").unwrap_err(), unwritable);
            assert_eq!(whole.with_part("password", "p#q").unwrap_err(), unwritable);
            assert_eq!(
                written(*form, text, "a %41;=+?b"),
                text.replace("PASS", "a %41;=+?b")
            );
            continue;
        }
        let expected = match form {
            Form::Url | Form::Jdbc => percent.to_owned(),
            Form::AdoNet => format!("\"{}\"", password.replace('"', "\"\"")),
            Form::Odbc | Form::JdbcSqlServer => format!("{{{}}}", password.replace('}', "}}")),
            Form::Libpq => format!("'{}'", password.replace('\\', "\\\\").replace('\'', "\\'")),
            Form::StackExchange | Form::JdbcMariaDb | Form::GoMySql => password.to_owned(),
        };
        let made = written(*form, text, password);
        assert_eq!(made, text.replace("PASS", &expected));
        let again = ConnectionString::parse(&made).unwrap();
        assert_eq!(
            (again.form(), again.part("pwd").unwrap().as_str()),
            (*form, password)
        );
    }
}

#[test]
fn parts_have_one_name_whatever_the_form_calls_them() {
    for (text, user, host, port, database) in [
        (
            "postgresql://app:x@db.internal:5432/shop",
            "app",
            "db.internal",
            Some("5432"),
            Some("shop"),
        ),
        (
            "jdbc:sqlserver://db.internal:1433;databaseName=shop;user=app",
            "app",
            "db.internal",
            Some("1433"),
            Some("shop"),
        ),
        (
            "Data Source=db.internal;Initial Catalog=shop;User Id=app;Password=x",
            "app",
            "db.internal",
            None,
            Some("shop"),
        ),
        (
            "host=db.internal port=1 user=app dbname=shop",
            "app",
            "db.internal",
            Some("1"),
            Some("shop"),
        ),
        (
            "app:x@tcp(db.internal:3306)/shop?tls=true",
            "app",
            "db.internal",
            Some("3306"),
            Some("shop"),
        ),
        (
            "Driver=x;Server=db.internal;Uid=app;Database={a}}b}",
            "app",
            "db.internal",
            None,
            Some("a}b"),
        ),
    ] {
        let whole = ConnectionString::parse(text).unwrap();
        let part = |key: &str| whole.part(key).ok().map(|part| part.to_string());
        assert_eq!(part("user").as_deref(), Some(user), "{text}");
        assert_eq!(part("host").as_deref(), Some(host), "{text}");
        assert_eq!(part("port").as_deref(), port, "{text}");
        assert_eq!(part("database").as_deref(), database, "{text}");
    }
}

/// A brace is a letter of a password in ADO.NET, and a quote is one in ODBC.
#[test]
fn what_quotes_in_one_form_is_a_letter_in_the_other() {
    for (text, password) in [
        ("Server=db;Password={a}", "{a}"),
        ("Driver=x;Server=db;PWD=\"a\"", "\"a\""),
        ("Driver=x;Server=db;PWD='", "'"),
    ] {
        let whole = ConnectionString::parse(text).unwrap();
        assert_eq!(whole.part("password").unwrap().as_str(), password, "{text}");
    }
}

#[test]
fn what_is_wrong_is_named_by_its_place_and_shows_no_value() {
    let of = |text: &str| ConnectionString::parse(text).err();
    let password = |text: &str| {
        ConnectionString::parse(text)
            .unwrap()
            .part("password")
            .unwrap_err()
    };
    assert_eq!(of("hunter2"), Some(Error::Unknown));
    assert_eq!(of(""), Some(Error::Unknown));
    assert_eq!(
        password("Password=one;Server=x;PWD=two"),
        Error::Twice {
            key: "password".to_owned(),
            first: 9,
            second: 26
        }
    );
    assert!(matches!(
        password("postgres://app:one@db/shop?password=two"),
        Error::Twice {
            first: 15,
            second: 36,
            ..
        }
    ));
    assert_eq!(
        password("Server=x;User Id=app"),
        Error::Missing {
            form: Form::AdoNet,
            key: "password".to_owned()
        }
    );
    for (text, form, at) in [
        ("Server=x;Password=\"abc", Form::AdoNet, 18),
        ("Server=x;Password=\"abc\"d", Form::AdoNet, 23),
        ("Server=x;Password=ab;cd", Form::AdoNet, 21),
        ("Driver=x;PWD={abc", Form::AdoNet, 0),
        ("postgres://app:100%@db/shop", Form::Url, 15),
        ("postgres://app:%C3@db/shop", Form::Url, 15),
    ] {
        let error = of(text);
        let is_there = matches!(error, Some(Error::Malformed { form: there, at: place }) if (there, place) == (form, at));
        assert!(
            is_there || text.starts_with("Driver") && error.is_none(),
            "{text}: {error:?}"
        );
    }
    assert!(of("host=x password=a;b user=y;z").is_none(), "no key of ADO.NET");
    assert_eq!(
        of("host=x password=a;port=y"),
        Some(Error::Ambiguous {
            first: Form::AdoNet,
            second: Form::Libpq
        })
    );
    assert_eq!(
        of("Server=x;Password=a@tcp(db)/b"),
        Some(Error::Ambiguous {
            first: Form::GoMySql,
            second: Form::AdoNet
        })
    );
    assert_eq!(of("app:secret@/shop"), Some(Error::Unknown));
    assert_eq!(of("Server=x;Password=a\u{7}b"), Some(Error::Control { at: 19 }));
    assert_eq!(of(&"a=b;".repeat(20_000)), Some(Error::TooLong));
    let unwritable = ConnectionString::parse("a:6379,password=x,ssl=true")
        .unwrap()
        .with_part("password", "a,b");
    assert_eq!(
        unwritable.unwrap_err(),
        Error::Unwritable {
            form: Form::StackExchange
        }
    );
}

#[test]
fn a_value_is_shown_as_it_is_written_without_the_quotes_around_it() {
    for (text, written) in [
        ("postgres://app:p%2f1@db", "p%2f1"),
        ("host=db password='p\\'1 '", "p\\'1 "),
        ("Server=db;Password=\"p\"\"1\"", "p\"\"1"),
        ("Driver={x};Pwd={p}}1}", "p}}1"),
    ] {
        let whole = ConnectionString::parse(text).unwrap();
        assert_eq!(whole.written("password"), Ok(written), "{text}");
    }
}

#[test]
fn names_of_one_part_are_one_name() {
    for (name, one) in [
        ("Pwd", "password"),
        ("User ID", "user"),
        ("Initial Catalog", "database"),
        ("SSLMode", "sslmode"),
    ] {
        assert_eq!(canonical(name), one);
        assert_eq!(canonical(one), one);
    }
}

proptest! {
    /// Of each form: what was written is read, and nothing else has changed.
    #[test]
    fn a_part_that_is_written_is_read(at in 0..KNOWN.len(), old in "[a-z0-9]{1,12}", new in "\\PC{0,40}") {
        let (form, text) = KNOWN[at];
        let whole = text.replace("PASS", &old);
        let before = ConnectionString::parse(&whole).unwrap();
        let Ok(made) = before.with_part("password", &new) else {
            prop_assert!([Form::StackExchange, Form::JdbcMariaDb].contains(&form), "{form} has no way for {new:?}");
            return Ok(());
        };
        let after = ConnectionString::parse_as(form, &made).unwrap();
        let read = after.part("password").unwrap();
        prop_assert_eq!(read.as_str(), new.as_str());
        let (head, tail) = text.split_once("PASS").unwrap();
        prop_assert!(made.starts_with(head) && made.ends_with(tail));
    }

    /// Whatever it is: an answer, and what it says is a place in it.
    #[test]
    fn any_text_is_answered(text in "\\PC{0,80}") {
        let _ = ConnectionString::parse(&text).map(|whole| whole.with_part("password", "x").map(drop));
    }

    #[test]
    fn any_text_of_its_shape_is_answered(text in "(jdbc:)?([a-z]{0,5}://)?([a-zP' \"{}\\\\]{0,6}[=;,:@/?&%]){0,12}") {
        if let Ok(whole) = ConnectionString::parse(&text)
            && let Ok(part) = whole.part("password")
        {
            let same = whole.with_part("password", &part).unwrap();
            let again = ConnectionString::parse_as(whole.form(), &same).unwrap();
            prop_assert_eq!(again.part("password").unwrap(), part);
        }
    }
}
