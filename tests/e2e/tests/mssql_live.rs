//! The rotations of SQL Server on a server that is only known by its address: on one of the tests' own, and by `cargo xtask test --live mssql`
//! on any other. Nothing but the product logs in: what it must be given stands in docs/operators.md.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::env;

use keywheel_e2e::Host;
use keywheel_kit::{SqlServer, SqlServerOptions, random_password, strong_password};
use serde_json::Value;

/// A server, and a login that may make and change logins.
struct Place {
    host: String,
    port: u16,
    admin: String,
    password: String,
    /// Certificates of its authority; none: the system's.
    ca: Option<String>,
    /// TDS 8.0.
    strict: bool,
}

impl Place {
    /// A host with one rotation of these settings, its grant and the administrator's password.
    fn host(&self, first: &str, settings: &str) -> Host {
        let host = Host::init();
        let trust = self
            .ca
            .as_ref()
            .map_or_else(String::new, |ca| format!("[trust.live]\npem = [\"{ca}\"]\n\n"));
        let (inputs, admin) = if settings.contains("\"self\"") {
            (String::new(), String::new())
        } else {
            (
                "inputs = { admin = \"admin/live\" }\n".to_owned(),
                format!("admin = \"{}\"\n", self.admin),
            )
        };
        let used = if self.ca.is_some() {
            "trust = \"live\"\n"
        } else {
            ""
        };
        let transport = if self.strict {
            "transport = \"strict\"\n"
        } else {
            ""
        };
        host.configure(&format!(
            "{trust}[[rotation]]\nname = \"live\"\nplugin = \"mssql\"\nsecret = \"app/live\"\n{inputs}grace = \"1s\"\ngap = \"accept\"\n\
             first = \"{first}\"\nprobes = {{ logins = 100, per = \"1h\" }}\nconsumers = [{{ name = \"shop\", staleness = \"1s\" }}]\n\n\
             [rotation.config]\nhost = \"{}\"\nport = {}\n{used}{transport}{admin}{settings}\n",
            self.host, self.port
        ));
        host.drop_plugin("mssql");
        let to = format!("{}:{} tls", self.host, self.port);
        let _ = host
            .run(&["plugin", "add", "mssql", "--yes", "--host", &to], "")
            .ends(0);
        if !inputs.is_empty() {
            let _ = host.import("admin/live", &self.password).ends(0);
        }
        host
    }
}

const ROTATE: [&str; 4] = ["rotate", "live", "--wait", "end"];

/// Makes two logins of random names, has them take turns, and then each of the other ways with one of them.
fn every_way(place: &Place) {
    let name = format!("kw{}", &random_password()[..12]);
    let (a, b) = (format!("{name}a"), format!("{name}b"));
    // What is left on the server, whatever comes of this.
    println!("afterwards: DROP LOGIN [{a}]; DROP LOGIN [{b}]");
    let pair = place.host(
        "set",
        &format!("mode = \"alternating\"\nusers = [\"{a}\", \"{b}\"]"),
    );
    let mut users = Vec::new();
    for _ in 0..3 {
        let _ = pair.run(&ROTATE, "").ends(0);
        let document: Value = serde_json::from_str(&pair.read("app/live", None)).unwrap();
        users.push(document["username"].as_str().unwrap().to_owned());
    }
    assert_eq!(users, [a.as_str(), &b, &a]);
    let document: Value = serde_json::from_str(&pair.read("app/live", None)).unwrap();
    let known = document["password"].as_str().unwrap();

    let one = place.host("adopt", &format!("user = \"{a}\""));
    let _ = one.import("app/live", &strong_password()).ends(40);
    let _ = one.import("app/live", known).ends(0);
    let before = one.versions("app/live")[0].0.clone();
    let _ = one.run(&["plan", "live"], "").ends(10);
    let _ = one.run(&ROTATE, "").ends(0);
    let new = one.read("app/live", None);
    assert_ne!(new, known);
    let back = ["secret", "rollback", "app/live", &before, "--wait", "end"];
    let _ = one.run(&back, "").ends(0);
    let value = one.read("app/live", None);
    assert_eq!(value, known);

    let own = place.host("adopt", &format!("mode = \"self\"\nuser = \"{a}\""));
    let _ = own.import("app/live", &value).ends(0);
    for _ in 0..2 {
        let _ = own.run(&ROTATE, "").ends(0);
    }
    assert_ne!(own.read("app/live", None), value);
}

#[test]
fn every_way_to_rotate_goes_on_the_server_of_the_tests() {
    let server = SqlServer::start(SqlServerOptions::default()).unwrap();
    every_way(&Place {
        host: "localhost".to_owned(),
        port: server.port(),
        admin: server.admin_user().to_owned(),
        password: server.admin_password().to_owned(),
        ca: Some(server.ca_file().display().to_string()),
        strict: true,
    });
}

#[test]
#[ignore = "it needs a server: `cargo xtask test --live mssql`"]
fn every_way_to_rotate_goes_on_the_server_that_is_named() {
    let told =
        |name: &str| env::var(name).unwrap_or_else(|_| panic!("{name} is not set: see docs/operators.md"));
    let address = told("KEYWHEEL_LIVE_MSSQL");
    let (host, port) = address.rsplit_once(':').unwrap_or((&address, "1433"));
    every_way(&Place {
        host: host.to_owned(),
        port: port.parse().unwrap(),
        admin: told("KEYWHEEL_LIVE_MSSQL_USER"),
        password: told("KEYWHEEL_LIVE_MSSQL_PASSWORD"),
        ca: env::var("KEYWHEEL_LIVE_MSSQL_CA").ok(),
        strict: env::var("KEYWHEEL_LIVE_MSSQL_TRANSPORT").is_ok_and(|transport| transport == "strict"),
    });
}
