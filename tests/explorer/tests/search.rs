//! Every history of every class of slots: with at most three faults of all kinds for one host, with two where its run puts an older value back, and
//! with two crashes or takeovers for two hosts on one vault; with and without compare-and-set. Complete within that bound: nothing is sampled. Class C
//! is searched three times: with consumers that hold two, with the gap that its only slot makes, and with two accounts used in turn.
//!
//! Each row is searched by one thread, as many at once as there are processors. What each invariant says, and that its check can fail, is in
//! `invariants.rs`; that each rule is needed, in `mutants.rs`.
#![allow(
    clippy::expect_used,
    clippy::format_push_string,
    reason = "a test and its table"
)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use keywheel_explorer::print;
use keywheel_explorer::scene::{Kinds, Scene, Wrong};
use keywheel_explorer::search::{Found, explain, search};
use keywheel_model::{SlotClass, Strategy, Trigger};

/// A row of the table.
struct Row {
    class: String,
    scene: Scene,
}

impl Row {
    /// How many faults of which kinds one history has.
    fn faults(&self) -> String {
        let Scene { faults, kinds, .. } = self.scene;
        let all_but_one = Kinds {
            beyond_deadline: true,
            ..kinds
        };
        let kinds = match kinds {
            Kinds::ALL => "all",
            Kinds::TAKEOVER => "crash",
            _ if all_but_one == Kinds::ALL => "all (*)",
            _ => "some",
        };
        format!("{faults} {kinds}")
    }

    fn line(&self, found: &Found) -> String {
        let Scene {
            workers, weak_vault, ..
        } = self.scene;
        format!(
            "{:<9} {workers:<5} {:<5} {:<9} {:>8} {:>11} {:>5} {:>10}\n",
            self.class,
            if weak_vault { "weak" } else { "cas" },
            self.faults(),
            found.states,
            found.transitions,
            found.depth,
            usize::from(found.violation.is_some())
        )
    }
}

/// Each class on both vaults.
fn rows(base: impl Fn(SlotClass) -> Scene) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |class: String, scene: Scene| {
        rows.extend([scene.clone(), scene.weak()].map(|scene| Row {
            class: class.clone(),
            scene,
        }));
    };
    for class in SlotClass::ALL {
        add(format!("{class:?}"), base(class));
        if class == SlotClass::C {
            add("C gap".to_owned(), with_gap(base(class)));
            add("C in turn".to_owned(), in_turn(base(class)));
        }
    }
    rows
}

/// Consumers hold one credential, and nothing but the deadline ends a late statement.
fn with_gap(scene: Scene) -> Scene {
    Scene {
        announce: false,
        ends_sessions: false,
        ..scene
    }
}

/// Two accounts, one in use. The statement that clears an account after a rollback or a revocation clears whatever it holds: where the server keeps
/// no deadline (rules P1, P7) it may come after a later run has put its own credential there, and no protocol survives that. So this server keeps it.
fn in_turn(scene: Scene) -> Scene {
    Scene {
        strategy: Strategy::TwoSlot,
        kinds: Kinds {
            beyond_deadline: false,
            ..scene.kinds
        },
        ..with_gap(scene)
    }
}

/// Of a run that puts an older value back: its steps from the proof on are those of any run, which three faults hit.
const GOING_BACK_FAULTS: u8 = 2;

/// Of a secret of two names: the second one is written after the first in one step, which is all that is new.
const NAMED_FAULTS: u8 = 2;

/// What the words of the column `faults` stand for.
const LEGEND: &str = "\
all: crash before and after every effect and every journal write; fails without effect, reply lost, error although applied, request lost, delivered
  twice, lands late, also after its deadline (*: not where the server keeps it); value bent by the target; cancel, rollback, given up, grant withdrawn;
  changed by hand on the target, secret written by hand, target restored, vault restored (cas), host's disk lost (weak). Answers to parked runs are
  free: all that the product takes in the first of a history, then what the way out says
crash: crash as above; a host that stands still, with or without its effect on its way, and is taken over: that counts as one. A lease lapses before
  what was sent under it can no longer land
";

fn explore(title: &str, rows: &[Row]) {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(vec![None; rows.len()]);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((place, row)) =
                    rows.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed))
                {
                    let one = search(&row.scene, Wrong::default());
                    found.lock().expect("no thread panics with it")[place] = Some(one);
                }
            });
        }
    });
    let found = found.into_inner().expect("no thread has panicked");
    let mut table = format!(
        "\n{title}\n{:<9} {:<5} {:<5} {:<9} {:>8} {:>11} {:>5} {:>10}\n",
        "class", "hosts", "vault", "faults", "states", "transitions", "depth", "violations"
    );
    let mut violations = String::new();
    for (row, found) in rows.iter().zip(&found) {
        let found = found.as_ref().expect("every row was searched");
        table.push_str(&row.line(found));
        if let Some((violation, way)) = &found.violation {
            let history = explain(&row.scene, Wrong::default(), way);
            violations.push_str(&format!("{}: {violation:?}\n{history}", row.line(found)));
        }
    }
    let count = |of: fn(&Found) -> usize| found.iter().flatten().map(of).sum::<usize>();
    table.push_str(&format!(
        "{:<31} {:>8} {:>11} {:>16}\n",
        "together",
        count(|found| found.states),
        count(|found| found.transitions),
        count(|found| usize::from(found.violation.is_some()))
    ));
    table.push_str(LEGEND);
    table.push_str(
        "gap of C: consumers that hold one credential are refused from apply until they have read the promoted version, at most their staleness \
         after promote; no other class has one\n",
    );
    print(&table);
    assert!(violations.is_empty(), "{violations}");
}

#[test]
fn one_host_with_three_faults_of_all_kinds_violates_nothing() {
    let rows = rows(|class| Scene::one("one", class));
    assert!(
        rows.iter()
            .all(|row| row.scene.faults == 3 && row.scene.workers == 1)
    );
    let less: Vec<_> = rows
        .iter()
        .filter(|row| row.scene.kinds != Kinds::ALL)
        .map(|row| row.class.as_str())
        .collect();
    assert_eq!(less, ["C in turn"; 2], "every other row has faults of all kinds");
    explore("one host, three faults of all kinds", &rows);
}

/// A vault without a transaction over names, and another name that shows the value in a form of its own.
#[test]
fn a_secret_of_two_names_violates_nothing() {
    let mut rows = Vec::new();
    for scene in [
        Scene::one("named", SlotClass::A),
        Scene::one("named", SlotClass::B),
        Scene::one("named", SlotClass::C),
        Scene::one("named", SlotClass::D),
    ] {
        let class = format!("{:?}", scene.class);
        let scene = Scene {
            faults: NAMED_FAULTS,
            ..scene.named_twice()
        };
        if scene.class == SlotClass::C {
            rows.push(row("C gap", with_gap(scene.clone())));
            rows.push(row("C in turn", in_turn(scene.clone())));
        }
        rows.push(row(&class, scene));
    }
    for class in [SlotClass::A, SlotClass::B, SlotClass::C] {
        rows.push(row(
            &format!("{class:?}"),
            Scene::two("named", class).named_twice(),
        ));
    }
    explore("a secret of two names", &rows);
}

fn row(class: &str, scene: Scene) -> Row {
    Row {
        class: class.to_owned(),
        scene,
    }
}

/// An older value is put back: what the vault has of it, revoked, and the pending version with the same value are two names of one credential.
#[test]
fn a_run_that_puts_an_older_value_back_violates_nothing() {
    let back = |class| Scene {
        trigger: Trigger::Rollback,
        faults: GOING_BACK_FAULTS,
        ..Scene::one("back", class)
    };
    let rows = [
        row("A", back(SlotClass::A)),
        row("B", back(SlotClass::B)),
        row("C", back(SlotClass::C)),
        row("C gap", with_gap(back(SlotClass::C))),
    ];
    explore("one host that puts an older value back", &rows);
}

#[test]
fn two_hosts_with_two_crashes_or_takeovers_violate_nothing() {
    let rows = rows(|class| Scene::two("two", class));
    explore("two hosts, two crashes or takeovers", &rows);
}
