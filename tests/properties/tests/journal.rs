//! Rows of the journal and of the audit trail, as they come back from the disk: a run's state, its intents, rows and checkpoints of the trail.

#![allow(clippy::expect_used, reason = "a test may stop")]

#[path = "inputs/states.rs"]
mod states;

use std::sync::Arc;

use keywheel_audit::{
    Checkpoint, Entry, Exported, Fault, Hash, PublicKey, Row, Signer, genesis, link, verify,
};
use keywheel_model::{Clock, RunId, SecretBytes, StepName, Timestamp};
use keywheel_properties::{any_text, budget, edited, edited_bytes, json_text};
use keywheel_store::{DATABASE, Intent, LeaseKey, LeaseRequest, NewRun, Options, Store};
use keywheel_workflow::{State, step};
use proptest::collection::vec;
use proptest::prelude::*;
use rusqlite::{Connection, params};

use crate::states::{NOW, answers, states};

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// A number of a state becomes the greatest of its kind, or another.
fn other_numbers() -> impl Strategy<Value = String> {
    let number = prop_oneof![Just(u64::MAX), Just(u64::from(u32::MAX)), Just(0), any::<u64>()];
    (
        proptest::sample::select(states()),
        vec((any::<u16>(), number), 1..4),
    )
        .prop_map(|(text, changes)| {
            let mut state: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            for (at, number) in changes {
                let mut places = Vec::new();
                numbers(&state, String::new(), &mut places);
                let place = &places[usize::from(at) % places.len()];
                if let Some(there) = state.pointer_mut(place) {
                    *there = number.into();
                }
            }
            state.to_string()
        })
}

fn numbers(value: &serde_json::Value, at: String, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Number(_) => found.push(at),
        serde_json::Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| numbers(value, format!("{at}/{key}"), found)),
        _ => {}
    }
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let entry = (
        any_text(),
        any_text(),
        any_text(),
        any_text(),
        proptest::option::of(any::<u64>()),
        json_text(),
    );
    let entry = entry.prop_map(|(actor, action, resource, outcome, run, details)| {
        let entry = Entry::of_host(action, resource, outcome).by(actor).with(details);
        run.map_or(entry.clone(), |run| entry.in_run(&RunId::from_number(run)))
    });
    vec(entry, 1..8)
}

fn chained(entries: &[Entry], key: Option<&SecretBytes>) -> Vec<Row> {
    let mut prev = genesis("store");
    let rows = (1..).zip(entries).map(|(seq, entry)| {
        let row = link(prev, seq, NOW, entry, key);
        prev = row.hash;
        row
    });
    rows.collect()
}

/// One field of one row is another, or a row is gone, there twice, or in another place.
fn altered(mut rows: Vec<Row>, at: usize, how: u8, with: &str) -> (Vec<Row>, usize) {
    let at = at % rows.len();
    let row = &mut rows[at];
    match how {
        0 => row.actor.push_str(with),
        1 => row.action.insert_str(0, with),
        2 => row.resource = format!("{with}{}", row.outcome),
        3 => row.details.push_str(with),
        4 => row.run = row.run.as_ref().map_or_else(|| Some(with.to_owned()), |_| None),
        5 => row.at = Timestamp::from_unix_ms(row.at.as_unix_ms() + 1),
        6 => row.hash.0[at % 32] ^= 1,
        7 => row.prev.0[at % 32] ^= 1,
        8 => drop(rows.remove(at)),
        9 => rows.insert(at, rows[at].clone()),
        _ => rows.swap(0, at),
    }
    (rows, at)
}

fn checkpoint(text: &str, seq: u64, hash: [u8; 32], at: u64) -> Checkpoint {
    Checkpoint {
        store: text.to_owned(),
        seq,
        hash: Hash(hash),
        at: Timestamp::from_unix_ms(at),
    }
}

proptest! {
    #![proptest_config(budget(512))]

    #[test]
    fn a_state_that_is_read_is_written_as_the_same_and_the_machine_goes_on(text in prop_oneof![edited(states()), other_numbers()]) {
        let Ok(mut state) = serde_json::from_str::<State>(&text) else {
            return Ok(());
        };
        let again = serde_json::to_string(&state).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<State>(&again).ok(), Some(state.clone()));
        for event in answers(state.op) {
            let next = step(&state, &event, NOW);
            prop_assert!(next.notes.len() < 64);
        }
        state.set_back(std::time::Duration::from_secs(7));
        prop_assert!(state.safety().to_string().ends_with("-valid"));
    }

    #[test]
    fn the_first_row_of_the_trail_that_is_wrong_is_named(entries in entries(), at: usize, how in 0..11_u8, with in "[a-z\"]{1,4}", sealed: bool) {
        let key = sealed.then(|| SecretBytes::copy_of(&[7; 32]));
        let rows = chained(&entries, key.as_ref());
        let report = verify(&rows, "store", key.as_ref(), &[]).expect("sound");
        prop_assert_eq!(report.rows, u64::try_from(rows.len()).expect("few"));
        for row in &rows {
            let text = serde_json::to_string(row).expect("JSON");
            prop_assert_eq!(&serde_json::from_str::<Row>(&text).expect("a row"), row);
        }
        let whole = rows.clone();
        let head = checkpoint("store", report.rows, report.head.0, 1);
        let (rows, at) = altered(rows, at, how, &with);
        if rows == whole {
            return Ok(());
        }
        let Err(keywheel_audit::Error::Broken { seq, fault }) = verify(&rows, "store", key.as_ref(), &[head]) else {
            return Err(TestCaseError::fail("what was altered is believed"));
        };
        let expected = match how {
            // The row itself is sound: it is the next one, or the end, that tells.
            9 => at + 2,
            10 => 1,
            _ => at + 1,
        };
        prop_assert_eq!(usize::try_from(seq).expect("few"), expected, "{}", fault);
        prop_assert!(how != 8 || [Fault::Missing, Fault::Truncated].contains(&fault));
    }

    #[test]
    fn a_checkpoint_is_what_was_signed_or_refused(store in "[0-9a-f]{32}", seq: u64, hash: [u8; 32], at: u64, seed: [u8; 32], share: u16, text in any_text()) {
        let signer = Signer::from_seed(&SecretBytes::copy_of(&seed)).expect("key");
        let signed = checkpoint(&store, seq, hash, at);
        let file = signer.export(&signed);
        let read = Exported::read(&file).expect("read");
        prop_assert_eq!(read.trusting(signer.public_key()).expect("trusted"), signed.clone());
        prop_assert_eq!(signer.public_key().to_pem().parse::<PublicKey>().expect("PEM"), signer.public_key());
        let json = serde_json::to_string(&signed).expect("JSON");
        prop_assert_eq!(Exported::read(&json).expect("of before").checkpoint, signed.clone());
        for file in [text, String::from_utf8_lossy(&keywheel_properties::flipped(file.as_bytes(), share, 0)).into_owned()] {
            if let Ok(read) = Exported::read(&file) {
                prop_assert!(read.signed_by.is_none() || read.checkpoint == signed, "another one is believed");
            }
        }
    }

    #[test]
    fn a_checkpoint_that_was_edited_is_the_same_or_refused(file in edited(vec![Signer::from_seed(&SecretBytes::copy_of(&[7; 32])).expect("key").export(&checkpoint("5f0c", 42, [9; 32], 1_795_571_930_000))])) {
        match Exported::read(&file) {
            Ok(read) => prop_assert_eq!(read.checkpoint, checkpoint("5f0c", 42, [9; 32], 1_795_571_930_000)),
            Err(error) => prop_assert!(["audit.checkpoint", "audit.signature"].contains(&error.code()), "{}", error),
        }
        let _ = file.parse::<PublicKey>();
    }
}

fn intent(run: &RunId, fence: keywheel_model::Fence) -> Intent {
    Intent {
        run: run.clone(),
        step: StepName::Apply,
        attempt: 1,
        seq: 1,
        kind: "sql.execute".to_owned(),
        destination: "db:5432".to_owned(),
        secrets: vec!["ver-1".to_owned()],
        session: Some("{}".to_owned()),
        fence,
    }
}

proptest! {
    #![proptest_config(budget(32))]

    #[test]
    fn a_row_of_the_journal_that_was_altered_is_told_or_as_it_was_written(
        column in proptest::sample::select(vec![("intent", "step"), ("intent", "secrets"), ("intent", "run"), ("run", "rotation"), ("run", "secret"), ("run", "id"), ("meta", "value")]),
        with in prop_oneof![any_text().prop_map(String::into_bytes), edited_bytes(vec![b"apply".to_vec(), b"[\"ver-1\"]".to_vec(), b"db".to_vec()])],
    ) {
        let dir = tempfile::tempdir().expect("directory");
        let open = || Store::open(&dir.path().join("state"), Options::new(Arc::new(Still)));
        let run = RunId::from_number(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let of = run.clone();
        let written = runtime.block_on(open().expect("store").write(move |tx| {
            tx.begin_run(&NewRun { id: of.clone(), rotation: "db".parse().expect("name"), secret: "app/db".parse().expect("name"), principal: "p".to_owned(), state: "{}".to_owned() })?;
            let keys = vec![LeaseKey::Principal("p".to_owned())];
            let fence = tx.acquire_leases(&LeaseRequest { run: of.clone(), holder: "h".to_owned(), keys, until: NOW + std::time::Duration::from_secs(9) })?;
            tx.append_intent(&intent(&of, fence))?;
            Ok::<_, keywheel_store::Error>(fence)
        })).expect("written");
        let database = Connection::open(dir.path().join("state").join(DATABASE)).expect("database");
        let guard: String = database.query_row("SELECT sql FROM sqlite_schema WHERE name = 'intent_no_update'", [], |row| row.get(0)).expect("guard");
        database.execute_batch("PRAGMA foreign_keys = OFF; DROP TRIGGER intent_no_update;").expect("by hand");
        let (table, name) = column;
        let row = if table == "meta" { " WHERE key = 'epoch'" } else { "" };
        database.execute(&format!("UPDATE {table} SET {name} = CAST(?1 AS TEXT){row}"), params![with]).expect("altered");
        database.execute_batch(&guard).expect("guarded again");
        drop(database);
        let known = ["store.unreadable", "store.sql", "store.damaged"];
        let store = match open() {
            Ok(store) => store,
            Err(error) => {
                prop_assert!(known.contains(&error.code()), "{}", error);
                return Ok(());
            }
        };
        let of = run.clone();
        match runtime.block_on(store.read(move |reader| reader.intents(&of))) {
            Ok(rows) => for row in rows {
                let Intent { step, secrets, .. } = intent(&run, written);
                prop_assert!(row.intent.run == run && (row.intent.step == step || table == "intent"));
                prop_assert!(row.intent.secrets == secrets || name == "secrets");
            },
            Err(error) => prop_assert!(known.contains(&error.code()), "{}", error),
        }
        if let Err(error) = runtime.block_on(store.read(|reader| Ok::<_, keywheel_store::Error>((reader.runs(None, 10)?, reader.epoch()?)))) {
            prop_assert!(known.contains(&error.code()), "{}", error);
        }
    }
}
