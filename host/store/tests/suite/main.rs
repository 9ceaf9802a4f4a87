//! The store through its public interface, on real files.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may stop, and says what it skips"
)]

mod child;
mod crash;
mod group;
mod journal;
mod listed;
mod open;
mod retention;
mod trail;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keywheel_audit::Entry;
use keywheel_model::{Clock, Effect, Fence, RunId, StepName, Timestamp};
use keywheel_store::{
    AuditFilter, Error, Intent, LeaseKey, LeaseRequest, NewRun, Options, Store, Transaction,
};

/// Where the tests' clock begins, in milliseconds.
const BEGIN: u64 = 1_000_000;

/// A clock that stands still until it is moved.
#[derive(Default)]
struct SetClock(AtomicU64);

impl SetClock {
    fn advance(&self, span: Duration) {
        self.0
            .fetch_add(u64::try_from(span.as_millis()).expect("short"), Ordering::Relaxed);
    }
}

impl SetClock {
    fn set_back(&self, span: Duration) {
        self.0
            .fetch_sub(u64::try_from(span.as_millis()).expect("short"), Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(BEGIN + self.0.load(Ordering::Relaxed))
    }
}

fn try_open(dir: &Path) -> Result<Store, Error> {
    Store::open(dir, Options::new(Arc::new(SetClock::default())))
}

fn open(dir: &Path) -> Store {
    try_open(dir).expect("store")
}

fn in_seconds(seconds: u64) -> Timestamp {
    Timestamp::from_unix_ms(BEGIN + 1_000 * seconds)
}

fn run(number: u64) -> NewRun {
    NewRun {
        id: RunId::from_number(number),
        rotation: "db".parse().expect("rotation"),
        secret: "app/db".parse().expect("secret"),
        principal: "pg://db:5432/app".to_owned(),
        state: "{}".to_owned(),
    }
}

fn lease(number: u64, key: &str) -> LeaseRequest {
    LeaseRequest {
        run: RunId::from_number(number),
        holder: "test".to_owned(),
        keys: vec![LeaseKey::Principal(key.to_owned())],
        until: in_seconds(60),
    }
}

fn intent(number: u64, fence: Fence, seq: u32) -> Intent {
    Intent {
        run: RunId::from_number(number),
        step: StepName::Apply,
        attempt: 1,
        seq,
        kind: "sql.execute".to_owned(),
        destination: "db:5432".to_owned(),
        secrets: vec!["app/db".to_owned()],
        session: None,
        fence,
    }
}

/// One change that touches run, lease, journal, audit, outbox and scratch state.
fn whole_change(tx: &Transaction<'_>, number: u64) -> Result<(), Error> {
    let run = run(number);
    tx.begin_run(&run)?;
    let fence = tx.acquire_leases(&lease(number, &format!("account-{number}")))?;
    let id = tx.append_intent(&intent(number, fence, 1))?;
    tx.append_outcome(id, Effect::Applied, "ok")?;
    tx.set_scratch(&run.id, "note", &[7; 3_000])?;
    tx.notify("run.done", run.id.as_str(), &serde_json::json!({"run": number}))?;
    tx.audit(&Entry::of_host("run.done", "app/db", "ok").in_run(&run.id))?;
    tx.finish_run(&run.id, "done")
}

/// Which whole changes are there; panics if a part of one is.
async fn whole_changes(store: &Store) -> Vec<u64> {
    let found = store.read(|reader| {
        let runs = reader.runs(None, 1_000)?;
        let mut found = Vec::new();
        for number in 1..1_000 {
            let id = RunId::from_number(number);
            let key = LeaseKey::Principal(format!("account-{number}"));
            let filter = AuditFilter {
                run: Some(id.clone()),
                ..AuditFilter::default()
            };
            let intents = reader.intents(&id)?;
            let parts = [
                runs.iter()
                    .any(|run| run.id == id && run.outcome.as_deref() == Some("done")),
                reader.lease(&key)?.is_some(),
                intents.len() == 1 && intents.iter().all(|row| row.outcome.is_some()),
                reader.scratch(&id, "note")?.is_some(),
                reader
                    .undelivered(1_000)?
                    .iter()
                    .any(|note| note.key == id.as_str()),
                reader.audit_rows(&filter, 10)?.len() == 1,
            ];
            assert!(
                parts.iter().all(|part| *part == parts[0]),
                "change {number} is there in part: {parts:?}"
            );
            if parts[0] {
                found.push(number);
            } else if number > 64 {
                break;
            }
        }
        Ok::<_, Error>(found)
    });
    let found = found.await.expect("read");
    store.check().await.expect("sound pages");
    let verified = store
        .read(|reader| reader.audit_verify(None, &[]))
        .await
        .expect("read")
        .expect("sound trail");
    assert_eq!(verified.rows, u64::try_from(found.len()).expect("few"));
    found
}
