use std::sync::Arc;
use std::time::Duration;

use keywheel_model::{Effect, Fence, RunId, Timestamp};
use keywheel_store::{Due, Error, LeaseKey, LeaseRequest, Options, Store, Topics, Transaction};

use crate::{BEGIN, SetClock, in_seconds, intent, lease, open, run};

fn moving(dir: &std::path::Path) -> (Store, Arc<SetClock>) {
    let clock = Arc::new(SetClock::default());
    (
        Store::open(dir, Options::new(Arc::clone(&clock) as Arc<_>)).expect("store"),
        clock,
    )
}

#[tokio::test]
async fn a_state_changes_only_from_the_version_that_was_read() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    let id = RunId::from_number(1);
    let done = store.write(move |tx| {
        tx.begin_run(&run(1))?;
        assert!(matches!(tx.begin_run(&run(1)), Err(Error::Conflict { .. })));
        assert_eq!(tx.set_run_state(&id, 1, "two")?, 2);
        match tx.set_run_state(&id, 1, "lost") {
            Err(Error::StateConflict {
                expected: 1,
                found: 2,
                ..
            }) => {}
            other => panic!("expected a conflict, got {other:?}"),
        }
        assert_eq!(tx.run(&id)?.expect("there").state, "two");
        assert_eq!(tx.open_runs()?.len(), 1);
        let secret = run(1).secret;
        assert_eq!(tx.open_run_of(&secret)?.as_ref(), Some(&id));
        assert_eq!(tx.open_run_of(&"other/secret".parse().expect("a name"))?, None);
        tx.finish_run(&id, "done")?;
        tx.finish_run(&id, "done")?;
        assert!(matches!(
            tx.finish_run(&id, "failed"),
            Err(Error::Conflict { .. })
        ));
        assert!(tx.open_runs()?.is_empty());
        assert_eq!(tx.open_run_of(&secret)?, None);
        tx.set_run_state(&id, 2, "late work")
    });
    assert_eq!(done.await.expect("all of it"), 3);
}

/// A run that was begun while the clock stood a day behind has the smallest id of its rotation.
#[tokio::test]
async fn the_open_run_of_a_rotation_comes_first_whatever_the_clock_said() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    let done = store.write(move |tx| {
        for number in [2, 3, 1] {
            tx.begin_run(&run(number))?;
            if number != 1 {
                tx.finish_run(&RunId::from_number(number), "done")?;
            }
        }
        let rotation = run(1).rotation;
        let ids = |runs: Vec<keywheel_store::Run>| runs.into_iter().map(|run| run.id).collect::<Vec<_>>();
        assert_eq!(
            ids(tx.runs(Some(&rotation), 9)?),
            [1, 3, 2].map(RunId::from_number)
        );
        assert_eq!(ids(tx.runs(None, 9)?), [3, 2, 1].map(RunId::from_number));
        Ok::<_, Error>(())
    });
    done.await.expect("all of it");
}

/// What was taken by a clock that stood a day ahead would hold others up for that day.
#[tokio::test]
async fn what_a_clock_left_ahead_of_now_is_brought_back_with_what_was_left_of_it() {
    let dir = tempfile::tempdir().expect("directory");
    let (store, clock) = moving(&dir.path().join("state"));
    let (length, day) = (Duration::from_secs(30), Duration::from_hours(24));
    clock.advance(day);
    let taken = store.write(move |tx| {
        let until = tx.now() + length;
        let fence = tx.acquire_leases(&LeaseRequest {
            until,
            ..lease(1, "a")
        })?;
        tx.extend_effects(&RunId::from_number(1), fence, tx.now() + Duration::from_secs(2))
    });
    taken.await.expect("a lease");
    clock.set_back(day);
    // The second time there is nothing left to mend.
    for _ in 0..2 {
        let seen = store.write(move |tx| {
            let keys = lease(1, "a").keys;
            tx.set_leases_back(&keys, length)?;
            tx.lease(&keys[0])
        });
        let seen = seen.await.expect("read").expect("there");
        assert_eq!((seen.until, seen.effects_until), (in_seconds(30), in_seconds(2)));
        clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn fences_grow_for_ever_and_only_the_last_is_live() {
    let dir = tempfile::tempdir().expect("directory");
    let (store, clock) = moving(&dir.path().join("state"));
    let one = RunId::from_number(1);
    let holder = one.clone();
    let first = store.write(move |tx| {
        let first = tx.acquire_leases(&lease(1, "a"))?;
        let again = tx.acquire_leases(&lease(2, "a")).expect_err("held");
        assert_eq!(again.code(), "store.lease-held");
        assert!(
            tx.acquire_leases(&lease(1, "a")).is_err(),
            "its own needs a takeover"
        );
        tx.extend_effects(&holder, first, in_seconds(30))?;
        Ok::<_, Error>(first)
    });
    let first = first.await.expect("acquire");
    clock.advance(Duration::from_secs(1));
    assert!(
        store.write(|tx| tx.take_over(&lease(2, "a"))).await.is_err(),
        "never by another run"
    );
    let second = store
        .write(|tx| tx.take_over(&lease(1, "a")))
        .await
        .expect("takeover");
    assert!(second > first);
    let key = LeaseKey::Principal("a".to_owned());
    let taken = store.read(move |reader| reader.lease(&key)).await.expect("read");
    assert_eq!(
        taken.map(|lease| lease.effects_until),
        Some(in_seconds(30)),
        "what the dead one began may still land"
    );
    let checked = one.clone();
    let dead = store
        .read(move |reader| reader.check_fence(&checked, first))
        .await
        .expect_err("fenced off");
    assert_eq!(dead.code(), "store.stale-fence");
    let released = one.clone();
    let third = store.write(move |tx| {
        tx.check_fence(&released, second)?;
        tx.release_leases(&released, first)?;
        tx.check_fence(&released, second)?;
        tx.release_leases(&released, second)?;
        assert!(tx.check_fence(&released, second).is_err());
        tx.acquire_leases(&lease(3, "a"))
    });
    assert!(third.await.expect("free") > second);
    drop(store);
    let (store, _clock) = moving(&dir.path().join("state"));
    let fourth = store
        .write(|tx| tx.acquire_leases(&lease(4, "b")))
        .await
        .expect("after reopening");
    assert!(fourth > second);
}

#[tokio::test]
async fn what_no_open_run_answers_for_is_free_when_the_state_is_opened_again() {
    let dir = tempfile::tempdir().expect("directory");
    let dir = dir.path().join("state");
    let store = open(&dir);
    let held = store.write(|tx| {
        // Two commands that died: one had no run, the other's is over. The third one's run can be resumed.
        let first = tx.acquire_leases(&lease(1, "none"))?;
        tx.extend_effects(&RunId::from_number(1), first, in_seconds(30))?;
        tx.begin_run(&run(2))?;
        tx.acquire_leases(&lease(2, "over"))?;
        tx.finish_run(&RunId::from_number(2), "done")?;
        tx.begin_run(&run(3))?;
        tx.acquire_leases(&lease(3, "open"))?;
        assert!(
            tx.acquire_leases(&lease(9, "none")).is_err(),
            "not while it may live"
        );
        Ok::<_, Error>(first)
    });
    let first = held.await.expect("held");
    drop(store);
    let store = open(&dir);
    let key = LeaseKey::Principal("none".to_owned());
    let freed = store
        .read(move |reader| reader.lease(&key))
        .await
        .expect("read")
        .expect("row");
    assert_eq!((freed.run, freed.effects_until), (None, in_seconds(30)));
    let taken = store.write(move |tx| {
        assert!(tx.acquire_leases(&lease(9, "none"))? > first);
        tx.acquire_leases(&lease(9, "over"))?;
        let open = tx.acquire_leases(&lease(9, "open")).expect_err("its run is open");
        assert_eq!(open.code(), "store.lease-held");
        Ok::<_, Error>(())
    });
    taken.await.expect("free");
}

#[tokio::test]
async fn a_lease_that_ran_out_is_dead_until_it_is_renewed() {
    let dir = tempfile::tempdir().expect("directory");
    let (store, clock) = moving(&dir.path().join("state"));
    let fence = store
        .write(|tx| tx.acquire_leases(&lease(1, "a")))
        .await
        .expect("acquire");
    clock.advance(Duration::from_mins(1));
    let check = || store.read(move |reader| reader.check_fence(&RunId::from_number(1), fence));
    assert!(check().await.is_err());
    let renewed = store.write(move |tx| tx.renew_leases(&RunId::from_number(1), fence, in_seconds(120)));
    renewed.await.expect("nobody took it");
    check().await.expect("live again");
    let other = store.write(move |tx| tx.renew_leases(&RunId::from_number(2), fence, in_seconds(120)));
    assert!(other.await.is_err());
}

#[tokio::test]
async fn all_leases_of_a_request_are_taken_or_none() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    let done = store.write(|tx| {
        tx.acquire_leases(&lease(1, "b"))?;
        let mut both = lease(2, "a");
        both.keys.push(LeaseKey::Principal("b".to_owned()));
        assert!(tx.acquire_leases(&both).is_err());
        tx.lease(&LeaseKey::Principal("a".to_owned()))
    });
    assert_eq!(done.await.expect("read"), None);
}

/// Rule P2: what was begun before a restore has no live fence after it.
#[tokio::test]
async fn a_restore_epoch_kills_the_fences_before_it() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    let fence = store
        .write(|tx| tx.acquire_leases(&lease(1, "a")))
        .await
        .expect("acquire");
    let after = store.write(move |tx| {
        assert_eq!(tx.raise_epoch()?.0, 1);
        assert!(tx.check_fence(&RunId::from_number(1), fence).is_err());
        let after = tx.take_over(&lease(1, "a"))?;
        tx.check_fence(&RunId::from_number(1), after)?;
        Ok::<_, Error>(after)
    });
    assert!(
        after.await.expect("takeover").0 > fence.0 + 1_000_000,
        "no fence of a lost state can come again"
    );
}

#[tokio::test]
async fn an_intent_needs_a_live_fence_and_its_outcome_does_not() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    let done = store.write(|tx| {
        tx.begin_run(&run(1))?;
        assert_eq!(
            tx.append_intent(&intent(1, Fence(1), 1))
                .expect_err("no lease")
                .code(),
            "store.stale-fence"
        );
        let fence = tx.acquire_leases(&lease(1, "a"))?;
        let id = tx.append_intent(&intent(1, fence, 1))?;
        assert_eq!(
            tx.append_intent(&intent(1, fence, 1)).expect_err("twice").code(),
            "store.conflict"
        );
        assert_eq!(
            tx.intents(&RunId::from_number(1))?[0].outcome,
            None,
            "it may have taken effect"
        );
        tx.release_leases(&RunId::from_number(1), fence)?;
        tx.append_outcome(id, Effect::Maybe, "net.timeout")?;
        tx.append_outcome(id, Effect::Maybe, "net.timeout")?;
        assert_eq!(
            tx.append_outcome(id, Effect::None, "ok")
                .expect_err("other")
                .code(),
            "store.conflict"
        );
        tx.intents(&RunId::from_number(1))
    });
    let rows = done.await.expect("rows");
    assert_eq!(rows.len(), 1);
    assert_eq!(
        rows[0].outcome.as_ref().map(|outcome| outcome.effect),
        Some(Effect::Maybe)
    );
    assert_eq!(rows[0].intent.secrets, ["app/db"]);
}

/// Rule P14: the budget is the account's, whichever run asks.
#[tokio::test]
async fn probes_of_an_account_are_limited_over_all_runs() {
    let dir = tempfile::tempdir().expect("directory");
    let (store, clock) = moving(&dir.path().join("state"));
    let hour = Duration::from_hours(1);
    let spend =
        |number: u64| store.write(move |tx| tx.spend_probe("db/app", &RunId::from_number(number), 2, hour));
    assert_eq!(spend(1).await.expect("first"), 1);
    clock.advance(Duration::from_mins(1));
    assert_eq!(spend(2).await.expect("second"), 0);
    match spend(3).await {
        Err(Error::BudgetSpent { free_at, .. }) => assert_eq!(free_at, Timestamp::from_unix_ms(BEGIN) + hour),
        other => panic!("expected a spent budget, got {other:?}"),
    }
    clock.advance(Duration::from_mins(59));
    assert_eq!(spend(3).await.expect("the first one is old"), 0);
}

/// A clock that stood a day ahead for a while has made nothing forgotten.
#[tokio::test]
async fn probes_outlive_a_clock_that_jumps_forward_and_back() {
    let dir = tempfile::tempdir().expect("directory");
    let (store, clock) = moving(&dir.path().join("state"));
    let (hour, day) = (Duration::from_hours(1), Duration::from_hours(24));
    let spend =
        |number: u64| store.write(move |tx| tx.spend_probe("db/app", &RunId::from_number(number), 3, hour));
    assert_eq!(spend(1).await.expect("first"), 2);
    assert_eq!(spend(2).await.expect("second"), 1);
    clock.advance(day);
    assert_eq!(spend(3).await.expect("tomorrow"), 2);
    clock.set_back(day);
    spend(4).await.expect_err("two of today and one of tomorrow");
}

/// What a clock has booked that stood a month ahead is waited for no longer than the window: it counts from now on.
#[tokio::test]
async fn probes_of_a_clock_far_ahead_count_from_now_on() {
    let dir = tempfile::tempdir().expect("directory");
    let (store, clock) = moving(&dir.path().join("state"));
    let (hour, month) = (Duration::from_hours(1), Duration::from_hours(30 * 24));
    let spend =
        |number: u64| store.write(move |tx| tx.spend_probe("db/app", &RunId::from_number(number), 1, hour));
    clock.advance(month);
    assert_eq!(spend(1).await.expect("in a month"), 0);
    clock.set_back(month);
    let free = |spent: Result<u32, Error>| match spent {
        Err(Error::BudgetSpent { free_at, .. }) => free_at,
        other => panic!("expected a spent budget, got {other:?}"),
    };
    let begin = Timestamp::from_unix_ms(BEGIN);
    assert_eq!(free(spend(2).await), begin + month + hour);
    let set_back = store.write(move |tx| tx.set_probes_back("db/app", hour));
    set_back.await.expect("set back");
    assert_eq!(free(spend(2).await), begin + hour);
    clock.advance(hour);
    assert_eq!(spend(2).await.expect("an hour later"), 0);
    // One that is ahead by less may be right: the clock of now may be wrong.
    clock.set_back(Duration::from_mins(30));
    let set_back = store.write(move |tx| tx.set_probes_back("db/app", hour));
    set_back.await.expect("nothing to set back");
    assert_eq!(free(spend(3).await), begin + hour + hour);
}

#[tokio::test]
async fn a_run_keeps_its_scratch_state_and_its_first_answers() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    let id = RunId::from_number(1);
    let done = store.write(move |tx| {
        tx.begin_run(&run(1))?;
        tx.set_scratch(&id, "k", b"one")?;
        tx.set_scratch(&id, "k", b"two")?;
        assert_eq!(tx.scratch(&id, "k")?.as_deref(), Some(&b"two"[..]));
        tx.delete_scratch(&id, "k")?;
        assert_eq!(tx.scratch(&id, "k")?, None);
        assert_eq!(
            tx.set_scratch(&id, "k", &vec![0; 1 << 20])
                .expect_err("large")
                .code(),
            "store.limit"
        );
        for n in 0..256 {
            tx.set_scratch(&id, &n.to_string(), b"")?;
        }
        assert_eq!(
            tx.set_scratch(&id, "one more", b"").expect_err("many").code(),
            "store.limit"
        );
        tx.record(&id, "issue", b"answer")?;
        tx.record(&id, "issue", b"answer")?;
        assert_eq!(
            tx.record(&id, "issue", b"other").expect_err("other").code(),
            "store.conflict"
        );
        tx.recorded(&id, "issue")
    });
    assert_eq!(done.await.expect("all of it").as_deref(), Some(&b"answer"[..]));
}

#[tokio::test]
async fn what_is_due_comes_most_urgent_first() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    let done = store.write(|tx| {
        for (name, at, priority) in [
            ("late", 9, 1),
            ("b", 5, 2),
            ("a", 5, 2),
            ("urgent", 5, 1),
            ("first", 3, 9),
        ] {
            let rotation = name.parse().expect("name");
            tx.set_due(&Due {
                rotation,
                next_due: in_seconds(at),
                priority,
                reason: "schedule".to_owned(),
            })?;
        }
        assert_eq!(tx.next_due()?, Some(in_seconds(3)));
        tx.clear_due(&"first".parse().expect("name"))?;
        let due = tx.due(in_seconds(5), 2)?;
        assert_eq!(due.len(), 2, "the limit");
        assert_eq!(
            tx.due_of(&"late".parse().expect("name"))?.map(|due| due.next_due),
            Some(in_seconds(9))
        );
        tx.due(in_seconds(5), 10)
    });
    let due = done.await.expect("due");
    let names: Vec<_> = due.iter().map(|due| due.rotation.as_str()).collect();
    assert_eq!(names, ["urgent", "a", "b"]);
}

#[tokio::test]
async fn a_notification_is_there_until_it_was_delivered_to_everybody() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    let newest = || async {
        let look = |reader: &keywheel_store::Reader<'_>| reader.newest_notification();
        store.read(look).await.expect("newest")
    };
    assert_eq!(newest().await, 0);
    let mut ids = Vec::new();
    for topic in ["alarm", "run.end", "alarm-over", "run.park", "alarm"] {
        let note = move |tx: &Transaction<'_>| tx.notify(topic, "db", &serde_json::json!({"why": "down"}));
        ids.push(store.write(note).await.expect("note"));
    }
    assert_eq!(newest().await, ids[4]);
    let [alarms, others] = [true, false].map(|has| Topics { prefix: "alarm", has });
    let after = |after: u64, topics: Topics, limit: u32| {
        let look =
            move |reader: &keywheel_store::Reader<'_>| reader.notifications_after(after, &topics, limit);
        let found = store.read(look);
        async move {
            found
                .await
                .expect("look")
                .iter()
                .map(|note| note.id)
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(after(0, alarms, 9).await, [ids[0], ids[2], ids[4]]);
    assert_eq!(after(ids[0], alarms, 1).await, [ids[2]]);
    assert_eq!(after(0, others, 9).await, [ids[1], ids[3]]);
    let (from, through) = (ids[0], ids[3]);
    store
        .write(move |tx| tx.delivered(&alarms, from, through))
        .await
        .expect("delivered");
    assert_eq!(after(0, alarms, 9).await, [ids[0], ids[4]]);
    assert_eq!(after(0, others, 9).await, [ids[1], ids[3]], "the others are not");
}
