//! Runs that wait for a person before anything is made or written. What the plugin plans is kept under its digest; an approval is of that digest alone,
//! by somebody else than whoever has asked for the run.
//!
//! The machine knows nothing of it: to it the plugin's `plan` needs a person (`blocked`), each time that it is asked, until the host lets its answer pass.

pub(crate) mod reach;
#[cfg(test)]
mod tests;
mod unapproved;

use std::time::Duration;

use keywheel_audit::Entry;
use keywheel_manifest::Digest;
use keywheel_model::{RunId, Timestamp, Trigger};
use keywheel_plugin::Plan;
use keywheel_schedule::Zone;
use keywheel_store::{Reader, Run};
use keywheel_workflow::{Effect, Phase, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Error;
use crate::actor::{actor, of_user};
use crate::engine::{Engine, Inner};
use crate::journal::read_state;
use crate::kept::kept;
use crate::parked::{ParkedRotation, park};
use crate::perform::Performer;
use crate::plan::{planned_steps, worded};
use crate::view::{ApprovalView, PlannedStep};

pub use unapproved::Unapproved;

/// The label under which it is recorded with a run who has asked for it.
pub(crate) const REQUESTED_BY: &str = "requested-by";

/// The fewest characters of a digest that stand for it.
const DIGEST_CHARS_MIN: usize = 12;

/// What a run waits with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Asked {
    plan: Value,
    digest: String,
    since: Timestamp,
    /// Not later than this; none where something of an earlier run has to be decided.
    until: Option<Timestamp>,
    approved: Option<Said>,
    denied: Option<Said>,
}

/// Who has said so, and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Said {
    by: String,
    reason: Option<String>,
}

impl Asked {
    /// Why it goes on no more, if so.
    fn is_over(&self, now: Timestamp) -> Option<String> {
        if let Some(denied) = &self.denied {
            let reason = denied.reason.as_deref().unwrap_or("no reason was given");
            return Some(format!("approval: {} has denied it ({reason})", denied.by));
        }
        let until = self.until.filter(|until| *until <= now)?;
        let late = if self.approved.is_some() {
            "it was approved, and did not go on before that"
        } else {
            "nobody has approved it"
        };
        Some(format!(
            "approval: it waited until {}, and {late}; nothing was made or written",
            Zone::UTC.show(until)
        ))
    }

    fn words(&self) -> String {
        let until = self
            .until
            .map_or_else(String::new, |until| format!(", until {}", Zone::UTC.show(until)));
        format!("its plan {} waits for approval{until}", short(&self.digest))
    }

    fn view(
        &self,
        run: &Run,
        parked: Option<&str>,
        requested_by: Option<String>,
        now: Timestamp,
    ) -> ApprovalView {
        ApprovalView {
            // What was approved may be parked for something else by now.
            waits: parked == Some(&self.words()),
            plan: self.plan.clone(),
            digest: self.digest.clone(),
            since: self.since,
            until: self.until,
            requested_by,
            approved_by: self.approved.as_ref().map(|said| said.by.clone()),
            decided: self.approved.is_some() || self.is_over(now).is_some(),
            way_out: match self.is_over(now) {
                Some(_) => Unapproved::Late.hint(&run.id),
                None => format!(
                    "`keywheel run show {0}` has the plan; somebody else than who asked for it: `keywheel run approve {0} --plan {1}`, or `keywheel run deny {0} --reason TEXT`",
                    run.id,
                    short(&self.digest)
                ),
            },
        }
    }
}

/// Whether the host lets a run go on.
pub(crate) enum Gate {
    Open,
    /// It waits; why, for people.
    Shut(String),
    /// It ends; why, for people.
    Over(String),
}

/// What is said of a run that waits.
enum Verdict {
    Approve { plan: String },
    Deny,
}

impl Performer {
    /// What must be approved is a rotation. What takes a credential over, looks at one, or mends one is another matter.
    fn asks_for_approval(&self, state: &State) -> Option<Duration> {
        let rotates = matches!(
            state.settings.trigger,
            Trigger::Schedule | Trigger::Manual | Trigger::Expiry | Trigger::Compromise
        );
        let within = self.pinned.approval_ms.map(Duration::from_millis);
        within.filter(|_| rotates && !state.promoted)
    }

    /// Before the plugin is asked what it plans: whether it is too late for that.
    pub(crate) async fn is_denied(&self, inner: &Inner, state: &State) -> Result<Option<String>, Error> {
        if self.asks_for_approval(state).is_none() {
            return Ok(None);
        }
        let asked = inner.asked(&state.run).await?;
        Ok(asked.and_then(|asked| asked.is_over(inner.clock.now())))
    }

    /// Whether the run may go on with what the plugin plans.
    pub(crate) async fn gate(&self, inner: &Inner, state: &State, plan: &Plan) -> Result<Gate, Error> {
        let Some(within) = self.asks_for_approval(state) else {
            return Ok(Gate::Open);
        };
        let steps = planned_steps(&state.settings, plan, None);
        let warnings = plan.warnings.iter();
        let warnings = warnings.map(|found| worded(&found.code, &found.message, found.hint.as_deref()));
        let shown = self.presented(state, &steps, warnings.collect(), plan.gap.as_deref());
        inner.ask(state, shown, Some(inner.clock.now() + within)).await
    }

    /// What keeps an effect from beginning: a run that takes over what an earlier one has left is not asked what it plans, and would change the target or
    /// the vault without having been approved.
    pub(crate) async fn is_held(
        &self,
        inner: &Inner,
        effect: &Effect,
        state: &State,
    ) -> Result<Option<String>, Error> {
        let goes_forward = matches!(
            state.phase,
            Phase::Create | Phase::Mirror | Phase::Announce | Phase::Apply | Phase::Promote
        );
        let changes = matches!(
            effect,
            Effect::Call(_) | Effect::Mirror { .. } | Effect::Announce { .. } | Effect::Promote { .. }
        );
        if !goes_forward || !changes || self.asks_for_approval(state).is_none() {
            return Ok(None);
        }
        let asked = inner.asked(&state.run).await?;
        if asked.is_some_and(|asked| asked.approved.is_some()) {
            return Ok(None);
        }
        let pending = state.roles.pending.as_ref();
        let left = pending.map(|version| format!("it takes over {version}, which an earlier run has left"));
        let shown = self.presented(state, &[], left.into_iter().collect(), None);
        Ok(match inner.ask(state, shown, None).await? {
            Gate::Open => None,
            Gate::Shut(what) | Gate::Over(what) => Some(what),
        })
    }

    /// Everything that is approved: what is changed, by which code, with which settings, and how.
    fn presented(
        &self,
        state: &State,
        steps: &[PlannedStep],
        warnings: Vec<String>,
        gap: Option<&str>,
    ) -> Value {
        json!({
            "rotation": self.pinned.rotation,
            // What others know keeps no grace.
            "trigger": state.settings.trigger,
            "secret": self.pinned.secret,
            "plugin": state.settings.plugin,
            "component": state.settings.plugin_digest,
            "config": self.pinned.config,
            "inputs": self.pinned.inputs,
            "steps": steps,
            "warnings": warnings,
            "gap": gap,
        })
    }
}

impl Inner {
    async fn asked(&self, run: &RunId) -> Result<Option<Asked>, Error> {
        let run = run.clone();
        self.store.read_here(move |reader| asked(reader, &run)).await
    }

    /// Whether this plan of the run is approved; where it was not asked for, or another plan was, it is from now on.
    async fn ask(&self, state: &State, plan: Value, until: Option<Timestamp>) -> Result<Gate, Error> {
        let digest = digest_of(&plan);
        let (run, now) = (state.run.clone(), self.clock.now());
        let (rotation, secret) = (state.settings.rotation.clone(), state.settings.secret.clone());
        self.store
            .write(move |tx| {
                let before = asked(tx, &run)?;
                if let Some(asked) = before.as_ref().filter(|asked| asked.digest == digest) {
                    return Ok(match asked.is_over(now) {
                        Some(over) => Gate::Over(over),
                        None if asked.approved.is_some() => Gate::Open,
                        None => Gate::Shut(asked.words()),
                    });
                }
                let asked = Asked {
                    plan,
                    digest,
                    since: now,
                    // Another plan gets no more time.
                    until: before.map_or(until, |before| before.until),
                    approved: None,
                    denied: None,
                };
                tx.set_meta(&key_of(&run), &json!(asked).to_string())?;
                let entry = Entry::of_host("run.await-approval", rotation.as_str(), "waiting")
                    .in_run(&run)
                    .with(json!({"secret": secret.as_str(), "plan": asked.digest, "until": asked.until}));
                tx.audit(&entry)?;
                Ok::<_, Error>(Gate::Shut(asked.words()))
            })
            .await
    }

    /// What an open run waits with, for people.
    pub(crate) async fn approval_of(&self, run: &Run, state: &State) -> Result<Option<ApprovalView>, Error> {
        let (row, now) = (run.clone(), self.clock.now());
        let parked = state.parked.as_ref().map(|parked| parked.detail.clone());
        self.store
            .read_here(move |reader| {
                let Some(asked) = asked(reader, &row.id)? else {
                    return Ok(None);
                };
                let by = requested_by(reader, &row.id)?;
                Ok(Some(asked.view(&row, parked.as_deref(), by, now)))
            })
            .await
    }

    /// Whether a user may approve runs of the rotation.
    fn may_approve(&self, rotation: &keywheel_model::RotationName, by: &str) -> bool {
        let configured = self.config.rotation(rotation);
        let named = configured
            .as_ref()
            .and_then(|rotation| rotation.approval.as_ref()?.by.as_ref());
        match named {
            Some(named) => named.iter().any(|uid| of_user(*uid) == by),
            None => [0, rustix::process::geteuid().as_raw()]
                .iter()
                .any(|uid| of_user(*uid) == by),
        }
    }

    /// Counts what somebody says of a run that waits, or refuses it; both stand in the trail.
    async fn judge(&self, run: &RunId, verdict: Verdict, reason: Option<&str>) -> Result<(), Error> {
        let (id, by, now) = (run.clone(), actor(), self.clock.now());
        let reason = reason.map(str::to_owned);
        let row = self.journal.load(run).await?.0;
        let may = self.may_approve(&row.rotation, &by);
        let judged = self
            .store
            .write(move |tx| {
                let row = tx.run(&id)?.ok_or_else(|| Error::NoRun { run: id.clone() })?;
                let requested_by = requested_by(tx, &id)?;
                let judged = judged(asked(tx, &id)?, &row, &verdict, (&by, may), requested_by, now);
                let (action, plan) = match &verdict {
                    Verdict::Approve { plan } => ("run.approve", Some(plan).filter(|plan| is_digest(plan))),
                    Verdict::Deny => ("run.deny", None),
                };
                let outcome = if judged.is_ok() { "ok" } else { "denied" };
                let code = judged.as_ref().err().map(Unapproved::code);
                let entry = Entry::of_host(action, row.rotation.as_str(), outcome)
                    .by(&by)
                    .in_run(&id)
                    .with(
                        json!({"secret": row.secret.as_str(), "plan": plan, "reason": reason, "code": code}),
                    );
                tx.audit(&entry)?;
                if let Ok(mut asked) = judged.clone() {
                    let said = Some(Said { by, reason });
                    match verdict {
                        Verdict::Approve { .. } => asked.approved = said,
                        Verdict::Deny => {
                            if is_by_itself(&row)? {
                                let parked = denied(said.as_ref(), now);
                                park(tx, &row.rotation, "keeper", &parked)?;
                            }
                            asked.denied = said;
                        }
                    }
                    tx.set_meta(&key_of(&id), &json!(asked).to_string())?;
                }
                Ok::<_, Error>(judged.map(|_| ()))
            })
            .await?;
        judged.map_err(|why| Error::Approval {
            run: run.clone(),
            why,
        })
    }
}

impl Engine {
    /// Lets a run go on that waits for it, with the plan of this digest alone. Who drives it goes on with it from then on.
    ///
    /// # Errors
    /// [`Error::Approval`]; [`Error::NoRun`]; the store.
    pub async fn approve(&self, run: &RunId, plan: &str, reason: Option<&str>) -> Result<(), Error> {
        let plan = plan.strip_prefix("sha256:").unwrap_or(plan).to_owned();
        self.inner.judge(run, Verdict::Approve { plan }, reason).await
    }

    /// The opposite: the run ends without having touched anything.
    ///
    /// # Errors
    /// As [`Self::approve`].
    pub async fn deny(&self, run: &RunId, reason: &str) -> Result<(), Error> {
        self.inner.judge(run, Verdict::Deny, Some(reason)).await
    }

    /// Whether runs of some rotation may be approved by a user who is neither the host's nor root.
    pub fn lets_approve(&self, uid: u32) -> bool {
        self.approvers().any(|approver| approver == uid)
    }

    /// Everybody who is named to approve runs.
    pub(crate) fn approvers(&self) -> impl Iterator<Item = u32> {
        let approvals = self
            .inner
            .config
            .samples()
            .filter_map(|rotation| rotation.approval.as_ref());
        approvals.flat_map(|approval| approval.by.iter().flatten().copied())
    }
}

/// Whether nobody has asked for the run: it would be started again, as what is due is.
fn is_by_itself(run: &Run) -> Result<bool, Error> {
    let trigger = read_state(run)?.settings.trigger;
    Ok(matches!(trigger, Trigger::Schedule | Trigger::Expiry))
}

fn denied(said: Option<&Said>, since: Timestamp) -> ParkedRotation {
    let by = said.map_or("somebody", |said| &said.by);
    let reason = said.and_then(|said| said.reason.as_deref()).unwrap_or_default();
    ParkedRotation {
        since,
        tries: 0,
        last: format!("{by} has denied it ({reason})"),
        away: false,
    }
}

/// What it is that waits, if what is said of it counts.
fn judged(
    asked: Option<Asked>,
    run: &Run,
    verdict: &Verdict,
    (by, may): (&str, bool),
    requested_by: Option<String>,
    now: Timestamp,
) -> Result<Asked, Unapproved> {
    if run.finished.is_some() {
        let outcome = run.outcome.clone().unwrap_or_default();
        return Err(Unapproved::Over { outcome });
    }
    let asked = asked.ok_or(Unapproved::NotAsked)?;
    let is_own = requested_by.as_deref() == Some(by);
    let denies = matches!(verdict, Verdict::Deny);
    if !(may || denies && is_own) {
        return Err(Unapproved::NoRight { by: by.to_owned() });
    }
    if let Some(said) = &asked.approved {
        return Err(Unapproved::Already { by: said.by.clone() });
    }
    if asked.is_over(now).is_some() {
        return Err(Unapproved::Late);
    }
    if let Verdict::Approve { plan } = verdict {
        if !is_digest(plan) || !asked.digest.starts_with(plan) {
            return Err(Unapproved::OtherPlan { digest: asked.digest });
        }
        if is_own {
            return Err(Unapproved::Own);
        }
    }
    Ok(asked)
}

fn asked(reader: &Reader<'_>, run: &RunId) -> Result<Option<Asked>, Error> {
    let key = key_of(run);
    kept(&key, reader.meta(&key)?)
}

fn requested_by(reader: &Reader<'_>, run: &RunId) -> Result<Option<String>, Error> {
    let bytes = reader.recorded(run, REQUESTED_BY)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn key_of(run: &RunId) -> String {
    format!("approval-{run}")
}

fn digest_of(plan: &Value) -> String {
    let digest = Digest::of(plan.to_string().as_bytes()).to_string();
    digest.strip_prefix("sha256:").unwrap_or(&digest).to_owned()
}

/// Long enough to be typed from one terminal into another, and to be no other plan's.
fn short(digest: &str) -> &str {
    digest.get(..16).unwrap_or(digest)
}

fn is_digest(text: &str) -> bool {
    let is_hex = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
    is_hex && (DIGEST_CHARS_MIN..=64).contains(&text.len())
}
