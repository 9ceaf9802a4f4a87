//! What the engine shows: plain structs, serialised as they are by `-o json`. None of them can hold a value of a secret.

use std::path::PathBuf;

use keywheel_model::{
    Epoch, PluginName, RotationName, RunId, Safety, SecretName, SlotClass, Stage, StepName, Strategy,
    Timestamp, Trigger, VersionId,
};
use keywheel_workflow::{Cause, RunWord, Trouble};
use serde::{Deserialize, Serialize};

mod waits;

use crate::backed_up;
use crate::paused::Paused;

pub use crate::teller::log::{Delivery, Outcome};
pub use crate::teller::sinks::{FailingView, SinkView, TriedSink};
pub use waits::{ApprovalView, ConsumerView};

/// A run, as a person sees it. What another process has shown is read without the words of what it waits for and of what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each with its own sentence"
)]
pub struct RunView {
    /// The run.
    pub run: RunId,
    /// Of which rotation.
    pub rotation: RotationName,
    /// Of which secret.
    pub secret: SecretName,
    /// Why it was started.
    pub trigger: Trigger,
    /// The word for the whole run.
    pub state: RunWord,
    /// Which of the credentials still opens the target.
    pub safety: Safety,
    /// Whether it can only go forward.
    pub past_no_return: bool,
    /// Whether it has changed nothing on the target.
    pub untouched: bool,
    /// When it was started.
    pub started_at: Timestamp,
    /// When its state was kept last. A clock that is behind that was set back.
    #[serde(skip)]
    pub kept_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Nothing happens before this time.
    pub waits_until: Option<Timestamp>,
    /// That time has come: it goes on when it is resumed.
    pub due: bool,
    /// What for, while it waits.
    #[serde(skip_deserializing)]
    pub waits_for: Option<&'static str>,
    /// The new credential is current; what is left is the wait for consumers that may still use the old one, or for a backup.
    pub waits_for_consumers: bool,
    /// What went wrong last, until the run gets past it.
    pub trouble: Option<Trouble>,
    /// What to do about that, or about the failure that ended it, where it is known.
    pub way_past: Option<String>,
    /// The rotation stands otherwise in the configuration now. The run goes on with what it has pinned.
    pub other_configuration: bool,
    /// The configuration does not have the rotation any more. The run goes on with what it has pinned.
    pub removed: bool,
    /// Whether the host that was asked drives it; no other one can. Otherwise it stands until somebody resumes it.
    pub driven: bool,
    /// What a person has asked for and is not done yet: `cancel`, `roll-back`.
    #[serde(skip_deserializing)]
    pub asked: Option<&'static str>,
    /// Why it waits for a person, and the way out.
    pub parked: Option<ParkedView>,
    /// What it waits with for somebody to approve it, or did.
    pub approval: Option<ApprovalView>,
    /// How it ended, for people.
    pub detail: String,
    /// Its target is left alone until then: it does not go on by itself.
    pub maintained_until: Option<Timestamp>,
    /// The steps so far.
    pub steps: Vec<StepView>,
    /// Who reads the secret, and what each said last.
    pub consumers: Vec<ConsumerView>,
    /// The versions it works on.
    pub current: Option<VersionId>,
    /// The version that is rotated in.
    pub pending: Option<VersionId>,
    /// The version before.
    pub previous: Option<VersionId>,
    /// Promoted without a login that proved it.
    pub unproved: bool,
    /// It slept, or lost sight of the target, since a login proved what is current for it.
    pub proof_is_old: bool,
}

impl RunView {
    /// What a person must know who has changed the rotation's configuration while its run is open.
    pub fn configuration_words(&self) -> Option<String> {
        if !self.other_configuration {
            return None;
        }
        let way_out = if self.past_no_return {
            "the next run uses the new one".to_owned()
        } else {
            format!(
                "`keywheel run cancel {}` and start again to use the new one",
                self.run
            )
        };
        Some(format!(
            "started with another configuration, which it keeps: {way_out}"
        ))
    }
}

impl RunView {
    /// That it is open although the configuration does not have its rotation any more, and where it stands.
    pub fn removed_words(&self) -> String {
        let step = self.steps.last();
        let step = step.map_or_else(String::new, |step| format!(" at `{}`", step.step));
        format!(
            "run {} of rotation {} is open ({}{step}, {}), and the configuration does not have that rotation any more",
            self.run,
            self.rotation,
            self.state.as_str(),
            self.safety
        )
    }

    /// What can be done about that where the run stands.
    pub fn removed_way_out(&self) -> String {
        let (run, back) = (
            &self.run,
            format!("put rotation {} back until its run is over", self.rotation),
        );
        match (&self.parked, self.past_no_return) {
            (Some(parked), true) => format!("{back}; {}", parked.way_out),
            (None, true) => format!(
                "`keywheel run resume {run}` brings it to its end with the configuration that it keeps (the new credential is current, \
                 so that `run cancel` cannot take it back); or {back}"
            ),
            (Some(parked), false) if parked.cause == Cause::Withdrawn => {
                format!("{back}; {}", parked.way_out)
            }
            (_, false) => format!("`keywheel run cancel {run}` gives it up; or {back}"),
        }
    }

    /// What went wrong last in a run that has not got past it, or that ended of it.
    pub fn last_failure(&self) -> Option<Trouble> {
        let ended_of_it = self.state == RunWord::Failed;
        let step = self
            .steps
            .iter()
            .rev()
            .find(|step| step.state == StepWord::Failed);
        let of_step = |step: &StepView| Some(Trouble::new(step.code.as_ref()?, step.message.as_ref()?));
        let of_step = step.filter(|_| ended_of_it).and_then(of_step);
        self.trouble.clone().or(of_step)
    }

    /// Whether all that it does not get past is a consumer that does not hold the new credential yet: that is current, and the consumer is asked again.
    pub fn asks_a_consumer_again(&self) -> bool {
        let of_hook = |trouble: &Trouble| trouble.code.starts_with("hook.");
        self.waits_for_consumers && self.trouble.as_ref().is_some_and(of_hook)
    }

    /// What ends its wait, where that is for a backup alone.
    pub fn backup_way_out(&self) -> Option<&'static str> {
        (self.waits_for == Some(backed_up::WAITS_FOR)).then_some(backed_up::WAY_OUT)
    }

    /// What to do about a run that stands although nobody has to decide anything.
    pub fn undriven_words(&self) -> Option<String> {
        let stands = matches!(self.state, RunWord::Planned | RunWord::Running | RunWord::Waiting);
        (stands && !self.driven).then(|| {
            format!(
                "no host drives it: `keywheel run resume {}` goes on with it",
                self.run
            )
        })
    }
}

/// Why a run waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ParkedView {
    /// Why.
    pub cause: Cause,
    /// More about it.
    pub detail: String,
    /// What the person can do.
    pub way_out: String,
}

impl RunView {
    /// Whether it stands, and needs nobody any more: it was approved, or that is over.
    pub fn is_decided(&self) -> bool {
        let approval = self.approval.as_ref();
        approval.is_some_and(|approval| approval.waits && approval.decided)
    }

    /// What it waits with, where it waits for somebody to approve it.
    pub fn awaits_approval(&self) -> Option<&ApprovalView> {
        let approval = self.approval.as_ref();
        approval.filter(|approval| approval.waits && !approval.decided)
    }
}

/// How the last try of a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepWord {
    /// It has not ended.
    Open,
    /// Well.
    Done,
    /// It failed, or the run went another way without having seen its end.
    Failed,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StepView {
    /// Which.
    pub step: StepName,
    /// When its first try began.
    pub began_at: Timestamp,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// How long it took, in milliseconds: from when it was taken up again, if it had been over before.
    pub took_ms: Option<u64>,
    /// Tries.
    pub tries: u32,
    /// How its last try ended.
    pub state: StepWord,
    /// The code of the last failure.
    pub code: Option<String>,
    /// Its message.
    pub message: Option<String>,
    /// The safety of the run when the step was over, or now.
    pub safety: Safety,
}

/// What a run would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlanView {
    /// Of which rotation.
    pub rotation: RotationName,
    /// Of which secret.
    pub secret: SecretName,
    /// Further names that hold it in another form.
    pub forms: Vec<SecretName>,
    /// By which plugin.
    pub plugin: PluginName,
    /// The component's digest.
    pub digest: String,
    /// How the target keeps a credential.
    pub class: SlotClass,
    /// How consumers are kept going.
    pub strategy: Strategy,
    /// The targets, such as each node of a cluster.
    pub target: Vec<TargetView>,
    /// The accounts on them, each by the values that name it in the configuration.
    pub account: Vec<Vec<serde_json::Value>>,
    /// The steps in order.
    pub steps: Vec<PlannedStep>,
    /// Hosts that the plugin may dial.
    pub hosts: Vec<String>,
    /// What it may call.
    pub capabilities: Vec<String>,
    /// A run of the secret that is not over: no other one starts before it is.
    pub open_run: Option<Box<RunView>>,
    /// What would stop the run; empty means that it may start.
    pub problems: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// The gap in which consumers hold only a dead credential, in words; none if there is none.
    pub gap: Option<String>,
    /// When it is due next by itself; none where it runs by hand alone.
    pub next_due: Option<Timestamp>,
    /// Who has to approve a run before it changes anything, in words; none where nobody has to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// After this time the old credential is revoked, counted from the promotion, in milliseconds.
    pub revoke_after_ms: u64,
    /// The credential in use is not known to the vault (`first = "set"`).
    pub sets_first: bool,
}

/// A target: the plugin that knows it, and the values that name it, such as host and port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TargetView {
    /// The plugin.
    pub plugin: String,
    /// What names it, in the order of the manifest.
    pub values: Vec<serde_json::Value>,
}

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlannedStep {
    /// Which.
    pub step: StepName,
    /// What it does, in words (the plugin's where it is the plugin's).
    pub what: String,
    /// The safety when it is over.
    pub safety: Safety,
    /// After this step there is no way back.
    pub point_of_no_return: bool,
}

/// A secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SecretView {
    /// Its name.
    pub name: SecretName,
    /// The rotation that rotates it.
    pub rotation: Option<RotationName>,
    /// Its current version.
    pub current: Option<VersionId>,
    /// When that was made.
    pub current_since: Option<Timestamp>,
    /// When it expires, if it does.
    pub expires_at: Option<Timestamp>,
    /// How many versions are kept.
    pub versions: usize,
    /// A run that is not over.
    pub open_run: Option<RunId>,
    /// Who reads it, and what each said last.
    pub consumers: Vec<ConsumerView>,
}

/// A version of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct VersionView {
    /// Which.
    pub version: VersionId,
    /// 1, 2, 3 ... within the name: those that were forgotten count.
    pub number: u64,
    /// Its stage.
    pub stage: Stage,
    /// When it was made.
    pub created_at: Timestamp,
    /// The run that made it.
    pub run: Option<RunId>,
    /// When it expires, if it does.
    pub expires_at: Option<Timestamp>,
    /// The other versions that have the same value, such as the one that going back to this one has made: what is true of the value is true of all.
    pub same_value: Vec<SameValue>,
    /// Facts that the plugin keeps with it; never secret.
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// Another version with the same value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SameValue {
    /// Which.
    pub version: VersionId,
    /// Its stage.
    pub stage: Stage,
}

/// A target that is left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MaintenanceView {
    /// The target, as people name it.
    pub target: String,
    /// Since when, until when, by whom and why.
    pub paused: Paused,
}

/// Something that needs attention. The list is sorted by the time to harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attention {
    /// What kind of thing is the matter, in a word that stays.
    pub kind: &'static str,
    /// What it is about: a rotation, a secret, a plugin, the vault.
    pub subject: String,
    /// What is the matter.
    pub what: String,
    /// What to do.
    pub way_out: String,
    /// When it does harm, where that is known.
    pub harm_at: Option<Timestamp>,
}

/// A plugin in the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PluginView {
    /// Its file.
    pub file: PathBuf,
    /// Its name, if its manifest could be read.
    pub name: Option<PluginName>,
    /// Its version.
    pub version: Option<String>,
    /// SHA-256 of the file, in hex.
    pub digest: Option<String>,
    /// The minisign key that has signed it, where signatures are looked at.
    pub publisher: Option<String>,
    /// `new`, `pinned`, `held` or `refused`.
    pub status: &'static str,
    /// Why, for `held` and `refused`; what to do next for `new`.
    pub detail: String,
    /// What it does, from its manifest.
    pub summary: String,
    /// What it may call.
    pub capabilities: Vec<String>,
    /// The shapes it declares: id and what it looks like.
    pub shapes: Vec<(String, String)>,
    /// What it asks for beyond what is granted, line by line.
    pub asks: Vec<String>,
}

/// A row of the audit trail.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AuditView {
    /// Its number.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// Did what.
    pub action: String,
    /// To what.
    pub resource: String,
    /// With which outcome.
    pub outcome: String,
    /// In which run.
    pub run: Option<RunId>,
    /// More facts; never secret.
    pub details: serde_json::Value,
}

/// The vault and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct VaultView {
    /// `embedded`.
    pub kind: &'static str,
    /// Whether it needs to be unsealed.
    pub sealed: bool,
    /// Whether that is how the host is meant to be: it has no key file, and each command asks for the passphrase.
    pub needs_passphrase: bool,
    /// The restore epoch.
    pub epoch: Epoch,
    /// The key slots: kind and label.
    pub slots: Vec<(String, String)>,
}

/// A way in which the vault can be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SlotView {
    /// Its name.
    pub slot: String,
    /// `key-file`, `passphrase`, `recovery`.
    pub kind: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Why it cannot be read, if so: it opens nothing then.
    pub fault: Option<String>,
}

/// A check of `doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Diagnosis {
    /// What was looked at.
    pub check: &'static str,
    /// `ok`, `warning` or `failure`.
    pub result: &'static str,
    /// What was found.
    pub detail: String,
    /// What to do.
    pub advice: Option<String>,
}
