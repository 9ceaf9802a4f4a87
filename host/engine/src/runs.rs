//! Runs: planned, started, resumed, and shown.

use std::sync::Arc;
use std::time::Duration;

use keywheel_capability::Cancel;
use keywheel_config::Rotation;
use keywheel_manifest::Digest;
use keywheel_model::{Epoch, RotationName, RunId, SecretName, Trigger};
use keywheel_plugin::Plugin;
use keywheel_store::Run;
use keywheel_workflow::{Cause, Choice, Event, State};

use crate::actor::actor;
use crate::driver::{Driver, Left, Stop};
use crate::engine::{Engine, Inner};
use crate::journal::{Beginning, Noted, Saved, ending_word, lease_keys};
use crate::perform::Performer;
use crate::pinned::Pinned;
use crate::settings::Probes;
use crate::turns::Turn;
use crate::view::RunView;
use crate::{Error, Observer, Wait, settings};

/// How a run is to be started and followed.
pub struct Order<'o> {
    /// Why.
    pub trigger: Trigger,
    /// A person's reason, for the audit trail.
    pub reason: Option<String>,
    /// How long to wait for a run that sleeps.
    pub wait: Wait,
    /// A person answers for that it begins within the offset of its linked group.
    pub ignores_offset: bool,
    /// Asks to stop at the next journalled point.
    pub stop: Stop,
    /// Is told of every new state.
    pub observer: &'o dyn Observer,
}

/// What a person wants of a run that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Go on where there is something to be done: nobody asks for more. For a timer.
    GoOn,
    /// Go on, try again; within the wait for consumers: see that the target still accepts current.
    Resume,
    /// Put the vault's current version on the target again, then go on.
    ApplyCurrent,
    /// The vault's head is right, whoever wrote it.
    AcceptHead,
    /// Back to the current version; before the promotion only.
    RollBack,
    /// Stop: back if nothing is promoted, else to the end.
    Cancel,
    /// Over as it stands, because its target is gone; nothing is asked of that any more.
    GiveUp,
    /// Wait no longer for consumers than they have declared: the grace is over.
    EndGrace,
    /// Do not wait for consumers at all: the old credential dies now.
    RevokeNow,
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

    /// Refuses an answer that does not fit where the run stands.
    fn check(self, state: &State) -> Result<(), Error> {
        let refused = match (self, self.choice()) {
            (Self::EndGrace, _) if !state.can_end_wait(true) => "--end-grace",
            (Self::RevokeNow, _) if !state.can_end_wait(false) => "--revoke-now",
            (Self::GiveUp, _) if !state.can_be_given_up() && !state.is_given_up() => "--give-up",
            (_, Some((choice, option))) if !state.takes(choice) => option,
            _ => return Ok(()),
        };
        Err(Error::Choice {
            run: state.run.clone(),
            stands: stands(state),
            parked: state.parked.is_some(),
            option: refused,
        })
    }

    /// Under which it stands in the audit trail.
    fn action(self) -> &'static str {
        match self {
            Self::GoOn | Self::Resume => "run.resume",
            Self::ApplyCurrent => "run.apply-current",
            Self::AcceptHead => "run.accept-head",
            Self::RollBack => "run.rollback",
            Self::Cancel => "run.cancel",
            Self::GiveUp => "run.give-up",
            Self::EndGrace => "run.end-grace",
            Self::RevokeNow => "run.revoke-now",
        }
    }
}

impl Engine {
    /// Starts a run of a rotation and drives it.
    ///
    /// # Errors
    /// [`Error::Linked`] while another of its group is in its way; [`Error::Config`] when the plugin's own check refuses the configuration, [`Error::Refused`] when something is missing that no
    /// target has to be asked about; [`Error::OpenRun`] while another run of the secret is
    /// not over; [`Error::PluginUnusable`]; the store and the vault.
    pub async fn rotate(&self, rotation: &RotationName, order: Order<'_>) -> Result<(RunView, Left), Error> {
        let inner = &self.inner;
        inner.vault.sub_key("plugin-derivations")?;
        let rotation = &*inner.rotation(rotation)?;
        let plugin = inner.plugin(&rotation.plugin)?;
        inner.check_apart(rotation, order.ignores_offset).await?;
        inner.check_settings(rotation, &plugin).await?;
        if order.trigger == Trigger::Compromise {
            Box::pin(self.end_grace_of(&rotation.secret, &order)).await?;
        }
        if self.open_run_of(&rotation.secret).await?.is_none() {
            inner.check_fitness(rotation, &plugin).await?;
            inner.check_untried(rotation).await?;
        }
        let turn = inner.turns.begin(inner.clock.now());
        let (saved, performer) = inner.begin(&turn, rotation, &plugin, &order).await?;
        inner
            .drive(turn, saved, performer, vec![Event::Start], order)
            .await
    }

    /// Goes on with a run that stands: after a crash, a stop, a long wait, or parked.
    ///
    /// # Errors
    /// [`Error::NoRun`], [`Error::Over`], [`Error::PastNoReturn`] for a roll-back after the promotion, [`Error::Choice`] for an answer that does not fit.
    pub async fn go_on(&self, run: &RunId, wish: Wish, order: Order<'_>) -> Result<(RunView, Left), Error> {
        let inner = &self.inner;
        inner.vault.sub_key("plugin-derivations")?;
        let turn = match wish {
            // Nobody asks for more than that somebody drives it.
            Wish::GoOn => match inner.turns.try_take(run) {
                Some(turn) => turn,
                None => return Ok((self.run(run).await?, Left::Stopped)),
            },
            _ => inner.turns.take(run).await,
        };
        let (row, saved) = inner.journal.load(run).await?;
        // What somebody has decided for it needs no further wish.
        let wish = match wish {
            Wish::GoOn if inner.view(&row).await?.is_decided() => Wish::Resume,
            wish => wish,
        };
        if let Some(ended) = &saved.state.ended {
            return Err(Error::Over {
                run: run.clone(),
                outcome: ending_word(ended.ending).to_owned(),
            });
        }
        if wish == Wish::RollBack && saved.state.past_no_return() {
            return Err(Error::PastNoReturn { run: run.clone() });
        }
        wish.check(&saved.state)?;
        let entry = keywheel_audit::Entry::of_host(wish.action(), row.rotation.as_str(), "ok")
            .by(actor())
            .in_run(run)
            .with(serde_json::json!({"secret": row.secret.as_str(), "reason": order.reason}));
        inner
            .store
            .write(move |tx| Ok::<_, Error>(tx.audit(&entry).map(|_| ())?))
            .await?;
        let mut events = events_of(wish, &saved.state);
        // Giving up calls no plugin: it need not be there.
        let calls_none = wish == Wish::GiveUp || saved.state.is_given_up();
        match inner.performer(&row, &saved.state, calls_none).await {
            Ok(performer) => {
                // With the grant back there is nothing to wait for: it is done at once.
                if is_put_off(wish, &saved.state) && performer.withdrawn(inner).await?.is_none() {
                    events.push(Event::Resume(Choice::Retry));
                }
                inner.drive(turn, saved, performer, events, order).await
            }
            Err(Withdrawn::Error(error)) => Err(error),
            // The plugin is gone: the run is parked until it is back (rule P12).
            Err(Withdrawn::Gone(what)) => inner.park(saved, wish, what).await,
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
            .read_here(move |reader| Ok::<_, Error>(reader.open_run_of(&secret)?))
            .await
    }
}

/// Where a run stands, in words that a refusal can use.
fn stands(state: &State) -> String {
    if let Some(parked) = &state.parked {
        return format!("is parked ({})", parked.cause.as_str());
    }
    let described = keywheel_workflow::describe(state);
    let trouble = described
        .trouble
        .map(|trouble| format!(" after {}: {}", trouble.code, trouble.message));
    match described.waits_for {
        Some(what) => format!(
            "is not parked: it waits for {what}{}",
            trouble.unwrap_or_default()
        ),
        None => "is not parked: it stands at a journalled point".to_owned(),
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
        Wish::GiveUp if !state.is_given_up() => vec![Event::GiveUp],
        Wish::GiveUp if parked => vec![Event::Resume(Choice::Retry)],
        Wish::Resume if state.takes(Choice::Retry) => vec![Event::Resume(Choice::Retry)],
        Wish::ApplyCurrent => vec![Event::Resume(Choice::ApplyCurrent)],
        Wish::AcceptHead => vec![Event::Resume(Choice::AcceptHead)],
        Wish::EndGrace => vec![Event::EndWait {
            spares_consumers: true,
        }],
        Wish::RevokeNow => vec![Event::EndWait {
            spares_consumers: false,
        }],
        Wish::GoOn | Wish::Resume | Wish::GiveUp => vec![Event::Recovered],
        Wish::RollBack if parked => vec![Event::RollBack],
        Wish::RollBack => vec![Event::RollBack, Event::Recovered],
        Wish::Cancel if parked => vec![Event::Cancel],
        Wish::Cancel => vec![Event::Cancel, Event::Recovered],
    }
}

/// Whether the machine only notes the wish: without its grant the plugin can undo nothing.
fn is_put_off(wish: Wish, state: &State) -> bool {
    let cause = state.parked.as_ref().map(|parked| parked.cause);
    matches!(wish, Wish::RollBack | Wish::Cancel) && cause == Some(Cause::Withdrawn)
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
        turn: &Turn<'_>,
        rotation: &Rotation,
        plugin: &Arc<Plugin>,
        order: &Order<'_>,
    ) -> Result<(Saved, Performer), Error> {
        self.check_accounts(rotation, plugin.manifest()).await?;
        let epoch = self.epoch_of_run(&rotation.secret, order.trigger).await?;
        let mut settings = Self::settings(rotation, plugin, order.trigger, epoch)?;
        if let Some(kept) = self.config.retention.versions {
            settings.horizon_ms = settings::ms(kept);
        }
        let state = State::new(turn.run().clone(), settings);
        let principals = settings::principals(rotation, plugin.manifest());
        let pinned = Pinned::of(rotation);
        let keys = lease_keys(&state.settings, &principals);
        let beginning = Beginning {
            principal: principals.join("\n"),
            actor: actor(),
            reason: order.reason.clone(),
            apart: self.kept_apart(rotation, order.trigger),
            group: self.config.linked(&rotation.name).map(|group| group.name.clone()),
            ignores_offset: order.ignores_offset,
            is_told: self.config.notify.iter().any(|sink| sink.started),
        };
        let saved = self.journal.begin(state, &pinned, beginning).await?;
        let performer = Performer {
            pinned: Arc::new(pinned),
            plugin: Some(Arc::clone(plugin)),
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

    /// What the run needs to go on: the plugin bytes and the configuration that it started with. `without`: the plugin is not called.
    async fn performer(&self, row: &Run, state: &State, without: bool) -> Result<Performer, Withdrawn> {
        let pinned = self.journal.pinned(&state.run).await?;
        let digest: Digest = state
            .settings
            .plugin_digest
            .parse()
            .map_err(|_| Error::Defect("a run's plugin digest cannot be read"))?;
        let registry = self.registry();
        let plugin = crate::engine::blocking(move || registry.pinned(&digest)).await?;
        let plugin = match plugin {
            Ok(plugin) => Some(plugin),
            Err(_) if without => None,
            Err(error) => {
                return Err(Withdrawn::Gone(format!(
                    "plugin {}: {error}",
                    state.settings.plugin
                )));
            }
        };
        let principals: Vec<String> = row.principal.lines().map(str::to_owned).collect();
        let rotation = self.config.rotation(&state.settings.rotation);
        Ok(Performer {
            keys: lease_keys(&state.settings, &principals),
            accounts: principals,
            probes: rotation
                .zip(plugin.as_ref())
                .map_or_else(Probes::careful, |(rotation, plugin)| {
                    settings::probes(&rotation, plugin.manifest())
                }),
            step_time: Duration::from_millis(state.settings.effect_deadline_ms)
                .saturating_sub(settings::EFFECT_SLACK),
            pinned: Arc::new(pinned),
            plugin,
            cancel: Cancel::new().1,
        })
    }

    /// Drives it for whoever has the turn.
    pub(crate) async fn drive(
        self: &Arc<Self>,
        turn: Turn<'_>,
        saved: Saved,
        performer: Performer,
        events: Vec<Event>,
        order: Order<'_>,
    ) -> Result<(RunView, Left), Error> {
        let run = saved.state.run.clone();
        let driver = Driver {
            inner: self,
            performer,
            stop: turn.stop(order.stop),
            wait: order.wait,
            observer: order.observer,
        };
        let (_, left) = Box::pin(driver.drive(saved, events)).await?;
        drop(turn);
        let (row, _) = self.journal.load(&run).await?;
        Ok((self.view(&row).await?, left))
    }

    /// Parks a run whose plugin is gone. A wish to give it up is noted all the same.
    async fn park(&self, mut saved: Saved, wish: Wish, what: String) -> Result<(RunView, Left), Error> {
        let mut events = match wish {
            Wish::RollBack => vec![Event::RollBack],
            Wish::Cancel => vec![Event::Cancel],
            _ => Vec::new(),
        };
        events.push(Event::Withdrawn { what });
        for event in events {
            let now = self.clock.now();
            let next = keywheel_workflow::step(&saved.state, &event, now);
            let notes = Noted::of(&next, now).collect();
            self.journal.save(&mut saved, &next, notes).await?;
        }
        let left = if saved.state.is_over() {
            Left::Ended
        } else {
            Left::Parked
        };
        let (row, _) = self.journal.load(&saved.state.run).await?;
        Ok((self.view(&row).await?, left))
    }

    /// Ends a run that has not begun, so that it is in nobody's way.
    pub(crate) async fn drop_unbegun(&self, mut saved: Saved) -> Result<(), Error> {
        let now = self.clock.now();
        let next = keywheel_workflow::step(&saved.state, &Event::Cancel, now);
        let notes = Noted::of(&next, now).collect();
        self.journal.save(&mut saved, &next, notes).await.map(|_| ())
    }
}
