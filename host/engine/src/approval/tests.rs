//! What somebody says of a run that waits, and whether it counts.

use super::*;

fn run(finished: bool) -> Run {
    let at = Timestamp::from_unix_ms(1);
    Run {
        id: RunId::fresh(at),
        rotation: "app".parse().unwrap(),
        secret: "app/db".parse().unwrap(),
        principal: String::new(),
        state: String::new(),
        version: 1,
        started: at,
        updated: at,
        finished: finished.then_some(at),
        outcome: finished.then(|| "failed".to_owned()),
    }
}

fn asked() -> Asked {
    let plan = json!({"steps": ["apply"]});
    Asked {
        digest: digest_of(&plan),
        plan,
        since: Timestamp::from_unix_ms(1),
        until: Some(Timestamp::from_unix_ms(1000)),
        approved: None,
        denied: None,
    }
}

#[test]
fn what_is_said_counts_of_that_plan_in_time_once_and_by_somebody_else_who_may() {
    let said = |asked: Option<Asked>, plan: &str, by: &str, may: bool, now: u64| {
        let verdict = Verdict::Approve {
            plan: plan.to_owned(),
        };
        let now = Timestamp::from_unix_ms(now);
        let judged = judged(
            asked,
            &run(false),
            &verdict,
            (by, may),
            Some("uid:1".to_owned()),
            now,
        );
        judged.map(|_| ()).map_err(|why| why.code())
    };
    let digest = asked().digest;
    assert_eq!(said(Some(asked()), &digest, "uid:2", true, 2), Ok(()));
    assert_eq!(said(Some(asked()), short(&digest), "uid:2", true, 2), Ok(()));
    assert_eq!(said(None, &digest, "uid:2", true, 2), Err("run.no-approval"));
    assert_eq!(
        said(Some(asked()), &digest, "uid:1", true, 2),
        Err("run.own-approval")
    );
    assert_eq!(
        said(Some(asked()), &digest, "uid:2", false, 2),
        Err("run.not-approver")
    );
    assert_eq!(
        said(Some(asked()), &digest, "uid:2", true, 1000),
        Err("run.approval-late")
    );
    for other in [
        "",
        &digest[..8],
        "0123456789abcdef",
        &digest.to_uppercase(),
        &format!("{digest}0"),
    ] {
        assert_eq!(
            said(Some(asked()), other, "uid:2", true, 2),
            Err("run.other-plan"),
            "{other}"
        );
    }
    let mut twice = asked();
    let by = "uid:3".to_owned();
    twice.approved = Some(Said { by, reason: None });
    assert_eq!(said(Some(twice), &digest, "uid:2", true, 2), Err("run.approved"));
}

#[test]
fn whoever_asked_may_take_it_back_and_a_run_that_is_over_hears_nobody() {
    let now = Timestamp::from_unix_ms(2);
    let deny = |run: &Run, by: &str, may| {
        let judged = judged(
            Some(asked()),
            run,
            &Verdict::Deny,
            (by, may),
            Some("uid:1".to_owned()),
            now,
        );
        judged.map(|_| ()).map_err(|why| why.code())
    };
    assert_eq!(deny(&run(false), "uid:1", false), Ok(()));
    assert_eq!(deny(&run(false), "uid:2", false), Err("run.not-approver"));
    assert_eq!(deny(&run(true), "uid:1", true), Err("run.over"));
}
