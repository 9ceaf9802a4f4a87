//! A connection string as the rotated secret: its password is replaced (and of two roles the user name), every other byte stays, and clients are given
//! the string itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test says what went wrong by panicking, its helpers are its own, and one says what it counted"
)]

mod alternating;
mod forms;
mod redis;
mod refused;
mod role;
mod steady;
mod template;

use keywheel_e2e::{Host, postgres_pair, postgres_role};
use keywheel_kit::{Postgres, PostgresOptions, random_password};

/// The line that says what the secret is.
const FORMAT: &str = "format = \"connection-string\"";

/// A server with the roles `app`, `app_a` and `app_b`, of which the first two have this password; and a host that rotates them, with nothing imported but
/// the administrator.
struct Scene {
    server: Postgres,
    host: Host,
    old: String,
}

impl Scene {
    /// With the rotation `app-db` of `app`, whose secret is `app/db`.
    fn role() -> Self {
        Self::of(|server| postgres_role(server, "1s"))
    }

    /// With the rotation `pair-db` of `app_a` and `app_b`, whose secret is `pair/db`.
    fn pair() -> Self {
        Self::of(|server| postgres_pair(server, "1s"))
    }

    fn of(rotation: impl FnOnce(&Postgres) -> String) -> Self {
        let server = Postgres::start(PostgresOptions::default()).unwrap();
        // Of characters that each form writes in its own way.
        let old = format!("{}/+' \\%", random_password());
        let quoted = old.replace('\'', "''");
        let roles = ["app", "app_a"].map(|role| format!("CREATE ROLE {role} LOGIN PASSWORD '{quoted}';"));
        server
            .sql(&format!("{} CREATE ROLE app_b LOGIN", roles.concat()))
            .unwrap();
        let host = Host::init();
        // The rotation's own settings stand last.
        host.configure(&format!("{}{FORMAT}", patient(&rotation(&server))));
        host.add_plugin("postgres", &[server.port()]);
        let _ = host.import("admin/db", server.admin_password()).ends(0);
        Self { server, host, old }
    }

    /// A URL as libpq takes it, with more in it than it takes to connect.
    fn url(&self, user: &str, password: &str) -> String {
        let encoded: String = password.bytes().map(percent).collect();
        let port = self.server.port();
        format!(
            "postgresql://{user}:{encoded}@localhost:{port}/postgres?application_name=shop%20one&connect_timeout=10"
        )
    }

    fn is_let_in(&self, string: &str) -> bool {
        self.server.login_by(string).unwrap().is_accepted()
    }

    fn is_refused(&self, string: &str) -> bool {
        self.server.login_by(string).unwrap().is_refused()
    }

    fn rotate(&self, rotation: &str) {
        let _ = self.host.run(&["rotate", rotation, "--wait", "end"], "").ends(0);
    }
}

/// A rotation whose steps have time on a busy machine, too: what is not waited for here would be tried again later.
fn patient(rotation: &str) -> String {
    let patient = rotation.replace("{ step = \"3s\" }", "{ step = \"30s\" }");
    assert!(patient != rotation);
    patient
}

fn percent(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02x}")
    }
}

/// What stands between the two texts: a password that needs no quoting, so that it is the value itself.
#[track_caller]
fn between<'s>(string: &'s str, before: &str, after: &str) -> &'s str {
    let inner = string
        .strip_prefix(before)
        .and_then(|rest| rest.strip_suffix(after))
        .unwrap_or_else(|| panic!("{string} is not {before}…{after}"));
    assert!(
        inner.len() >= 32
            && inner
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    );
    inner
}
