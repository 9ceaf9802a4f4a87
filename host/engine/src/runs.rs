//! Runs: planned, started, resumed, and shown.

use std::sync::Arc;
use std::time::Duration;

use keywheel_capability::Cancel;
use keywheel_config::Rotation;
use keywheel_manifest::Digest;
use keywheel_model::{Epoch, RotationName, RunId, SecretName, Trigger};
use keywheel_plugin::Plugin;
use keywheel_store::Run;
use keywheel_workflow::{Choice, Event, State, describe};

use crate::driver::{Driver, Left, Stop};
use crate::engine::{Engine, Inner, actor};
use crate::journal::{Noted, Saved, ending_word, lease_keys, read_state};
use crate::perform::Performer;
use crate::pinned::Pinned;
use crate::settings::Probes;
use crate::view::{ParkedView, RunView, StepView, StepWord};
use crate::words::way_out;
use crate::{Error, Observer, Wait, settings};

/// How a run is to be started and followed.
pub struct Order<'o> {
    /// Why.
    pub trigger: Trigger,
    /// A person's reason, for the audit trail.
    pub reason: Option<String>,
    /// How long to wait for a run that sleeps.
    pub wait: Wait,
    /// Asks to stop at the next journalled point.
    pub stop: Stop,
    /// Is told of every new state.
    pub observer: &'o dyn Observer,
}

/// What a person wants of a run that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Go on, try again.
    Resume,
    /// Put the vault's current version on the target again, then go on.
    ApplyCurrent,
    /// The vault's head is right, whoever wrote it.
    AcceptHead,
    /// Back to the current version; before the promotion only.
    RollBack,
    /// Stop: back if nothing is promoted, else to the end.
    Cancel,
}

impl Wish {
    /// The answer to a parked run that not every cause takes, and its option on the command line.
    fn choice(self) -> Option<(Choice, &'static str)> {
        match self {
            Self::ApplyCurrent => Some((Choice::ApplyCurrent, "--apply-current")),
            Self::AcceptHead => Some((Choice::AcceptHead, "--accept-head")),
            _ => None,
        }
    }

    /// Under which it stands in the audit trail.
    fn action(self) -> &'static str {
        match self {
            Self::Resume => "run.resume",
            Self::ApplyCurrent => "run.apply-current",
            Self::AcceptHead => "run.accept-head",
            Self::RollBack => "run.rollback",
            Self::Cancel => "run.cancel",
        }
    }
}

impl Engine {
    /// Starts a run of a rotation and drives it.
    ///
    /// # Errors
    /// [`Error::Config`] when the plugin's own check refuses the configuration, [`Error::Refused`] when something is missing that no
    /// target has to be asked about; [`Error::OpenRun`] while another run of the secret is
    /// not over; [`Error::PluginUnusable`]; the store and the vault.
    pub async fn rotate(&self, rotation: &RotationName, order: Order<'_>) -> Result<(RunView, Left), Error> {
        let inner = &self.inner;
        inner.vault.sub_key("plugin-derivations")?;
        let rotation = inner.rotation(rotation)?;
        let plugin = inner.plugin(&rotation.plugin)?;
        inner.check_settings(rotation, &plugin).await?;
        if self.open_run_of(&rotation.secret).await?.is_none() {
            inner.check_fitness(rotation, &plugin).await?;
        }
        let run = RunId::fresh(inner.clock.now());
        let (saved, performer) = inner.begin(run, rotation, &plugin, &order).await?;
        inner.drive(saved, performer, vec![Event::Start], order).await
    }

    /// Goes on with a run that stands: after a crash, a stop, a long wait, or parked.
    ///
    /// # Errors
    /// [`Error::NoRun`], [`Error::Over`], [`Error::PastNoReturn`] for a roll-back after the promotion, [`Error::Choice`] for an answer that does not fit.
    pub async fn go_on(&self, run: &RunId, wish: Wish, order: Order<'_>) -> Result<(RunView, Left), Error> {
        let inner = &self.inner;
        inner.vault.sub_key("plugin-derivations")?;
        let (row, saved) = inner.journal.load(run).await?;
        if let Some(ended) = &saved.state.ended {
            return Err(Error::Over {
                run: run.clone(),
                outcome: ending_word(ended.ending).to_owned(),
            });
        }
        if wish == Wish::RollBack && saved.state.past_no_return() {
            return Err(Error::PastNoReturn { run: run.clone() });
        }
        if let (Some(parked), Some((choice, option))) = (&saved.state.parked, wish.choice())
            && !saved.state.takes(choice)
        {
            return Err(Error::Choice {
                run: run.clone(),
                cause: parked.cause.as_str(),
                option,
            });
        }
        let entry = keywheel_audit::Entry::of_host(wish.action(), row.rotation.as_str(), "ok")
            .by(actor())
            .in_run(run)
            .with(serde_json::json!({"secret": row.secret.as_str(), "reason": order.reason}));
        inner
            .store
            .write(move |tx| Ok::<_, Error>(tx.audit(&entry).map(|_| ())?))
            .await?;
        let events = events_of(wish, &saved.state);
        match inner.performer(&row, &saved.state).await {
            Ok(performer) => inner.drive(saved, performer, events, order).await,
            Err(Withdrawn::Error(error)) => Err(error),
            // The plugin is gone: the run is parked until it is back (rule P12).
            Err(Withdrawn::Gone(what)) => inner.park(saved, what).await.map(|view| (view, Left::Parked)),
        }
    }

    /// Runs, newest first, of one rotation or of all.
    ///
    /// # Errors
    /// The store; a state that cannot be read.
    pub async fn runs(&self, rotation: Option<&RotationName>, limit: u32) -> Result<Vec<RunView>, Error> {
        let rotation = rotation.cloned();
        let rows = self
            .inner
            .store
            .read(move |reader| Ok::<_, Error>(reader.runs(rotation.as_ref(), limit)?))
            .await?;
        self.inner.views(&rows).await
    }

    /// Runs that are not over, oldest first.
    ///
    /// # Errors
    /// The store; a state that cannot be read.
    pub async fn open_runs(&self) -> Result<Vec<RunView>, Error> {
        let rows = self
            .inner
            .store
            .read(|reader| Ok::<_, Error>(reader.open_runs()?))
            .await?;
        self.inner.views(&rows).await
    }

    /// Whether the configuration still has the rotation of every run that is not over (rule P12): nothing new is begun while one is taken
    /// out under its run.
    ///
    /// # Errors
    /// [`Error::RotationGone`]; the store.
    pub async fn check_open_runs(&self) -> Result<(), Error> {
        let gone = |run: &RunView| self.inner.config.rotation(&run.rotation).is_none();
        match self.open_runs().await?.into_iter().find(gone) {
            Some(RunView { run, rotation, .. }) => Err(Error::RotationGone { run, rotation }),
            None => Ok(()),
        }
    }

    /// One run.
    ///
    /// # Errors
    /// [`Error::NoRun`].
    pub async fn run(&self, run: &RunId) -> Result<RunView, Error> {
        let (row, _) = self.inner.journal.load(run).await?;
        self.inner.view(&row).await
    }

    /// The run of a secret that is not over.
    ///
    /// # Errors
    /// The store.
    pub async fn open_run_of(&self, secret: &SecretName) -> Result<Option<RunId>, Error> {
        let secret = secret.clone();
        self.inner
            .store
            .read(move |reader| Ok::<_, Error>(reader.open_run_of(&secret)?))
            .await
    }
}

/// Events in the order in which the machine takes them: a wish first, then that the host was away. A run that was never saved after its
/// beginning may have done more than is written (it holds leases, an import has a pending version): there the wish comes second, for it would
/// end the run as one that has begun nothing.
fn events_of(wish: Wish, state: &State) -> Vec<Event> {
    let parked = state.parked.is_some();
    let unsaved = state.op == 0;
    match wish {
        Wish::RollBack if unsaved => vec![Event::Recovered, Event::RollBack],
        Wish::Cancel if unsaved => vec![Event::Recovered, Event::Cancel],
        Wish::Resume if parked => vec![Event::Resume(Choice::Retry)],
        Wish::ApplyCurrent if parked => vec![Event::Resume(Choice::ApplyCurrent)],
        Wish::AcceptHead if parked => vec![Event::Resume(Choice::AcceptHead)],
        Wish::Resume | Wish::ApplyCurrent | Wish::AcceptHead => vec![Event::Recovered],
        Wish::RollBack if parked => vec![Event::RollBack],
        Wish::RollBack => vec![Event::RollBack, Event::Recovered],
        Wish::Cancel if parked => vec![Event::Cancel],
        Wish::Cancel => vec![Event::Cancel, Event::Recovered],
    }
}

enum Withdrawn {
    Gone(String),
    Error(Error),
}

impl From<Error> for Withdrawn {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Inner {
    pub(crate) async fn begin(
        &self,
        run: RunId,
        rotation: &Rotation,
        plugin: &Arc<Plugin>,
        order: &Order<'_>,
    ) -> Result<(Saved, Performer), Error> {
        let epoch = self.epoch_of_run(&rotation.secret, order.trigger).await?;
        let settings = Self::settings(rotation, plugin, order.trigger, epoch)?;
        let state = State::new(run, settings);
        let principals = settings::principals(rotation, plugin.manifest());
        let pinned = Pinned::of(rotation);
        let keys = lease_keys(&state.settings, &principals);
        let saved = self
            .journal
            .begin(
                state,
                principals.join("\n"),
                &pinned,
                &actor(),
                order.reason.as_deref(),
            )
            .await?;
        let performer = Performer {
            pinned: Arc::new(pinned),
            plugin: Arc::clone(plugin),
            keys,
            accounts: principals,
            probes: settings::probes(rotation, plugin.manifest()),
            step_time: rotation.deadlines.step,
            cancel: Cancel::new().1,
        };
        Ok((saved, performer))
    }

    pub(crate) fn settings(
        rotation: &Rotation,
        plugin: &Plugin,
        trigger: Trigger,
        epoch: Epoch,
    ) -> Result<keywheel_workflow::Settings, Error> {
        settings::pin(
            rotation,
            plugin.manifest(),
            &plugin.digest().to_string(),
            trigger,
            epoch,
            rand::random(),
        )
    }

    /// What the run needs to go on: the plugin bytes and the configuration that it started with.
    async fn performer(&self, row: &Run, state: &State) -> Result<Performer, Withdrawn> {
        let pinned = self.journal.pinned(&state.run).await?;
        let digest: Digest = state
            .settings
            .plugin_digest
            .parse()
            .map_err(|_| Error::Defect("a run's plugin digest cannot be read"))?;
        let registry = self.registry();
        let plugin = crate::engine::blocking(move || registry.pinned(&digest)).await?;
        let plugin =
            plugin.map_err(|error| Withdrawn::Gone(format!("plugin {}: {error}", state.settings.plugin)))?;
        let principals: Vec<String> = row.principal.lines().map(str::to_owned).collect();
        let rotation = self.config.rotation(&state.settings.rotation);
        Ok(Performer {
            keys: lease_keys(&state.settings, &principals),
            accounts: principals,
            probes: rotation.map_or_else(Probes::careful, |rotation| {
                settings::probes(rotation, plugin.manifest())
            }),
            step_time: Duration::from_millis(state.settings.effect_deadline_ms)
                .saturating_sub(settings::EFFECT_SLACK),
            pinned: Arc::new(pinned),
            plugin,
            cancel: Cancel::new().1,
        })
    }

    pub(crate) async fn drive(
        self: &Arc<Self>,
        saved: Saved,
        performer: Performer,
        events: Vec<Event>,
        order: Order<'_>,
    ) -> Result<(RunView, Left), Error> {
        let run = saved.state.run.clone();
        let driver = Driver {
            inner: self,
            performer,
            stop: order.stop,
            wait: order.wait,
            observer: order.observer,
        };
        let (_, left) = Box::pin(driver.drive(saved, events)).await?;
        let (row, _) = self.journal.load(&run).await?;
        Ok((self.view(&row).await?, left))
    }

    async fn park(&self, mut saved: Saved, what: String) -> Result<RunView, Error> {
        let now = self.clock.now();
        let next = keywheel_workflow::step(&saved.state, &Event::Withdrawn { what }, now);
        let notes = Noted::of(&next, now).collect();
        self.journal.save(&mut saved, &next, notes).await?;
        let (row, _) = self.journal.load(&saved.state.run).await?;
        self.view(&row).await
    }

    /// Ends a run that has not begun, so that it is in nobody's way.
    pub(crate) async fn drop_unbegun(&self, mut saved: Saved) -> Result<(), Error> {
        let now = self.clock.now();
        let next = keywheel_workflow::step(&saved.state, &Event::Cancel, now);
        let notes = Noted::of(&next, now).collect();
        self.journal.save(&mut saved, &next, notes).await.map(|_| ())
    }

    async fn views(&self, rows: &[Run]) -> Result<Vec<RunView>, Error> {
        let mut views = Vec::with_capacity(rows.len());
        for row in rows {
            views.push(self.view(row).await?);
        }
        Ok(views)
    }

    /// A stored run, as a person sees it.
    async fn view(&self, row: &Run) -> Result<RunView, Error> {
        let state = read_state(row)?;
        let other_configuration = !state.is_over() && self.is_configured_otherwise(&state).await?;
        Ok(view_of(row, &state, other_configuration))
    }

    /// Whether the rotation stands otherwise in the configuration than the run has pinned it (rule P12). A rotation that is gone is another
    /// matter, and another plugin file is no configuration.
    async fn is_configured_otherwise(&self, state: &State) -> Result<bool, Error> {
        let settings = &state.settings;
        let Some(rotation) = self.config.rotation(&settings.rotation) else {
            return Ok(false);
        };
        if rotation.plugin != settings.plugin
            || Pinned::of(rotation) != self.journal.pinned(&state.run).await?
        {
            return Ok(true);
        }
        let Ok(plugin) = self.plugin(&rotation.plugin) else {
            return Ok(false);
        };
        if plugin.digest().to_string() != settings.plugin_digest {
            return Ok(false);
        }
        let now = settings::pin(
            rotation,
            plugin.manifest(),
            &settings.plugin_digest,
            settings.trigger,
            settings.epoch,
            settings.seed,
        );
        Ok(now.map_or(true, |now| now != **settings))
    }
}

fn view_of(row: &Run, state: &State, other_configuration: bool) -> RunView {
    let described = describe(state);
    RunView {
        run: row.id.clone(),
        rotation: row.rotation.clone(),
        secret: row.secret.clone(),
        trigger: state.settings.trigger,
        state: described.word,
        safety: described.safety,
        past_no_return: state.past_no_return(),
        started_at: row.started,
        finished_at: row.finished,
        waits_until: described.waits_until,
        waits_for: described.waits_for,
        trouble: described.trouble,
        other_configuration,
        parked: state.parked.as_ref().map(|parked| ParkedView {
            cause: parked.cause,
            detail: parked.detail.clone(),
            way_out: way_out(parked.cause, &row.id),
        }),
        detail: state
            .ended
            .as_ref()
            .map(|ended| ended.detail.clone())
            .unwrap_or_default(),
        steps: described
            .steps
            .into_iter()
            .map(|step| StepView {
                step: step.step,
                began_at: step.began,
                ended_at: step.ended,
                tries: step.tries,
                code: step.code,
                message: step.message,
                state: match step.ended {
                    None => StepWord::Open,
                    Some(_) if step.failed => StepWord::Failed,
                    Some(_) => StepWord::Done,
                },
                safety: step.safety,
            })
            .collect(),
        current: state.roles.current.clone(),
        pending: state.roles.pending.clone(),
        previous: state.roles.previous.clone(),
        unproved: state.promoted && !state.proved,
    }
}
