//! The servers, each started once for all tests of a process.

use std::sync::OnceLock;

use keywheel_kit::{Postgres, PostgresOptions, Redis, RedisOptions};

/// The one Redis of the suite. User `anyone` needs no password.
pub fn redis() -> &'static Redis {
    static SERVER: OnceLock<Redis> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = Redis::start(RedisOptions::default()).unwrap();
        server
            .command(&[
                "ACL", "SETUSER", "anyone", "reset", "on", "nopass", "~*", "&*", "+@all",
            ])
            .unwrap();
        server
    })
}

/// A second Redis, with the same administrator.
pub fn second_redis() -> &'static Redis {
    static SERVER: OnceLock<Redis> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = Redis::start(RedisOptions::default()).unwrap();
        let password = format!(">{}", redis().admin_password());
        let admin = server.admin_user();
        server.command(&["ACL", "SETUSER", admin, &password]).unwrap();
        server
    })
}

/// The one PostgreSQL, with a table `stash`.
pub fn postgres() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = Postgres::start(PostgresOptions::default()).unwrap();
        server.sql("CREATE TABLE stash (owner text, v text)").unwrap();
        server
    })
}
