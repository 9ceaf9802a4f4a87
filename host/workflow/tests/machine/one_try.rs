//! What only a person can change is not tried again by itself: a live secret that was shown (rule H4), a login that nobody was asked at,
//! an account that is not there, a certificate that nobody trusts.

use keywheel_model::{
    Effect as Reach, Epoch, ErrorKind, Fence, RunId, Stage, StepError, StepName, Timestamp, Verdict,
    VersionId,
};
use keywheel_workflow::{Call, Cause, Effect, Ending, Event, Head, Kept, Lease, Report, State, StepOk, step};

use crate::settings;

const REFLECTION: &str = "plugin.reflection";
const TLS: &str = "tls.untrusted";

/// A run of which one step fails, always with the same code and the effect that it has had.
struct Run {
    state: State,
    now: u64,
    code: &'static str,
    fails_in: StepName,
    effect: Reach,
    tries: u32,
    stages: Vec<(VersionId, Stage)>,
}

impl Run {
    fn new(code: &'static str, fails_in: StepName, effect: Reach) -> Self {
        let run = RunId::fresh(Timestamp::from_unix_ms(1));
        Self {
            state: State::new(run, settings()),
            now: 1,
            code,
            fails_in,
            effect,
            tries: 0,
            stages: vec![(VersionId::fresh(Timestamp::from_unix_ms(1)), Stage::Current)],
        }
    }

    /// Goes on until the run rests.
    fn drive(&mut self, mut event: Event) {
        for _ in 0..200 {
            self.state = step(&self.state, &event, Timestamp::from_unix_ms(self.now)).state;
            let Some(effect) = self.state.doing.clone() else {
                return;
            };
            event = match effect {
                Effect::Park | Effect::Release => return,
                Effect::Sleep { until } => {
                    self.now = until.as_unix_ms();
                    Event::Timer
                }
                effect => Event::Done {
                    op: self.state.op,
                    report: self.report(&effect),
                },
            };
        }
        panic!("it never rests: {:?}", self.state);
    }

    fn report(&mut self, effect: &Effect) -> Report {
        match effect {
            Effect::Lease => Report::Lease(Lease::Held {
                fence: Fence::default(),
                settled_at: Timestamp::default(),
            }),
            Effect::EndSessions => Report::Sessions { ended: true },
            Effect::ReadHead => Report::Head(Head {
                epoch: Epoch(0),
                versions: self.kept(),
            }),
            Effect::Call(call) => self.call(call),
            Effect::Promote { version, .. } => {
                self.mark(&self.stages[0].0.clone(), Stage::Previous);
                self.mark(version, Stage::Current);
                Report::Stored(Ok(()))
            }
            Effect::Propagate { .. } => Report::Told {
                reported: Vec::new(),
                not_before: None,
                failed: None,
            },
            other => panic!("{other:?}"),
        }
    }

    fn call(&mut self, call: &Call) -> Report {
        if call.step == self.fails_in {
            self.tries += 1;
            let error = StepError::new(ErrorKind::Other, self.code, "no").with_effect(self.effect);
            return match call.step {
                StepName::Test => Report::Verdict(Err(error)),
                _ => Report::Step(Err(error)),
            };
        }
        match call.step {
            StepName::Test => Report::Verdict(Ok(Verdict::Accepted)),
            StepName::Create => {
                let version = VersionId::fresh(Timestamp::from_unix_ms(2));
                self.stages.push((version.clone(), Stage::Pending));
                Report::Step(Ok(StepOk {
                    pending: Some(version),
                    ..StepOk::done()
                }))
            }
            _ => Report::Step(Ok(StepOk::done())),
        }
    }

    fn kept(&self) -> Vec<Kept> {
        let kept = |(version, stage): &(VersionId, Stage)| Kept {
            version: version.clone(),
            stage: *stage,
            run: (*version != self.stages[0].0).then(|| self.state.run.clone()),
        };
        self.stages.iter().rev().map(kept).collect()
    }

    fn mark(&mut self, version: &VersionId, stage: Stage) {
        for (known, kept) in &mut self.stages {
            if known == version {
                *kept = stage;
            }
        }
    }
}

#[test]
fn whichever_step_it_is_the_run_parks_after_one_try_and_no_time_wakes_it() {
    for shown_in in [
        StepName::Plan,
        StepName::Create,
        StepName::Apply,
        StepName::Test,
        StepName::Revoke,
    ] {
        for effect in [Reach::None, Reach::Maybe] {
            let mut run = Run::new(REFLECTION, shown_in, effect);
            run.drive(Event::Start);
            let parked = run.state.parked.clone().unwrap();
            assert_eq!(
                parked.cause,
                Cause::Reflection,
                "{shown_in} {effect:?}: {parked:?}"
            );
            assert_eq!(run.state.doing, Some(Effect::Park), "{shown_in} {effect:?}");
            run.now += 1_000_000;
            run.drive(Event::Timer);
            assert_eq!(run.tries, 1, "{shown_in} {effect:?}");
        }
    }
}

#[test]
fn a_run_that_has_changed_nothing_is_cancelled_without_another_call() {
    let mut run = Run::new(REFLECTION, StepName::Plan, Reach::None);
    run.drive(Event::Start);
    run.drive(Event::Cancel);
    assert_eq!(run.state.ended.as_ref().unwrap().ending, Ending::Cancelled);
    assert_eq!(run.tries, 1);
}

#[test]
fn a_login_that_proves_nothing_parks_with_its_cause_after_one_try() {
    for (code, cause) in [
        ("login.not-asked", Cause::NotAsked),
        ("account.missing", Cause::NoAccount),
        ("tls.name", Cause::Tls),
        (TLS, Cause::Tls),
        ("tls.missing", Cause::Tls),
    ] {
        let mut run = Run::new(code, StepName::Test, Reach::None);
        run.drive(Event::Start);
        assert_eq!(run.state.parked.as_ref().unwrap().cause, cause, "{code}");
        assert_eq!(run.state.trouble.as_ref().unwrap().code, code);
        assert_eq!(run.tries, 1, "{code}");
    }
}

#[test]
fn a_certificate_that_nobody_trusts_ends_a_run_that_has_changed_nothing_and_parks_any_other() {
    let mut run = Run::new(TLS, StepName::Plan, Reach::None);
    run.drive(Event::Start);
    assert_eq!(run.state.ended.as_ref().unwrap().ending, Ending::Failed);
    assert_eq!(run.tries, 1);

    let mut run = Run::new(TLS, StepName::Revoke, Reach::None);
    run.drive(Event::Start);
    assert_eq!(run.state.parked.as_ref().unwrap().cause, Cause::Tls);
    assert_eq!(run.tries, 1);
}

#[test]
fn after_an_effect_the_target_is_asked_first_whatever_the_failure_was() {
    // A second node's certificate, when the first has been changed: the login tells what is so.
    let mut run = Run::new(TLS, StepName::Apply, Reach::Applied);
    run.drive(Event::Start);
    assert!(run.state.promoted);
    assert_eq!(run.tries, 1);

    let mut run = Run::new(TLS, StepName::Revoke, Reach::Maybe);
    run.drive(Event::Start);
    assert_eq!(run.state.parked.as_ref().unwrap().cause, Cause::Tls);
    assert_eq!(run.tries, 3);
}
