//! The control: a leak of each kind is planted, each in another form, and the same search over the same evidence finds every one.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use keywheel_e2e::{Host, Search, Started, Trace, until};
use keywheel_kit::{Collector, random_password};
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};

use crate::evidence::{Evidence, LOG, MONITOR, SLOWLOG, STATEMENTS};
use crate::mistakes::may_dump;
use crate::outlets::{Scraper, configuration, free_address, told};
use crate::scene::{ask, servers};

/// Leaks: each a value, and where it must be found.
struct Leaks {
    host: Host,
    planted: Vec<(String, &'static str)>,
}

impl Leaks {
    /// A value that is to be found at a place, and nowhere else.
    fn at(&mut self, place: &'static str) -> String {
        let value = format!("leak-/&\"<{}", random_password());
        self.planted.push((value.clone(), place));
        value
    }

    fn evidence(&self, heard: &[Trace]) -> Evidence {
        Evidence::of(&self.host, servers(), heard)
    }
}

#[test]
fn a_leak_in_any_output_is_found() {
    let mut leaks = Leaks {
        host: Host::init_watched(),
        planted: Vec::new(),
    };
    let _ = leaks
        .host
        .import("some/secret", "that the database has a row of")
        .ends(0);
    let mut heard = served(&mut leaks);
    heard.push(spans(&mut leaks));
    printed(&mut leaks);
    files(&mut leaks);
    cut(&mut leaks);
    let held = database(&mut leaks);
    let running = processes(&mut leaks);
    targets(&mut leaks);
    let evidence = leaks.evidence(&heard);
    drop(held);
    for mut started in running {
        drop(started.child.stdin.take());
        let _ = leaks.host.wait(started);
    }
    let named = leaks.planted.iter();
    let search = Search::of(named.map(|(value, place)| (*place, value.as_bytes())));
    let found = keywheel_e2e::places(&search, &evidence.traces);
    for (_, place) in &leaks.planted {
        let hits = found.keys().filter(|(_, value)| value == place);
        let places: Vec<&String> = hits.map(|(at, _)| at).collect();
        assert!(
            places.iter().any(|at| at.starts_with(place)),
            "the leak in {place} is not found: {places:?}"
        );
    }
}

/// What the running host says by itself. What is in its outbox it hands on: to the program and to its log, which is text or JSON. And what listens in the
/// place of a host, for whoever asks for the metrics.
fn served(leaks: &mut Leaks) -> Vec<Trace> {
    let bare = fs::read_to_string(leaks.host.file("keywheel.toml")).unwrap();
    let argument = leaks.at("outside/told.arguments");
    let outlets = configuration(&leaks.host, free_address(), &argument);
    fs::write(leaks.host.file("keywheel.toml"), format!("{bare}\n{outlets}")).unwrap();
    let (topic, body) = (
        leaks.at("outside/told.environment"),
        leaks.at("outside/told.notices"),
    );
    notice(&leaks.host, &topic, &serde_json::json!({ "state": body }));
    for (words, log) in [
        (&["serve"][..], "errors of `keywheel -vv serve`"),
        (
            &["serve", "--log", "json"],
            "errors of `keywheel -vv serve --log json`",
        ),
    ] {
        let logged = leaks.at(log);
        notice(
            &leaks.host,
            "some.topic",
            &serde_json::json!({ "what": format!("{logged:?}") }),
        );
        let serving = leaks.host.start(&mut leaks.host.command(words));
        until("it is told", || {
            told(&leaks.host).contains(&logged[logged.len() - 20..])
        });
        kill_process(Pid::from_child(&serving.child), Signal::TERM).unwrap();
        let _ = leaks.host.wait(serving).ends(0);
    }
    fs::write(leaks.host.file("keywheel.toml"), bare).unwrap();
    let label = leaks.at("answers of /metrics");
    let label = label.replace('\\', "\\\\").replace('"', "\\\"");
    let body = format!("keywheel_secret_renewal_timestamp_seconds{{keywheel_secret_name=\"{label}\"}} 1\n");
    let scraper = Scraper::start(answering(body));
    scraper.once_more();
    scraper.end()
}

/// Somebody who answers every question with this, as long as the tests run.
fn answering(body: String) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 512]);
            let _ = write!(stream, "HTTP/1.1 200 OK\r\n\r\n{body}");
        }
    });
    address
}

/// What a collector of traces is sent.
fn spans(leaks: &mut Leaks) -> Trace {
    let collector = Collector::start(free_address().port()).unwrap();
    let value = leaks.at("spans");
    let mut stream = TcpStream::connect(collector.endpoint().trim_start_matches("http://")).unwrap();
    write!(
        stream,
        "POST /v1/traces HTTP/1.1\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{value}",
        value.len()
    )
    .unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    Trace::new("spans", collector.received().unwrap())
}

/// As the host keeps one that it is to tell.
fn notice(host: &Host, topic: &str, body: &serde_json::Value) {
    let database = Connection::open(host.file("state/keywheel.db")).unwrap();
    let into = "INSERT INTO outbox (topic, key, body, created, not_before, attempts)
                SELECT ?1, 'planted', ?2, created, created, 0 FROM (SELECT unixepoch() * 1000 AS created)";
    database.execute(into, [topic, &body.to_string()]).unwrap();
}

/// Standard output and standard error of a command, plain, in JSON, and as a debug line of a log.
fn printed(leaks: &mut Leaks) {
    let value = leaks.at("output of `cat`");
    let _ = leaks.host.finish(&mut Command::new("cat"), &value);
    let value = leaks.at("output of `cat -u`");
    let document = serde_json::json!({ "state": value }).to_string();
    let _ = leaks.host.finish(Command::new("cat").arg("-u"), &document);
    for (place, line) in [
        ("errors of `sh -c cat >&2`", "{:?}"),
        ("errors of `sh -c cat -u >&2`", "b"),
    ] {
        let value = leaks.at(place);
        let text = if line == "b" {
            format!("DEBUG sent={:?}", value.as_bytes())
        } else {
            format!("DEBUG sent={value:?}")
        };
        let script = place
            .strip_prefix("errors of `sh -c ")
            .unwrap()
            .trim_end_matches('`');
        let _ = leaks.host.finish(Command::new("sh").args(["-c", script]), &text);
    }
}

/// Every folder that something is written to.
fn files(leaks: &mut Leaks) {
    let write = |leaks: &Leaks, place: &str, bytes: &[u8]| {
        let file = leaks.host.whole().join(place);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, [b"before ", bytes, b" after"].concat()).unwrap();
    };
    let value = leaks.at("host/state/left-over");
    write(leaks, "host/state/left-over", value.as_bytes());
    let value = leaks.at("host/state/compiled/some.cwasm");
    let text = BASE64_STANDARD.encode(format!("x{value}"));
    write(leaks, "host/state/compiled/some.cwasm", text.as_bytes());
    let value = leaks.at("host/plugins/some.wasm");
    let text = BASE64_URL_SAFE_NO_PAD.encode(format!("xx{value}"));
    write(leaks, "host/plugins/some.wasm", text.as_bytes());
    let value = leaks.at("host/policies/some.toml");
    let text: String = value.chars().rev().collect();
    write(leaks, "host/policies/some.toml", text.as_bytes());
    let value = leaks.at("outside/backup.age");
    let text: Vec<u8> = value.encode_utf16().flat_map(u16::to_le_bytes).collect();
    write(leaks, "outside/backup.age", &text);
    let value = leaks.at("outside/audit.json");
    let text: String = value.bytes().map(|byte| format!("{byte:02X}")).collect();
    write(leaks, "outside/audit.json", text.as_bytes());
    let value = leaks.at("outside/head");
    let text: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
    write(leaks, "outside/head", text.as_bytes());
    let value = leaks.at("temporary/left-over");
    write(leaks, "temporary/left-over", &value.as_bytes()[..20]);
}

/// The two places of a form, and how it is written.
type Form<'f> = (&'f [&'static str; 2], &'f dyn Fn(&[u8]) -> String);

/// The beginning or the end of a value, written as other programs write bytes.
fn cut(leaks: &mut Leaks) {
    let hex = |value: &[u8]| value.iter().map(|byte| format!("{byte:02x}")).collect();
    let dump = |value: &[u8]| value.iter().map(|byte| format!("{byte:02x} ")).collect();
    let list = |value: &[u8]| format!("{value:02x?}");
    let numbers = |value: &[u8]| format!("{value:?}");
    let json = |value: &[u8]| serde_json::json!({ "bytes": value }).to_string();
    let base64 = |value: &[u8]| BASE64_STANDARD.encode(value);
    let base64url = |value: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(value);
    let forms: [Form<'_>; 7] = [
        (&["outside/first.hex", "outside/last.hex"], &hex),
        (&["outside/first.dump", "outside/last.dump"], &dump),
        (&["outside/first.list", "outside/last.list"], &list),
        (&["outside/first.numbers", "outside/last.numbers"], &numbers),
        (&["outside/first.json", "outside/last.json"], &json),
        (&["outside/first.base64", "outside/last.base64"], &base64),
        (&["outside/first.base64url", "outside/last.base64url"], &base64url),
    ];
    for (places, write) in forms {
        for place in places {
            let value = leaks.at(place);
            let bytes = value.as_bytes();
            let part = if place.contains("first") {
                &bytes[..20]
            } else {
                &bytes[bytes.len() - 20..]
            };
            fs::write(leaks.host.whole().join(place), write(part)).unwrap();
        }
    }
}

/// A row of the journal, and one that is in the write-ahead log alone while somebody has the database open.
fn database(leaks: &mut Leaks) -> Connection {
    let file = leaks.host.file("state/keywheel.db");
    let into =
        "INSERT INTO outbox (topic, key, body, created, not_before, attempts) VALUES ('', '', ?1, 0, 0, 0)";
    let value = leaks.at("rows of outbox");
    let database = Connection::open(&file).unwrap();
    // JSON in JSON, and longer than a page.
    let inner = serde_json::json!({ "padding": "x".repeat(4000), "state": value }).to_string();
    database
        .execute(into, [serde_json::json!({ "body": inner }).to_string()])
        .unwrap();
    drop(database);
    let held = Connection::open(&file).unwrap();
    held.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    let value = leaks.at("host/state/keywheel.db-wal");
    held.execute(into, [value]).unwrap();
    held
}

/// Arguments and environment, of a command and of what that starts; a temporary file that is gone again; a process whose memory may be written.
fn processes(leaks: &mut Leaks) -> Vec<Started> {
    // In the arguments of a child of it alone.
    let value = leaks.at("arguments of `sh -c sh -c 'read x'");
    let mut parent = Command::new("sh");
    parent
        .args(["-c", "sh -c 'read x' \"$PLANTED\"; true"])
        .env("PLANTED", value);
    let first = leaks.host.start(&mut parent);
    let value = leaks.at("environment of `prlimit");
    let mut child = Command::new("prlimit");
    child
        .args(["--core=unlimited", "--", "sh", "-c", "read x"])
        .env("PLANTED", value);
    let second = leaks.host.start(&mut child);
    until("a process whose memory may be written is told", || {
        may_dump(second.child.id())
    });
    let value = leaks.at("temporary file gone while it was there");
    let file = leaks.host.whole().join("temporary/gone");
    fs::File::create(&file)
        .unwrap()
        .write_all(value.as_bytes())
        .unwrap();
    for place in ["arguments of `sh -c sh -c", "temporary file gone"] {
        until(place, || {
            let traces = leaks.host.traces();
            let search = Search::of(
                leaks
                    .planted
                    .iter()
                    .map(|(value, place)| (*place, value.as_bytes())),
            );
            keywheel_e2e::places(&search, &traces)
                .keys()
                .any(|(at, _)| at.starts_with(place))
        });
    }
    fs::remove_file(file).unwrap();
    vec![first, second]
}

/// What the servers keep.
fn targets(leaks: &mut Leaks) {
    let servers = servers();
    let value = leaks.at(LOG);
    let unseen = "SET pg_stat_statements.track = 'none'";
    let statement = format!("{unseen}; SELECT '{value}' IS NULL");
    servers.postgres.sql(&statement).unwrap();
    // A constant is not kept, a name is.
    let value = leaks.at(STATEMENTS).replace('"', "\"\"");
    let statement = format!("SET log_statement = 'none'; SELECT 1 AS \"{value}\"");
    servers.postgres.sql(&statement).unwrap();
    for place in [SLOWLOG, MONITOR] {
        let value = leaks.at(place);
        let set = format!(
            "*3\r\n$3\r\nSET\r\n$7\r\nplanted\r\n${}\r\n{value}\r\n",
            value.len()
        );
        assert!(ask(&servers.redis, &set).starts_with("+OK"));
    }
}
