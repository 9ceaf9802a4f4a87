//! What is wrong is refused: with its exit code, its place and a way out, and nothing is half done.
//!
//! The table in `tests/e2e/README.md` says which case shows which refusal.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::format_push_string,
    clippy::too_many_lines,
    unreachable_pub,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

mod adoption;
mod config;
mod crowded;
mod decides;
mod denials;
mod full;
mod nopass;
mod plugins;
mod state;
mod stops;
mod targets;
mod unproved;
mod unsaved;

use std::fs;
use std::sync::OnceLock;

use keywheel_e2e::{Host, Output, Rotation, rotation};
use keywheel_kit::{Postgres, PostgresOptions, random_password};

/// One server for all cases: each has roles of its own. It logs every statement.
fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        Postgres::start(PostgresOptions {
            log_statements: true,
            ..PostgresOptions::default()
        })
        .unwrap()
    })
}

/// A role of the server and a host that rotates it as `app-db`: its secret is `app/db`, its administrator's `admin/db`.
struct Subject {
    host: Host,
    role: &'static str,
    old: String,
    /// `keywheel.toml` without the rotation.
    bare: String,
}

impl Subject {
    /// A role, and a host with the plugin in its folder; nothing is pinned or imported.
    fn new(role: &'static str) -> Self {
        let old = random_password();
        // The statement with the password in it is not for the log that is looked through in the end.
        server()
            .sql(&format!(
                "SET log_statement = 'none'; CREATE ROLE {role} LOGIN PASSWORD '{old}'"
            ))
            .unwrap();
        let host = Host::init();
        host.drop_plugin("postgres");
        fs::write(host.outside("ca.pem"), server().ca_pem()).unwrap();
        let bare = fs::read_to_string(host.file("keywheel.toml")).unwrap();
        let subject = Self {
            host,
            role,
            old,
            bare,
        };
        subject.configure(&subject.rotation());
        subject
    }

    /// The same, ready to rotate: pinned and granted, and both credentials imported.
    fn ready(role: &'static str) -> Self {
        let subject = Self::new(role);
        subject.host.add_plugin("postgres", &[server().port()]);
        let _ = subject.host.import("admin/db", server().admin_password()).ends(0);
        let _ = subject.host.import("app/db", &subject.old).ends(0);
        subject
    }

    /// Its rotation as it should be: without consumers and grace, so that a run has nothing to wait for.
    fn rotation(&self) -> String {
        let config = format!(
            "mode = \"role\"\nhost = \"localhost\"\nport = {}\ntrust = \"app-db\"\nadmin = \"{}\"\nrole = \"{}\"",
            server().port(),
            server().admin_user(),
            self.role
        );
        let text = rotation(&Rotation {
            name: "app-db",
            plugin: "postgres",
            secret: "app/db",
            admin_secret: "admin/db",
            grace: "0s",
            ca: &self.host.outside("ca.pem"),
            config: &config,
        });
        text.replace("consumers = [{ name = \"shop\", staleness = \"1s\" }]\n", "")
            .replace("{ step = \"3s\" }", "{ step = \"3s\", run = \"1s\" }")
    }

    /// Puts rotations into the configuration in place of all that was there.
    fn configure(&self, rotations: &str) {
        fs::write(
            self.host.file("keywheel.toml"),
            format!("{}\n{rotations}", self.bare),
        )
        .unwrap();
    }

    fn rotate(&self) -> Output {
        self.host.run(&["rotate", "app-db", "--wait", "end"], "")
    }

    fn resume(&self) -> Output {
        self.host.run(&["run", "resume", "app-db", "--wait", "end"], "")
    }

    /// Whether the server takes a password for the role.
    fn takes(&self, password: &str) -> bool {
        server().login(self.role, password).unwrap().is_accepted()
    }

    /// The server takes the vault's current value, and it is not the one that was imported.
    #[track_caller]
    fn has_rotated(&self) {
        let current = self.host.read("app/db", None);
        assert_ne!(current, self.old);
        assert!(self.takes(&current) && !self.takes(&self.old));
    }

    /// The old credential still opens the server, the vault says so, and no run has begun to change anything.
    #[track_caller]
    fn is_as_before(&self, what: &str) {
        assert!(self.takes(&self.old), "{what}");
        let stages: Vec<String> = self
            .host
            .versions("app/db")
            .into_iter()
            .map(|(_, stage)| stage)
            .collect();
        assert_eq!(stages, ["current"], "{what}");
        assert_eq!(self.host.read("app/db", None), self.old, "{what}");
    }

    /// No value that the secret ever had shows anywhere; nor the administrator's.
    #[track_caller]
    fn leaves_no_trace(&self) {
        let mut secrets = vec![server().admin_password().to_owned()];
        for (version, stage) in self.host.versions("app/db") {
            if stage != "destroyed" {
                secrets.push(self.host.read("app/db", Some(&version)));
            }
        }
        if !secrets.contains(&self.old) {
            secrets.push(self.old.clone());
        }
        self.host
            .left_no_trace(&secrets, &[("server log", &server().log())]);
    }
}
