//! What many tests begin with.

use std::thread;
use std::time::{Duration, Instant};

use keywheel_kit::{Postgres, PostgresOptions, postgres_role, random_password};

use crate::Host;

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_mins(5);

/// A server with the role `app`, a host that rotates it as `app-db` with a grace of a second and has adopted it, and its password.
///
/// # Panics
/// When one of these cannot be made.
#[track_caller]
pub fn role_adopted() -> (Postgres, Host, String) {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let (host, old) = role_adopted_on(&server);
    (server, host, old)
}

/// The same on a server that runs.
///
/// # Panics
/// When one of these cannot be made.
#[track_caller]
pub fn role_adopted_on(server: &Postgres) -> (Host, String) {
    let old = random_password();
    server
        .sql(&format!("CREATE ROLE app LOGIN PASSWORD '{old}'"))
        .unwrap();
    let host = Host::init();
    host.configure(&postgres_role(server, "1s"));
    host.add_plugin("postgres", &[server.port()]);
    let _ = host.import("admin/db", server.admin_password()).ends(0);
    let _ = host.import("app/db", &old).ends(0);
    (host, old)
}

/// Waits until it is so.
///
/// # Panics
/// When it is not within five minutes.
#[track_caller]
pub fn until(what: &str, mut is: impl FnMut() -> bool) {
    found(what, || is().then_some(()));
}

/// Waits until there is something, and gives that.
///
/// # Panics
/// When there is nothing within five minutes.
#[track_caller]
pub fn found<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}
