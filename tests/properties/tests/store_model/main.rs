//! The store beside a plain map of what it should hold, over random histories with restarts and writes that are given up.

#![allow(clippy::expect_used, reason = "a test may stop")]

mod model;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keywheel_audit::Entry;
use keywheel_model::{Clock, Effect, Epoch, Fence, RunId, StepName, Timestamp};
use keywheel_properties::budget;
use keywheel_store::{Error, Intent, LeaseKey, LeaseRequest, NewRun, Options, Store, Transaction};
use model::{ACCOUNTS, KEYS, Model, Move, RUNS, WINDOW};
use proptest_state_machine::{StateMachineTest, prop_state_machine};
use tokio::runtime::Runtime;

struct SetClock(AtomicU64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.0.load(Ordering::Relaxed))
    }
}

struct Subject {
    runtime: Runtime,
    dir: tempfile::TempDir,
    clock: Arc<SetClock>,
    store: Option<Store>,
    intents: Vec<u64>,
}

fn open(dir: &Path, clock: &Arc<SetClock>) -> Store {
    let clock: Arc<dyn Clock> = Arc::<SetClock>::clone(clock);
    Store::open(&dir.join("state"), Options::new(clock)).expect("store")
}

fn run(number: u8) -> RunId {
    RunId::from_number(number.into())
}

fn key(number: u8) -> LeaseKey {
    if number == 0 {
        LeaseKey::Principal("account".to_owned())
    } else {
        LeaseKey::Secret(format!("app/{number}").parse().expect("name"))
    }
}

fn request(of: u8, keys: u8, until: u64) -> LeaseRequest {
    LeaseRequest {
        run: run(of),
        holder: "test".to_owned(),
        keys: (0..KEYS).filter(|at| keys >> at & 1 == 1).map(key).collect(),
        until: Timestamp::from_unix_ms(until),
    }
}

fn intent(of: u8, fence: u64, seq: u32) -> Intent {
    Intent {
        run: run(of),
        step: StepName::Apply,
        attempt: 1,
        seq,
        kind: "sql.execute".to_owned(),
        destination: "db:5432".to_owned(),
        secrets: vec!["app/1".to_owned()],
        session: None,
        fence: Fence(fence),
    }
}

fn begin(number: u8) -> NewRun {
    NewRun {
        id: run(number),
        rotation: "db".parse().expect("rotation"),
        secret: "app/1".parse().expect("secret"),
        principal: "account".to_owned(),
        state: "begun".to_owned(),
    }
}

fn effect(applied: bool) -> Effect {
    if applied { Effect::Applied } else { Effect::Maybe }
}

/// What a move is on the store: its number, or 0 where it gives none.
fn perform(tx: &Transaction<'_>, action: &Move, intents: &[u64]) -> Result<u64, Error> {
    match action {
        Move::Begin { run } => tx.begin_run(&begin(*run)).map(|()| 0),
        Move::Save { of, expected, state } => tx.set_run_state(&run(*of), *expected, state),
        Move::Finish { of, word } => tx.finish_run(&run(*of), word).map(|()| 0),
        Move::Acquire { of, keys, until } => tx
            .acquire_leases(&request(*of, *keys, *until))
            .map(|fence| fence.0),
        Move::TakeOver { of, keys, until } => tx.take_over(&request(*of, *keys, *until)).map(|fence| fence.0),
        Move::Renew { of, fence, until } => {
            let until = Timestamp::from_unix_ms(*until);
            tx.renew_leases(&run(*of), Fence(*fence), until).map(|()| 0)
        }
        Move::Extend { of, fence, until } => {
            let until = Timestamp::from_unix_ms(*until);
            tx.extend_effects(&run(*of), Fence(*fence), until).map(|()| 0)
        }
        Move::Release { of, fence } => tx.release_leases(&run(*of), Fence(*fence)).map(|()| 0),
        Move::Spend { account, of, limit } => tx
            .spend_probe(
                &account.to_string(),
                &run(*of),
                *limit,
                Duration::from_millis(WINDOW),
            )
            .map(u64::from),
        Move::Refund { account, of } => tx.refund_probe(&account.to_string(), &run(*of)).map(|()| 0),
        Move::Intend { of, fence, seq } => tx.append_intent(&intent(*of, *fence, *seq)),
        Move::Outcome { at, applied } => match intents.get(*at) {
            Some(id) => tx.append_outcome(*id, effect(*applied), "ok").map(|()| 0),
            None => Ok(0),
        },
        Move::Audit { resource } => tx.audit(&Entry::of_host("test.write", resource, "ok")),
        Move::RaiseEpoch => tx.raise_epoch().map(|epoch| epoch.0.into()),
        Move::Wait { .. } | Move::Restart | Move::GivenUp(_) => Ok(0),
    }
}

impl Subject {
    fn store(&self) -> &Store {
        self.store.as_ref().expect("open")
    }

    fn write(&self, action: Move, give_up: bool) -> Result<u64, Error> {
        let intents = self.intents.clone();
        let change = move |tx: &Transaction<'_>| {
            let done = perform(tx, &action, &intents);
            if give_up {
                // Whatever was written before this is undone with it.
                return Err(Error::Overloaded);
            }
            done
        };
        self.runtime.block_on(self.store().write(change))
    }
}

impl StateMachineTest for Subject {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(model: &Model) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let clock = Arc::new(SetClock(AtomicU64::new(model.now)));
        let store = Some(open(dir.path(), &clock));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime");
        Self {
            runtime,
            dir,
            clock,
            store,
            intents: Vec::new(),
        }
    }

    fn apply(mut subject: Self, model: &Model, action: Move) -> Self {
        match action {
            Move::Wait { .. } => subject.clock.0.store(model.now, Ordering::Relaxed),
            Move::Restart => {
                subject.store = None;
                subject.store = Some(open(subject.dir.path(), &subject.clock));
            }
            Move::GivenUp(action) => {
                let undone = subject.write(*action, true).expect_err("given up");
                assert_eq!(undone.code(), "store.overloaded");
            }
            action => {
                let intended = matches!(action, Move::Intend { .. });
                let shown = format!("{action:?}");
                let done = subject.write(action, false);
                let answer = done
                    .as_ref()
                    .map_or_else(|error| Err(error.code()), |number| Ok(*number));
                if intended {
                    subject.intents.extend(answer.ok());
                    assert_eq!(Some(answer.map(|_| 0)), model.answer, "{shown}");
                } else {
                    assert_eq!(Some(answer), model.answer, "{shown}");
                }
                if let (Err(Error::BudgetSpent { free_at, .. }), Some(expected)) = (done, model.free_at) {
                    assert_eq!(free_at.as_unix_ms(), expected, "{shown}");
                }
            }
        }
        subject
    }

    fn check_invariants(subject: &Self, model: &Model) {
        let held = subject.runtime.block_on(subject.store().read(|reader| {
            let verified = reader.audit_verify(None, &[])?.expect("a sound trail");
            let mut held = Model {
                now: reader.now().as_unix_ms(),
                epoch: reader.epoch()?.0,
                audit: verified.rows,
                ..Model::default()
            };
            for row in reader.runs(None, 1_000)? {
                let number = (0..RUNS).find(|number| run(*number) == row.id).expect("known");
                let ended = row.finished.map(Timestamp::as_unix_ms).zip(row.outcome);
                held.runs
                    .insert(number, (row.state, row.version, row.updated.as_unix_ms(), ended));
            }
            for number in 0..KEYS {
                let Some(lease) = reader.lease(&key(number))? else {
                    continue;
                };
                let holder = lease
                    .run
                    .map(|holder| (0..RUNS).find(|of| run(*of).as_str() == holder).expect("known"));
                held.leases.insert(
                    number,
                    (
                        holder,
                        lease.fence.0,
                        lease.until.as_unix_ms(),
                        lease.effects_until.as_unix_ms(),
                    ),
                );
            }
            for account in 0..ACCOUNTS {
                let window = Duration::from_millis(WINDOW);
                held.spent
                    .insert(account, reader.probes(&account.to_string(), window)?);
            }
            for of in 0..RUNS {
                for row in reader.intents(&run(of))? {
                    assert_eq!(row.intent, intent(of, row.intent.fence.0, row.intent.seq));
                    assert_eq!(
                        row.epoch,
                        Epoch(u32::try_from(row.intent.fence.0 >> 40).expect("epoch"))
                    );
                    let outcome = row.outcome.map(|outcome| outcome.effect == Effect::Applied);
                    held.intents
                        .insert((of, row.intent.seq), (row.intent.fence.0, outcome));
                }
            }
            Ok::<_, Error>(held)
        }));
        assert_eq!(held.expect("read"), model.visible());
    }
}

prop_state_machine! {
    #![proptest_config(budget(48))]

    #[test]
    fn the_store_holds_what_a_plain_map_holds(sequential 1..60 => Subject);
}
