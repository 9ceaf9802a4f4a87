//! What the running host says of itself over HTTP.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use rustix::process::Signal;

use crate::scene::{DEADLINE, Scene, until};

pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// The status and the body.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    (status.parse().unwrap(), body.to_owned())
}

/// The value of a line that begins so.
pub(crate) fn value(text: &str, begins: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(begins))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_running_host_says_how_it_is_and_what_it_has_done() {
    let scene = Scene::new("1s");
    let address = free_address();
    scene.configure_first(&format!("[serve]\nwatch = false\nhttp = \"{address}\"\n"));
    let mut serving = scene.serve();
    assert_eq!(get(address, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get(address, "/readyz"), (200, "ok\n".to_owned()));
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    let _ = scene.run(&["rotate", "nobody"]).ends(23);
    let (status, text) = get(address, "/metrics");
    assert_eq!(status, 200);
    let plugin = r#"keywheel_plugin_name="redis""#;
    let runs = format!("keywheel_rotation_run_duration_seconds_count{{{plugin},");
    assert_eq!(value(&text, &runs), Some(1.0), "{text}");
    let applied = format!(
        "keywheel_rotation_step_duration_seconds_count{{{plugin},keywheel_rotation_step=\"apply\",error_type=\"\"}}"
    );
    assert_eq!(value(&text, &applied), Some(1.0), "{text}");
    assert_eq!(value(&text, "keywheel_rotation_count"), Some(1.0), "{text}");
    assert_eq!(value(&text, "keywheel_vault_sealed"), Some(0.0), "{text}");
    assert_eq!(value(&text, "keywheel_config_generation"), Some(1.0), "{text}");
    let rows = value(&text, "keywheel_audit_events_total").unwrap();
    let searched = scene.run(&["audit", "search", "-o", "json"]).ends(0).json();
    assert!(
        rows > 5.0
            && rows
                <= searched
                    .as_array()
                    .map_or(f64::MAX, |all| f64::from(u32::try_from(all.len()).unwrap())),
        "{rows}"
    );
    assert!(value(&text, "process_resident_memory_bytes").unwrap() > 1e6);
    assert!(!text.contains("app/redis"), "nobody wants secrets named: {text}");

    // What was not taken is counted, and so is what was.
    let file = scene.host.file("keywheel.toml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{good}\nnonsense = 1\n")).unwrap();
    serving.signal(Signal::HUP);
    assert!(serving.started().wait_for("was not taken"));
    fs::write(
        &file,
        good.replacen("[serve]\n", "[serve]\nname_secrets = true\n", 1),
    )
    .unwrap();
    serving.signal(Signal::HUP);
    assert!(serving.started().wait_for("read the configuration again"));
    let (_, text) = get(address, "/metrics");
    assert_eq!(
        value(&text, "keywheel_config_reload_errors_total"),
        Some(1.0),
        "{text}"
    );
    assert_eq!(value(&text, "keywheel_config_generation"), Some(2.0), "{text}");
    let _ = serving.ends();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn what_is_due_is_counted_with_how_late_it_was() {
    let scene = Scene::new("1s");
    let address = free_address();
    scene.configure_first(&format!("[serve]\nhttp = \"{address}\"\nname_secrets = true\n"));
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let named = "name = \"app-redis\"\n";
    fs::write(
        &file,
        text.replacen(named, &format!("{named}schedule = \"@every 2s\"\n"), 1),
    )
    .unwrap();
    let serving = scene.serve();
    until("two were started by themselves", || {
        let (_, text) = get(address, "/metrics");
        value(&text, "keywheel_schedule_lag_seconds_count").is_some_and(|count| count >= 2.0)
    });
    let (_, text) = get(address, "/metrics");
    let renewal = r#"keywheel_secret_renewal_timestamp_seconds{keywheel_secret_name="app/redis"}"#;
    assert!(value(&text, renewal).is_some_and(|at| at > 1.7e9), "{text}");
    assert!(
        value(&text, "keywheel_scheduler_last_tick_timestamp_seconds").is_some_and(|at| at > 1.7e9),
        "{text}"
    );
    let _ = serving.ends();
}

#[test]
fn a_sealed_host_is_alive_and_not_ready() {
    let scene = Scene::new("1s");
    let address = free_address();
    let key = scene.host.file("vault.key");
    fs::rename(&key, scene.host.file("away.key")).unwrap();
    scene.configure_first(&format!("[serve]\nhttp = \"{address}\"\n"));
    let serving = scene.serve();
    assert_eq!(get(address, "/healthz").0, 200);
    let (status, words) = get(address, "/readyz");
    assert_eq!(status, 503);
    assert!(
        words.contains("sealed") && words.contains("keywheel vault unseal"),
        "{words}"
    );
    assert_eq!(
        value(&get(address, "/metrics").1, "keywheel_vault_sealed"),
        Some(1.0)
    );
    let _ = serving.ends();
}

#[test]
fn an_address_for_others_or_one_that_is_taken_is_refused_at_its_place() {
    let scene = Scene::new("1s");
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    for (address, why) in [
        ("0.0.0.0:9464", "can be reached from other machines"),
        ("192.0.2.7:9464", "can be reached from other machines"),
        ("localhost", "is no address with a port"),
        ("9464", "is no address with a port"),
        ("127.0.0.1:0", "names no port that anybody could find"),
    ] {
        fs::write(&file, format!("[serve]\nhttp = \"{address}\"\n\n{text}")).unwrap();
        let _ = scene
            .run(&["serve"])
            .ends(20)
            .says(&[why, "--> keywheel.toml:2", "127.0.0.1:9464"]);
    }
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    fs::write(&file, format!("[serve]\nhttp = \"{address}\"\n\n{text}")).unwrap();
    let _ = scene
        .run(&["serve"])
        .ends(1)
        .says(&["error[http.listen]", "hint: "]);
}

/// For whoever collects logs: each line is one object, whatever says it.
#[test]
fn a_host_can_write_its_lines_as_json() {
    let scene = Scene::new("1s");
    let mut serving = scene.serve_by(&mut scene.host.command(&["serve", "--log", "json", "-v"]));
    let _ = scene.run(&["rotate", "app-redis", "--wait", "0s"]).ends(0);
    until("the old one is revoked", || scene.state() == "succeeded");
    let file = scene.host.file("keywheel.toml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{good}\nnonsense = 1\n")).unwrap();
    serving.signal(Signal::HUP);
    assert!(serving.started().wait_for("was not taken"));
    let ended = serving.ends();
    let lines: Vec<serde_json::Value> = ended
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        for key in ["timestamp", "level"] {
            assert!(line[key].is_string(), "{line}");
        }
    }
    let says = |level: &str, key: &str, words: &str| {
        lines
            .iter()
            .any(|line| line["level"] == level && line[key].as_str().is_some_and(|said| said.contains(words)))
    };
    assert!(says("INFO", "message", "keeps 1 rotation"), "{lines:#?}");
    assert!(says("INFO", "message", "went on"), "{lines:#?}");
    assert!(says("WARN", "message", "was not taken"), "{lines:#?}");
    assert!(
        lines.iter().any(|line| line["error"]["code"] == "config.invalid"),
        "{lines:#?}"
    );
}
