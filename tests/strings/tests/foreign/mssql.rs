//! Our own server that speaks as SQL Server does: how clients read their strings needs no other.

use keywheel_connection_string::Form;
use keywheel_kit::{Encryption, SqlServer, SqlServerOptions};
use keywheel_strings::Language;

use crate::scene::{Login, Template, logins, try_all};

fn in_each_form(language: Language, clients: &[(&'static str, &[Form])]) {
    let server = SqlServer::start(SqlServerOptions {
        encryption: Encryption::Optional,
        ..SqlServerOptions::default()
    })
    .unwrap();
    // What its policy asks for, around what is to be quoted.
    let strong = |login: Login| Login {
        password: format!("Aa1!{}9zZ", login.password),
        ..login
    };
    let mut logins: Vec<Login> = logins().into_iter().map(strong).collect();
    // FreeTDS takes away braces around a value, but leaves a doubled one in it as it is.
    let has_brace = |login: &Login| login.user.contains('}') || login.password.contains('}');
    logins.retain(|login| language != Language::Odbc || !has_brace(login));
    for login in &logins {
        let (user, password) = (login.user.replace(']', "]]"), login.password.replace('\'', "''"));
        let create = format!("CREATE LOGIN [{user}] WITH PASSWORD = N'{password}'");
        let _ = server.sql("master", &create).unwrap();
    }
    let port = server.port();
    let tls = "encrypt=true;trustServerCertificate=true";
    let templates = [
        Template::new(
            Form::AdoNet,
            format!(
                "Server=localhost,{port};Database=master;User Id=u;Password=p;Encrypt=true;TrustServerCertificate=true"
            ),
        ),
        Template::new(
            Form::Odbc,
            format!(
                "Driver=libtdsodbc.so;Server=localhost;Port={port};UID=u;PWD=p;TDS_Version=7.4;Encrypt=yes"
            ),
        ),
        Template::new(
            Form::Url,
            format!(
                "sqlserver://u:p@localhost:{port}?database=master&encrypt=true&trustservercertificate=true"
            ),
        ),
        Template::new(
            Form::JdbcSqlServer,
            format!("jdbc:sqlserver://localhost:{port};databaseName=master;user=u;password=p;{tls}"),
        ),
    ];
    try_all(language, &server.ca_file(), clients, &templates, &logins);
}

#[test]
fn node() {
    in_each_form(Language::Node, &[("node-mssql", &[Form::AdoNet])]);
}

#[test]
fn go() {
    in_each_form(Language::Go, &[("go-mssqldb", &[Form::AdoNet, Form::Url])]);
}

#[test]
fn java() {
    in_each_form(Language::Java, &[("mssql-jdbc", &[Form::JdbcSqlServer])]);
}

#[test]
fn odbc() {
    in_each_form(Language::Odbc, &[("odbc", &[Form::Odbc])]);
}
