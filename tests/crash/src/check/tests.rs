//! Records with each fault in them, and that it is found; and one without.

use super::*;

const BOUNDS: Bounds = Bounds {
    logins: 2,
    per: 1_000,
    recovery: 10_000,
};

/// A record that is written by hand.
#[derive(Default)]
struct Script {
    entries: Vec<Entry>,
    at: Micros,
    round: u64,
    two_slot: bool,
}

impl Script {
    fn add(&mut self, fact: Fact) -> &mut Self {
        self.at += 10;
        self.entries.push(Entry { at: self.at, fact });
        self
    }

    fn held(&mut self, versions: &[(&str, &str)]) -> &mut Self {
        self.held_beside(versions, None)
    }

    fn held_beside(&mut self, versions: &[(&str, &str)], by_hand: Option<&str>) -> &mut Self {
        let version = |(value, stage): &(&str, &str)| Version {
            id: format!("id-{value}"),
            value: (*value).to_owned(),
            stage: (*stage).to_owned(),
        };
        let two_slot = self.two_slot;
        self.add(Fact::Held {
            subject: "app".to_owned(),
            two_slot,
            versions: versions.iter().map(version).collect(),
            by_hand: by_hand.map(str::to_owned),
        })
    }

    fn round(&mut self, said: &[(&str, Said)]) -> &mut Self {
        self.a_round(said, false)
    }

    fn proof(&mut self, said: &[(&str, Said)]) -> &mut Self {
        self.add(Fact::Recovered).a_round(said, true)
    }

    fn a_round(&mut self, said: &[(&str, Said)], proof: bool) -> &mut Self {
        self.round += 1;
        let round = self.round;
        for (value, said) in said {
            let began = self.at + 5;
            self.add(Fact::Attempt {
                round,
                subject: "app".to_owned(),
                value: (*value).to_owned(),
                began,
                said: *said,
                proof,
            });
        }
        self
    }

    fn change(&mut self, change: u64, phase: Phase) -> &mut Self {
        self.add(Fact::Change {
            change,
            subject: "app".to_owned(),
            phase,
        })
    }

    fn fault(&mut self) -> &mut Self {
        self.add(Fact::Fault {
            what: "SIGKILL".to_owned(),
        })
    }

    fn failed_login(&mut self) -> &mut Self {
        self.add(Fact::HostLogin {
            account: "app".to_owned(),
            refused: true,
        })
    }

    fn found(&self) -> Vec<Kind> {
        let violations = Checker::new(BOUNDS).judge(&self.entries);
        violations.into_iter().map(|violation| violation.kind).collect()
    }
}

use Said::{Accepted, Refused, Unreachable};

/// A rotation of a target with one slot, killed after the change, up to its recovery.
fn one_slot() -> Script {
    let mut script = Script::default();
    script
        .held(&[("old", "current")])
        .round(&[("old", Accepted)])
        .held(&[("new", "pending"), ("old", "current")])
        .round(&[("new", Refused), ("old", Accepted)])
        .change(1, Phase::Sent)
        // In between: neither was tried at the right moment.
        .round(&[("new", Refused), ("old", Refused)])
        .change(1, Phase::Done)
        .fault()
        .round(&[("new", Accepted), ("old", Refused)])
        .held(&[("new", "current"), ("old", "revoked")])
        .proof(&[("new", Accepted), ("old", Refused)]);
    script
}

#[test]
fn a_record_without_a_fault_is_clean() {
    assert_eq!(one_slot().found(), []);
}

#[test]
fn a_quiet_round_in_which_no_held_value_is_accepted_is_a_lockout() {
    let mut script = one_slot();
    script.round(&[("new", Refused), ("old", Refused)]);
    assert_eq!(script.found(), [Kind::Lockout]);
}

#[test]
fn a_value_that_was_not_tried_or_a_server_that_is_away_is_no_lockout() {
    let mut script = one_slot();
    script
        .round(&[("old", Refused)])
        .round(&[("new", Unreachable), ("old", Refused)]);
    assert_eq!(script.found(), []);
}

#[test]
fn a_change_that_has_no_end_makes_no_round_quiet_and_one_that_has_does() {
    let mut script = one_slot();
    script
        .change(2, Phase::Sent)
        .round(&[("new", Refused), ("old", Refused)]);
    assert_eq!(script.found(), []);
    script
        .change(2, Phase::Unanswered)
        .round(&[("new", Refused), ("old", Refused)]);
    assert_eq!(script.found(), [Kind::Lockout]);
}

#[test]
fn a_change_that_has_no_end_does_not_quieten_the_proof() {
    let mut script = one_slot();
    script
        .change(2, Phase::Sent)
        .proof(&[("new", Refused), ("old", Refused)]);
    assert_eq!(script.found(), [Kind::Lockout]);
}

#[test]
fn on_a_target_with_two_slots_a_refused_current_is_a_lockout_whatever_else_is_accepted() {
    let rounds = |two_slot| {
        let mut script = Script {
            two_slot,
            ..Script::default()
        };
        script
            .held(&[("new", "pending"), ("old", "current")])
            .round(&[("new", Accepted), ("old", Refused)]);
        script.found()
    };
    assert_eq!(rounds(true), [Kind::Lockout]);
    assert_eq!(rounds(false), []);
}

#[test]
fn what_a_person_has_counts_until_it_is_given_up() {
    let mut script = Script::default();
    script
        .held_beside(&[("new", "pending")], Some("hand"))
        .round(&[("new", Refused), ("hand", Accepted)]);
    assert_eq!(script.found(), []);
    script.round(&[("new", Refused), ("hand", Refused)]);
    assert_eq!(script.found(), [Kind::Lockout]);
}

#[test]
fn after_the_recovery_current_must_be_there_accepted_and_tried() {
    let proof = |versions: &[(&str, &str)], said: &[(&str, Said)]| {
        let mut script = Script::default();
        script.fault().held(versions).proof(said);
        script.found()
    };
    let versions = [("new", "current"), ("old", "previous")];
    assert_eq!(proof(&versions, &[("new", Accepted), ("old", Accepted)]), []);
    assert_eq!(
        proof(&versions, &[("new", Refused), ("old", Accepted)]),
        [Kind::Lockout]
    );
    assert_eq!(
        proof(&versions, &[("new", Unreachable), ("old", Accepted)]),
        [Kind::Lockout]
    );
    assert_eq!(proof(&versions, &[("old", Accepted)]), [Kind::Lockout]);
    assert_eq!(proof(&[("old", "revoked")], &[("old", Refused)]), [Kind::Lockout]);
}

#[test]
fn after_the_recovery_what_is_revoked_must_be_refused() {
    for stage in ["revoked", "abandoned"] {
        let mut script = Script::default();
        script
            .held(&[("new", "current"), ("old", stage)])
            .proof(&[("new", Accepted), ("old", Accepted)]);
        assert_eq!(script.found(), [Kind::Stale]);
    }
    // A rolled-back secret has the value of a revoked version again.
    let mut script = Script::default();
    script
        .held(&[("old", "current"), ("new", "revoked"), ("old", "revoked")])
        .proof(&[("new", Refused), ("old", Accepted)]);
    assert_eq!(script.found(), []);
}

#[test]
fn what_the_server_takes_is_somebodys_and_not_dead() {
    let books = |values: &[&str]| {
        let mut script = one_slot();
        script.add(Fact::Books {
            subject: "app".to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        });
        script.found()
    };
    assert_eq!(books(&["new", "by-hand"]), []);
    assert_eq!(books(&["new", UNKNOWN]), [Kind::Lost]);
    assert_eq!(books(&["new", "old"]), [Kind::Stale]);
}

#[test]
fn a_credential_that_is_sent_and_not_held_is_lost() {
    let mut script = one_slot();
    script.add(Fact::Foreign {
        subject: "app".to_owned(),
    });
    assert_eq!(script.found(), [Kind::Lost]);
}

#[test]
fn a_change_of_a_step_that_is_past_its_deadline_is_found() {
    let mut script = one_slot();
    assert_eq!(script.found(), []);
    let subject = "app".to_owned();
    assert_eq!(script.add(Fact::Late { subject }).found(), [Kind::Late]);
}

#[test]
fn a_version_that_is_gone_or_cannot_be_read_is_lost() {
    let mut script = one_slot();
    script.held(&[("old", "current")]);
    assert_eq!(script.found(), [Kind::Lost]);
    let mut script = one_slot();
    script.held(&[(UNREADABLE, "pending"), ("new", "current"), ("old", "revoked")]);
    assert_eq!(script.found(), [Kind::Lost]);
}

#[test]
fn failed_logins_are_counted_within_their_time_also_over_several_kills() {
    let mut script = Script::default();
    script.failed_login().failed_login();
    assert_eq!(script.found(), []);
    let mut checker = Checker::new(BOUNDS);
    assert_eq!(checker.judge(&script.entries), []);
    let mut later = Script {
        at: script.at,
        ..Script::default()
    };
    later.failed_login();
    assert_eq!(checker.judge(&later.entries)[0].kind, Kind::Budget);
    let mut much_later = Script {
        at: later.at + 2 * BOUNDS.per,
        ..Script::default()
    };
    much_later.failed_login();
    assert_eq!(checker.judge(&much_later.entries), []);
}

#[test]
fn a_recovery_that_is_late_or_has_no_end_is_found() {
    let mut script = Script::default();
    script.fault().held(&[("old", "current")]);
    assert_eq!(script.found(), [Kind::Recovery]);
    script.at += BOUNDS.recovery;
    script.proof(&[("old", Accepted)]);
    assert_eq!(script.found(), [Kind::Recovery]);
}
