//! A host that runs, and what is written to its outbox.

use std::fs;
use std::os::unix::net::UnixStream;

use keywheel_e2e::{Host, Output, Started, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Far ahead, so that it is the same in every run and never too old to be told.
pub(crate) const AT: u64 = 4_102_444_800_000;

/// A host that runs; killed when a test panics.
pub(crate) struct Serving<'h> {
    host: &'h Host,
    pub(crate) started: Option<Started>,
}

impl<'h> Serving<'h> {
    pub(crate) fn start(host: &'h Host) -> Self {
        let started = Some(host.start(&mut host.command(&["serve"])));
        until("it listens", || {
            UnixStream::connect(host.file("state/socket")).is_ok()
        });
        Self { host, started }
    }

    /// Ended as a service manager does.
    #[track_caller]
    pub(crate) fn ends(mut self) -> Output {
        let started = self.started.take().unwrap();
        kill_process(Pid::from_child(&started.child), Signal::TERM).unwrap();
        self.host.wait(started).ends(0)
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        if let Some(started) = &mut self.started {
            let _ = started.child.kill();
            let _ = started.child.wait();
        }
    }
}

/// As if the host had written these to its outbox: topic, key, body.
pub(crate) fn write(host: &Host, notices: &[(&str, &str, Value)]) {
    let mut database = rusqlite::Connection::open(host.file("state/keywheel.db")).unwrap();
    database.busy_timeout(std::time::Duration::from_mins(1)).unwrap();
    let transaction = database.transaction().unwrap();
    for (topic, key, body) in notices {
        let sql = "INSERT INTO outbox (topic, key, body, created, not_before, attempts) VALUES (?1, ?2, ?3, ?4, 0, 0)";
        let row = rusqlite::params![topic, key, body.to_string(), AT];
        let _ = transaction.execute(sql, row).unwrap();
    }
    transaction.commit().unwrap();
}

/// Puts lines before the configuration's own.
pub(crate) fn configure_first(host: &Host, lines: &str) {
    let file = host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{lines}\n{text}")).unwrap();
}

/// What `notify list` has of a sink.
pub(crate) fn sink(host: &Host, name: &str) -> Value {
    let listed = host.run(&["notify", "list", "-o", "json"], "").json();
    let mut sinks = listed.as_array().unwrap().iter();
    sinks.find(|sink| sink["name"] == name).cloned().unwrap()
}
