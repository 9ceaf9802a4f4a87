//! `MariaDB`.

use keywheel_connection_string::Form;
use keywheel_kit::{MariaDb, MariaDbOptions};
use keywheel_strings::Language;

use crate::scene::{Login, Template, logins, try_all};

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn in_each_form(language: Language, clients: &[(&'static str, &[Form])], scheme: &str) {
    let server = MariaDb::start(MariaDbOptions::default()).unwrap();
    let mut logins = logins();
    // PyMySQL knows passwords in Latin-1 alone, however they were written.
    logins.retain(|login| language != Language::Python || login.password.is_ascii());
    let create = |login: &Login| {
        let (user, password) = (quoted(&login.user), quoted(&login.password));
        format!("CREATE USER {user}@'%' IDENTIFIED BY {password};")
    };
    let all: String = logins.iter().map(create).collect();
    let _ = server.sql(&all).unwrap();
    let (port, ca) = (server.port(), server.ca_file());
    let tls = format!("sslMode=verify-full&serverSslCert={}", ca.display());
    let templates = [
        Template::new(Form::Url, format!("{scheme}://u:p@localhost:{port}/")),
        Template::new(
            Form::JdbcMariaDb,
            format!("jdbc:mariadb://localhost:{port}/?user=u&password=p&{tls}"),
        ),
        Template::new(
            Form::GoMySql,
            format!("u:p@tcp(localhost:{port})/?tls=own&timeout=20s"),
        ),
    ];
    try_all(language, &ca, clients, &templates, &logins);
}

#[test]
fn python() {
    in_each_form(Language::Python, &[("sqlalchemy", &[Form::Url])], "mysql+pymysql");
}

#[test]
fn node() {
    in_each_form(Language::Node, &[("mysql2", &[Form::Url])], "mysql");
}

#[test]
fn go() {
    in_each_form(Language::Go, &[("go-sql-driver", &[Form::GoMySql])], "mysql");
}

#[test]
fn java() {
    in_each_form(
        Language::Java,
        &[("mariadb-java-client", &[Form::JdbcMariaDb])],
        "mysql",
    );
}

#[test]
fn odbc() {
    in_each_form(Language::Odbc, &[("odbc", &[Form::Odbc])], "mysql");
}
