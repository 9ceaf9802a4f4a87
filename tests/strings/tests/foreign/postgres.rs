//! `PostgreSQL`: the roles have names and passwords that somebody has to quote.

use keywheel_connection_string::Form;
use keywheel_kit::{Postgres, PostgresOptions};
use keywheel_strings::Language;

use crate::scene::{Login, Template, logins, try_all};

fn server(language: Language) -> (Postgres, Vec<Login>) {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let mut logins = logins();
    // psqlodbc takes braces around a user name for a part of it.
    logins.retain(|login| language != Language::Odbc || login.user.starts_with("app"));
    let create = |login: &Login| {
        let (user, password) = (
            login.user.replace('"', "\"\""),
            login.password.replace('\'', "''"),
        );
        format!("CREATE ROLE \"{user}\" LOGIN PASSWORD '{password}';")
    };
    let all: String = logins.iter().map(create).collect();
    let _ = server.sql(&all).unwrap();
    (server, logins)
}

fn in_each_form(language: Language, clients: &[(&'static str, &[Form])]) {
    let (server, logins) = server(language);
    let (port, ca) = (server.port(), server.ca_file());
    let file = ca.display();
    let url = format!("localhost:{port}/postgres");
    let tls = format!("sslmode=verify-full&sslrootcert={file}");
    let libpq = format!(
        "host=localhost port={port} user=u password=p dbname=postgres sslmode=verify-full sslrootcert='{file}'"
    );
    let templates = [
        Template::new(Form::Url, format!("postgresql://u:p@{url}?{tls}")),
        Template::new(Form::Libpq, libpq),
        Template::new(
            Form::Jdbc,
            format!("jdbc:postgresql://{url}?user=u&password=p&{tls}"),
        ),
        Template::new(
            Form::Odbc,
            format!(
                "Driver=psqlodbcw.so;Server=localhost;Port={port};Database=postgres;Uid=u;Pwd=p;SSLmode=verify-full"
            ),
        ),
    ];
    try_all(language, &ca, clients, &templates, &logins);
}

#[test]
fn python() {
    let clients: [(_, &[Form]); 2] = [("psycopg", &[Form::Url, Form::Libpq]), ("asyncpg", &[Form::Url])];
    in_each_form(Language::Python, &clients);
}

#[test]
fn node() {
    in_each_form(Language::Node, &[("node-postgres", &[Form::Url])]);
}

#[test]
fn go() {
    let both: &[Form] = &[Form::Url, Form::Libpq];
    in_each_form(Language::Go, &[("pgx", both), ("lib-pq", both)]);
}

#[test]
fn java() {
    in_each_form(Language::Java, &[("pgjdbc", &[Form::Jdbc])]);
}

#[test]
fn odbc() {
    in_each_form(Language::Odbc, &[("odbc", &[Form::Odbc])]);
}
