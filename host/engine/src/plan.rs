//! What a run would do, and what would stop it, before anything is written.

use std::sync::Arc;

use keywheel_capability::mask::holds_weak;
use keywheel_config::Rotation;
use keywheel_manifest::Manifest;
use keywheel_model::{RotationName, Safety, SecretName, StepError, StepName, Verdict, VersionId};
use keywheel_plugin::{Plan, Plugin, StepEnd, StepValue};
use keywheel_policy::{Grant, Policy};
use keywheel_vault::{Origin, Vault as _, VersionInfo};
use keywheel_workflow::{First, Settings, State};

use crate::Error;
use crate::engine::{Engine, Inner};
use crate::glance::Glance;
use crate::hosts;
use crate::inputs::secrets_of;
use crate::perform::{identity, verdict};
use crate::plugins::not_the_file;
use crate::principal::{accounts, targets};
use crate::view::{PlanView, PlannedStep, RunView};
use crate::words::way_past;

impl Engine {
    /// Asks the plugin what a run would do; no effect on the target is possible.
    ///
    /// # Errors
    /// [`Error::Config`] when the plugin's own check refuses the configuration, [`Error::Plan`] when its `plan` itself fails; a plan
    /// with problems is a plan.
    pub async fn plan(&self, rotation: &RotationName) -> Result<PlanView, Error> {
        let inner = &self.inner;
        let rotation = &*inner.rotation(rotation)?;
        let plugin = inner.plugin(&rotation.plugin)?;
        inner.check_settings(rotation, &plugin).await?;
        let glance = Glance::new(inner, rotation, &plugin).await?;
        let missing = inner.missing_inputs(rotation).await?;
        let mut problems = inner.own_problems(rotation, &glance.state).await?;
        // Before an adoption too: what the administrator sees of the target does not depend on the subject's credential.
        let answer = if missing.is_empty() {
            let asked = glance.ask(inner, StepName::Plan, None).await?;
            look(rotation, asked, &mut problems)?
        } else {
            None
        };
        let not_asked = (!missing.is_empty()).then(|| {
            format!(
                "nothing was asked of the target: it takes {}, which has no value yet",
                secrets_of(&missing)
            )
        });
        let of_value = inner.warnings_of_value(rotation).await?;
        let untried = inner.proves_first(rotation).await?;
        let unverified = self.verifies_first(rotation).await?;
        if let Err(in_use) = inner.check_accounts(rotation, plugin.manifest()).await {
            problems.push(worded(
                in_use.code(),
                &in_use.to_string(),
                in_use.hint().as_deref(),
            ));
        }
        let answer = answer.unwrap_or_else(nothing_seen);
        problems.extend(
            answer
                .problems
                .iter()
                .map(|found| worded(&found.code, &found.message, found.hint.as_deref())),
        );
        self.note_plan(&rotation.name, problems.is_empty()).await?;
        let settings = &glance.state.settings;
        let policy = inner.policy().await?;
        let open_run = self.open_run_shown(&rotation.secret).await?;
        let inherited = glance.state.roles.pending.as_ref().filter(|_| open_run.is_none());
        Ok(PlanView {
            rotation: rotation.name.clone(),
            secret: rotation.secret.clone(),
            forms: rotation.forms.iter().map(|form| form.secret.clone()).collect(),
            plugin: rotation.plugin.clone(),
            digest: settings.plugin_digest.clone(),
            class: settings.class,
            strategy: settings.strategy,
            target: targets(&settings.principal.target),
            account: accounts(&settings.principal.account),
            steps: planned_steps(settings, &answer, inherited),
            hosts: hosts::of_plan(&policy, rotation, plugin.manifest()),
            capabilities: capabilities_of(plugin.manifest()),
            problems,
            warnings: advice(
                &answer,
                open_run
                    .as_ref()
                    .is_some_and(|run| run.awaits_approval().is_none()),
            )
            .chain(ungranted_calls(&policy, rotation, plugin.manifest()))
            .chain(not_asked)
            .chain(inherited.map(of_inherited))
            .chain(of_value)
            .chain(untried)
            .chain(unverified)
            .chain(not_the_file(&inner.registry(), &rotation.plugin))
            .collect(),
            open_run,
            gap: gap(settings, &answer),
            next_due: self.next_due(rotation).await?,
            approval: rotation.approval.as_ref().map(approved_by),
            revoke_after_ms: u64::try_from(settings.longest_staleness().as_millis())
                .unwrap_or(u64::MAX)
                .saturating_add(settings.grace_ms),
            sets_first: inner.sets_first(rotation).await?,
        })
    }

    async fn open_run_shown(&self, secret: &SecretName) -> Result<Option<Box<RunView>>, Error> {
        Ok(match self.open_run_of(secret).await? {
            Some(run) => Some(Box::new(self.run(&run).await?)),
            None => None,
        })
    }

    /// Logs in with the current version of a rotation's secret.
    ///
    /// # Errors
    /// [`Error::NoSecret`] when there is no current version.
    pub async fn test_current(&self, rotation: &RotationName) -> Result<Result<Verdict, StepError>, Error> {
        let rotation = &*self.inner.rotation(rotation)?;
        let head = self.inner.vault.live(&rotation.secret, &[]).await?;
        let current = head
            .current()
            .ok_or_else(|| Error::NoSecret {
                secret: rotation.secret.clone(),
            })?
            .id
            .clone();
        let verdict = self.inner.test_version(rotation, &current).await?;
        let is_news = self.inner.untried(rotation).await?.is_some()
            || self.inner.after_give_up(rotation).await?.is_some();
        if is_news && matches!(verdict, Ok(Verdict::Accepted)) {
            self.inner.note_tried(rotation, &current).await?;
        }
        Ok(verdict)
    }
}

impl Inner {
    /// What the value of the current credential gives to warn of.
    async fn warnings_of_value(&self, rotation: &Rotation) -> Result<Vec<String>, Error> {
        let mut warnings = self.copies_in_current(rotation).await?;
        warnings.extend(self.weak_current(rotation).await?);
        warnings.extend(self.stale_forms(rotation).await?);
        Ok(warnings)
    }

    /// What to say of a current credential that is weak and was imported.
    async fn weak_current(&self, rotation: &Rotation) -> Result<Option<String>, Error> {
        let head = self.vault.live(&rotation.secret, &[]).await?;
        let imported = |version: &&VersionInfo| version.metadata.labels.origin == Origin::Imported;
        let Some(current) = head.current().filter(imported) else {
            return Ok(None);
        };
        let value = self.vault.read(&rotation.secret, &current.id).await?;
        Ok(holds_weak(value.expose()).then(|| {
            "the current credential is weak (short, or a plain word): what the plugin reads cannot be watched for it until it is rotated"
                .to_owned()
        }))
    }

    /// Asks the target whether it accepts a version, outside of a run.
    pub(crate) async fn test_version(
        self: &Arc<Self>,
        rotation: &Rotation,
        version: &VersionId,
    ) -> Result<Result<Verdict, StepError>, Error> {
        let plugin = self.plugin(&rotation.plugin)?;
        let glance = Glance::new(self, rotation, &plugin).await?;
        let head = self
            .vault
            .live(&rotation.secret, std::slice::from_ref(version))
            .await?;
        // A step knows a version that has the material of an older one by that one's name.
        let subject = head.version(version).map_or(version, identity).clone();
        let end = glance.ask(self, StepName::Test, Some(subject)).await?;
        Ok(verdict(end))
    }

    /// Has the plugin's own code look at the settings: before a run is begun, and before anything is asked of the target.
    ///
    /// # Errors
    /// [`Error::Config`] with what it found, [`Error::Plan`] when it was ended before it answered.
    pub(crate) async fn check_settings(&self, rotation: &Rotation, plugin: &Plugin) -> Result<(), Error> {
        let found = plugin.check_config(&rotation.config).await;
        let found = found.map_err(|error| Error::of_plan(rotation, error))?;
        Ok(self.config.objections(rotation, found)?)
    }

    /// What the host knows by itself must not stop a run: one that is begun only to park would be in the way of its own remedy.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub(crate) async fn check_fitness(
        self: &Arc<Self>,
        rotation: &Rotation,
        plugin: &Arc<Plugin>,
    ) -> Result<(), Error> {
        let glance = Glance::new(self, rotation, plugin).await?;
        let problems = self.own_problems(rotation, &glance.state).await?;
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::Refused {
            rotation: rotation.name.clone(),
            problems,
        })
    }

    /// What the host knows by itself that would stop a run.
    async fn own_problems(&self, rotation: &Rotation, state: &State) -> Result<Vec<String>, Error> {
        let mut problems: Vec<String> = self
            .missing_inputs(rotation)
            .await?
            .into_iter()
            .map(|(input, secret)| {
                format!(
                    "secret.not-found: input `{input}` of rotation {}, secret {secret}, has no value (first `keywheel secret import {secret}`)",
                    rotation.name
                )
            })
            .collect();
        if state.roles.current.is_none() && state.settings.first == First::Adopt {
            problems.push(format!(
                "run.adoption-required: {} is not adopted yet, it has no current version (`keywheel secret import {}` takes over the credential in use)",
                rotation.secret, rotation.secret
            ));
        }
        problems.extend(self.form_problems(rotation).await?);
        let settings = &state.settings;
        let is_covered = settings.announces() && !settings.has_gap();
        if settings.class.has_gap() && !settings.gap_accepted && !is_covered {
            problems.push(
                "rotation.gap: the target keeps one credential; give every consumer that can hold two a hook with `announce = true`, or say `gap = \"accept\"` in the rotation"
                    .to_owned(),
            );
        }
        Ok(problems)
    }
}

fn capabilities_of(manifest: &Manifest) -> Vec<String> {
    manifest.capabilities.iter().map(ToString::to_string).collect()
}

/// What a plugin would have a person know. In the middle of a run the target holds what that run will take away itself: what the plugin finds odd about
/// it is no advice.
pub(crate) fn advice(answer: &Plan, is_between: bool) -> impl Iterator<Item = String> {
    let warnings = answer.warnings.iter().filter(move |_| !is_between);
    warnings.map(|found| worded(&found.code, &found.message, found.hint.as_deref()))
}

/// The calls that the manifest declares and a grant leaves out. Not a problem by itself: those of a mode that is not configured are never made.
fn ungranted_calls(policy: &Policy, rotation: &Rotation, manifest: &Manifest) -> Vec<String> {
    let of = |grant: &Grant| {
        let difference = keywheel_policy::difference(manifest, Some(grant));
        let calls = difference.new_shapes.into_iter().chain(difference.changed_shapes);
        let file = grant.file.clone();
        calls
            .map(move |call| {
                format!("the call {call} is not granted in {file:?}: a step that makes it would park")
            })
            .collect::<Vec<_>>()
    };
    grants_of(policy, rotation).flat_map(of).collect()
}

/// The plugin's grant, and the one for this rotation alone.
pub(crate) fn grants_of<'p>(policy: &'p Policy, rotation: &'p Rotation) -> impl Iterator<Item = &'p Grant> {
    policy.grants().iter().filter(|grant| {
        grant.plugin == rotation.plugin && grant.rotation.as_ref().is_none_or(|name| *name == rotation.name)
    })
}

/// A problem or a warning as a person reads it, with the way out.
pub(crate) fn worded(code: &str, message: &str, hint: Option<&str>) -> String {
    match hint {
        // Lines to be copied stand alone.
        Some(hint) if message.contains('\n') => format!("{code}: {message}\n({hint})"),
        Some(hint) => format!("{code}: {message} ({hint})"),
        None => format!("{code}: {message}"),
    }
}

fn nothing_seen() -> Plan {
    Plan {
        steps: Vec::new(),
        problems: Vec::new(),
        warnings: Vec::new(),
        gap: None,
    }
}

/// What the plugin saw. That it could not look is one problem more where there are some, and else the only one.
fn look(rotation: &Rotation, asked: StepEnd, problems: &mut Vec<String>) -> Result<Option<Plan>, Error> {
    match asked.result {
        Ok(StepValue::Plan(plan)) => Ok(Some(plan)),
        Ok(_) => Err(Error::Defect("a plan was answered by something else")),
        Err(error) if problems.is_empty() => Err(Error::of_plan(rotation, error)),
        Err(error) => {
            let way_past = way_past(&error.code, &error.message, Some(rotation));
            problems.push(worded(&error.code, &error.message, way_past.as_deref()));
            Ok(None)
        }
    }
}

/// The gap of a one-slot target: the plugin's words, or the host's.
fn gap(settings: &Settings, answer: &Plan) -> Option<String> {
    if settings.announces() && !settings.has_gap() {
        return None;
    }
    answer.gap.clone().or_else(|| {
        settings.overwrites().then(|| {
            "from apply on consumers with the old credential are refused, until each has read the new one after promote"
                .to_owned()
        })
    })
}

/// The steps in the order in which the machine takes them, with the safety when each is over, as a run shows it.
pub(crate) fn planned_steps(
    settings: &Settings,
    answer: &Plan,
    inherited: Option<&VersionId>,
) -> Vec<PlannedStep> {
    use StepName::{Announce, Apply, Create, Plan, Promote, Propagate, Revoke, Test};
    let all = [Plan, Create, Announce, Apply, Test, Promote, Propagate, Revoke];
    let taken = all
        .into_iter()
        .filter(|step| *step != Announce || settings.announces());
    let said = |step| answer.steps.iter().find(|planned| planned.step == step);
    taken
        .map(|step| {
            let own = match (step, inherited) {
                (StepName::Create, Some(version)) => format!("nothing is made: {version} is pending already"),
                (StepName::Apply, Some(_)) => {
                    "only if the target refuses it: make the target accept it".to_owned()
                }
                _ => said(step).map_or_else(|| host_words(step, settings), |planned| planned.text.clone()),
            };
            PlannedStep {
                step,
                what: own + fate_of_old(step, settings),
                safety: safety_after(step, settings),
                point_of_no_return: step == Promote,
            }
        })
        .collect()
}

/// A pending version is never passed over: its value may be on the target.
fn of_inherited(version: &VersionId) -> String {
    format!(
        "an earlier run has left {version} pending: this one shows it to the target first, applies it where that refuses it, and makes no new credential"
    )
}

fn safety_after(step: StepName, settings: &Settings) -> Safety {
    match step {
        StepName::Plan | StepName::Create | StepName::Announce | StepName::Rollback => Safety::OldValid,
        StepName::Revoke => Safety::NewValid,
        _ if settings.overwrites() => Safety::NewValid,
        _ => Safety::BothValid,
    }
}

/// What a step means for the old credential where the target keeps one: no plugin needs to say it, and none can leave it out.
fn fate_of_old(step: StepName, settings: &Settings) -> &'static str {
    match step {
        StepName::Apply if settings.overwrites() => "; the old one is dead from here on",
        StepName::Test if settings.overwrites() => "; if that is refused, the old one is set again",
        StepName::Revoke if settings.overwrites() => "; a login with the old one must be refused",
        _ => "",
    }
}

fn host_words(step: StepName, settings: &Settings) -> String {
    let (longest, nobody) = (
        settings.longest_staleness(),
        settings.longest_staleness().is_zero(),
    );
    let longest = keywheel_config::show_duration(longest);
    match step {
        StepName::Plan => "look at the target; nothing is written",
        StepName::Create if settings.class.target_issues() => {
            "the target issues a credential; it is in escrow before the plugin goes on"
        }
        StepName::Create => "generate a credential; it is durably pending before anything else",
        StepName::Announce => {
            "consumers that can hold two are asked, by their programs, whether they hold the pending one, too"
        }
        StepName::Apply => "make the target accept it",
        StepName::Test => "log in with it",
        StepName::Promote => "pending becomes current in the vault: consumers can read it from here on",
        StepName::Propagate if nobody => "no consumer is configured, so none is waited for",
        StepName::Propagate if settings.overwrites() => {
            return format!(
                "wait {longest} for the consumers: until one has read the new one, it is refused"
            );
        }
        StepName::Propagate => {
            return format!(
                "wait {longest} for the consumers: until then one may use the old one, which is accepted"
            );
        }
        StepName::Revoke if settings.overwrites() => "nothing to take away",
        StepName::Revoke => "make the target refuse the old one, and prove it",
        StepName::Rollback => "undo",
    }
    .to_owned()
}

/// Whom a run waits for, and how long.
fn approved_by(approval: &keywheel_config::Approval) -> String {
    let within = keywheel_config::show_duration(approval.expires);
    let by = match &approval.by {
        None => "the host's user or root".to_owned(),
        Some(users) => {
            let users: Vec<String> = users.iter().map(ToString::to_string).collect();
            format!("user {}", users.join(" or "))
        }
    };
    format!("by {by} within {within}, and then at once; not by whoever asks for the run")
}
