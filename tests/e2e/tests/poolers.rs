//! A pooler where the configuration names a server.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use keywheel_e2e::{Host, postgres_role};
use keywheel_kit::{PgBouncer, Postgres, PostgresOptions, Proxy, Server, random_password};

/// What `plan` says of a server at this port, and whether it found a pooler there.
fn plan(server: &Postgres, port: u16) -> (bool, String) {
    let host = Host::init();
    let own = format!("port = {}", server.port());
    let text = postgres_role(server, "1s").replace("{ step = \"3s\" }", "{ step = \"30s\" }");
    host.configure(&text.replace(&own, &format!("port = {port}")));
    host.add_plugin("postgres", &[port]);
    let _ = host.import("admin/db", server.admin_password()).ends(0);
    // Nothing is adopted yet.
    let output = host.run(&["plan", "app-db"], "").ends(24);
    (output.stdout.contains("postgres.pooler"), output.stdout)
}

#[test]
fn a_pooler_is_told_from_the_server_and_from_a_port_that_is_passed_on() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let password = random_password();
    server
        .sql(&format!("CREATE ROLE app LOGIN PASSWORD '{password}'"))
        .unwrap();
    let passed_on = Proxy::start(server.port()).unwrap();
    for port in [server.port(), passed_on.port()] {
        let (is_pooler, said) = plan(&server, port);
        assert!(!is_pooler, "{said}");
    }
    if let Err(error) = Server::PgBouncer.installed() {
        eprintln!("skipped: PgBouncer is not to be had: {error:#}");
        return;
    }
    let pooler = PgBouncer::start(&server).unwrap();
    let (is_pooler, said) = plan(&server, pooler.port());
    assert!(is_pooler, "{said}");
    for word in [
        &format!("localhost:{} is a pooler", pooler.port()),
        "auth_query",
        "userlist.txt",
        "pool_mode",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!said.contains("postgres.not-asked"), "{said}");
}
