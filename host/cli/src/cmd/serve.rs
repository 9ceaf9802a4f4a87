//! `keywheel serve`: the host as a service.

mod commands;
mod files;
mod health;

use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use keywheel_engine::{Engine, Keeper, Stop, Stopper, SystemClock, Teller, Trimmer};
use keywheel_model::Clock as _;
use keywheel_server::{Answers as _, Http, Listener, Notify};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, block_in_place};
use tokio::time::MissedTickBehavior;

use crate::cmd::serve::commands::Commands;
use crate::cmd::serve::files::{Change, Watch};
use crate::cmd::serve::health::Health;
use crate::cmd::{Context, host};
use crate::errors::{Failure, counted};
use crate::exit_code::ExitCode;

/// Runs the host.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How each line on standard error is written
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log: LogFormat,
}

/// How the running host's lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    // For people, and for a service manager that adds the time.
    Text,
    // One JSON object a line.
    Json,
}

/// The files that decide for the host are looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// So long a host that starts waits for a command that has the state to itself, and so often it asks.
const COMMANDS_END_WITHIN: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// A step in flight ends at its deadline, and what it has come to is kept, for which a busy disk takes its time; beyond it nothing is waited for.
const DRAIN_SLACK: Duration = Duration::from_secs(20);

/// # Errors
/// The configuration is not valid; another host has the state; its socket cannot be made.
pub(crate) async fn run(_arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    // From the beginning: without a handler the signal would end a host that is still opening its state.
    let hang_up = Signals::listen_to(SignalKind::hangup())?;
    let (watch, engine) = open(context).await?;
    let listener = Listener::bind(&engine.config().socket)?;
    let http = match engine.config().http {
        Some(address) => Some(Http::bind(address).await?),
        None => None,
    };
    let signals = Signals::listen(hang_up)?;
    let (stopper, stop) = Stop::pair();
    // They are told of what ends while the host stops, too.
    let (last, traced) = Stop::pair();
    let collector = engine.collect_traces();
    let tracing =
        collector.map(|collector| tokio::spawn(async move { collector.deliver(traced.requested()).await }));
    let (now, engine) = watch::channel(engine);
    let keeper = Keeper::new(engine.clone(), stop.clone());
    let teller = Teller::new(engine.clone(), stop.clone());
    let trimmer = Trimmer::new(engine.clone(), stop.clone());
    let health = Arc::new(Health::new(engine.clone(), stop.clone()));
    let service = Service {
        context,
        notify: Notify::from_environment(),
        keeping: tokio::spawn(keeper.run()),
        telling: tokio::spawn(teller.run()),
        trimming: tokio::spawn(trimmer.run()),
        tracing: tracing.map(|tracing| (last, tracing)),
        answering: http.map(|http| tokio::spawn(http.serve(Arc::clone(&health) as _))),
        health,
        commands: Commands::new(engine, stop),
        engine: now,
        stopper,
        lost: 0,
    };
    service.run(listener, signals, watch).await
}

/// With the vault as it is: one without a key file is unsealed by `keywheel vault unseal` while the host runs.
async fn open(context: &Context) -> Result<(Watch, Engine), Failure> {
    let patient_until = Instant::now() + COMMANDS_END_WITHIN;
    let (watch, draft) = files::draft(context)?;
    let config = host::checked_apart(draft, context)?;
    loop {
        match Engine::open(config.clone(), Arc::new(SystemClock)).await {
            // A command that was begun before. A host would listen.
            Err(error)
                if error.code() == "store.in-use"
                    && Instant::now() < patient_until
                    && UnixStream::connect(&config.socket).is_err() => {}
            opened => return Ok((watch, opened?)),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen(hang_up: Signal) -> Result<Self, Failure> {
        Ok(Self {
            terminate: Self::listen_to(SignalKind::terminate())?,
            interrupt: Self::listen_to(SignalKind::interrupt())?,
            hang_up,
        })
    }

    fn listen_to(kind: SignalKind) -> Result<Signal, Failure> {
        signal(kind).map_err(|error| {
            let message = "cannot listen to signals";
            Failure::because(ExitCode::Unexpected, "host.signals", message, &error)
        })
    }
}

struct Service<'c> {
    context: &'c Context,
    notify: Notify,
    engine: watch::Sender<Engine>,
    keeping: JoinHandle<()>,
    telling: JoinHandle<()>,
    trimming: JoinHandle<()>,
    /// To a collector of spans, where one is configured.
    tracing: Option<(Stopper, JoinHandle<()>)>,
    /// To whom asks by HTTP. Ends with the process.
    answering: Option<JoinHandle<()>>,
    health: Arc<Health>,
    commands: Commands,
    stopper: Stopper,
    /// So many lines of the log were lost, and that was said.
    lost: usize,
}

/// What was read, and the files as they were before.
type Read = Result<(Watch, Engine), Failure>;

/// The files that are read again.
struct Reading<'c> {
    /// As they were before, where what they say now is not taken.
    before: Watch,
    work: Pin<Box<dyn Future<Output = Read> + Send + 'c>>,
    /// Somebody has asked for it once more.
    again: bool,
}

impl<'c> Service<'c> {
    async fn run(
        mut self,
        mut listener: Listener,
        mut signals: Signals,
        mut watch: Watch,
    ) -> Result<ExitCode, Failure> {
        let every = self.notify.watchdog_every();
        let mut alive = tokio::time::interval(every.unwrap_or(Duration::from_hours(1)));
        self.admit(&listener);
        self.notify.ready(&self.words());
        self.context.output.say(&self.words());
        self.warn_of_removed().await;
        let engine = self.engine.subscribe();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reading: Option<Reading<'_>> = None;
        loop {
            tokio::select! {
                (session, peer) = listener.accept(|peer| engine.borrow().hears(peer.uid)) => {
                    self.commands.take(session, peer);
                }
                _ = signals.hang_up.recv() => match &mut reading {
                    Some(reading) => reading.again = true,
                    None => reading = Some(self.read_again(&watch)),
                },
                (read, before, again) = done(&mut reading) => {
                    watch = self.take(read, &listener).await.unwrap_or(before);
                    reading = again.then(|| self.read_again(&watch));
                }
                _ = look.tick() => {
                    self.tell_lost();
                    self.keep_heard(&mut listener);
                    if reading.is_none() && self.have_changed(&mut watch) {
                        reading = Some(self.read_again(&watch));
                    }
                }
                _ = alive.tick() => if every.is_some() && self.health.alive().is_ok() { self.notify.alive() },
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                ended = &mut self.keeping => return Err(died(listener, ended.err())),
                ended = &mut self.telling => return Err(died(listener, ended.err())),
                ended = &mut self.trimming => return Err(died(listener, ended.err())),
            }
        }
        // What is read again counts once it is whole: left in the middle it is as if it had not begun.
        drop(reading);
        drop(listener);
        self.drain().await
    }

    /// Says that lines of the log are lost, once somebody reads it again.
    fn tell_lost(&mut self) {
        let terminal = self.context.output.terminal();
        let lost = terminal.lost();
        if lost > self.lost {
            self.context.output.warn(&format!(
                "{} lines of this log are lost: nobody read it",
                lost - self.lost
            ));
            // Where that is lost too, it is said the next time.
            if terminal.lost() == lost {
                self.lost = lost;
            }
        }
    }

    /// Nothing new begins; steps in flight end, at the latest by their deadline, and every run stands at a journalled point.
    async fn drain(self) -> Result<ExitCode, Failure> {
        self.notify.stopping();
        self.context
            .output
            .say("stopping: steps that are under way come to their end");
        let config = self.engine.borrow().config().clone();
        let steps = config.samples().flat_map(|rotation| {
            let hooks = rotation
                .consumers
                .iter()
                .filter_map(|consumer| consumer.hook.as_ref());
            hooks.map(|hook| hook.timeout).chain([rotation.deadlines.step])
        });
        let longest = steps.max().unwrap_or(config.limits.step) + DRAIN_SLACK;
        self.stopper.stop();
        let ended = tokio::time::timeout(longest, async {
            self.commands.ended().await;
            let kept = self.keeping.await;
            let told = self.telling.await;
            self.trimming.await.and(told).and(kept)
        });
        let ended = ended.await;
        if let Some(answering) = self.answering {
            answering.abort();
        }
        if let Some((last, tracing)) = self.tracing {
            last.stop();
            // It has its own end, a few seconds away. A span that is lost is nobody's loss.
            let _ = tracing.await;
        }
        match ended {
            Ok(Ok(())) => Ok(ExitCode::Ok),
            Ok(Err(error)) => Err(defect(Some(error))),
            Err(_) => {
                let message = "a step did not end by its deadline; what it has done is asked of its target after the next start";
                Err(Failure::new(ExitCode::TimedOut, "host.drain", message))
            }
        }
    }

    /// Whether the files are to be read again.
    fn have_changed(&self, watch: &mut Watch) -> bool {
        if !self.engine.borrow().config().watch {
            return false;
        }
        let change = block_in_place(|| watch.change());
        if let Some(Change::InUnrest(file)) = &change {
            let file = file.display();
            let words = format!("\"{file}\" changes again and again: what is there now is read");
            self.context.output.warn(&words);
        }
        change.is_some()
    }

    /// Begins to read the files again. Very many rows take their time to be checked: commands, signals and the watchdog do not wait for that.
    fn read_again(&self, watch: &Watch) -> Reading<'c> {
        self.notify.reloading();
        let (context, engine) = (self.context, self.engine.borrow().clone());
        let work = async move {
            let (watch, mut draft) = files::draft(context)?;
            draft.examine_schedules(SystemClock.now());
            let config = host::checked(draft, context)?;
            Ok::<_, Failure>((watch, engine.with_config(config).await?))
        };
        Reading {
            before: block_in_place(|| watch.renewed()),
            work: Box::pin(work),
            again: false,
        }
    }

    /// What cannot be taken leaves everything as it was, and is told. Returned is what is watched from now on, where that is something else.
    async fn take(&self, read: Read, listener: &Listener) -> Option<Watch> {
        let output = &self.context.output;
        let watch = match read {
            Ok((watch, engine)) => {
                engine.configuration_taken();
                self.engine.send_replace(engine);
                self.admit(listener);
                output.say(&format!("read the configuration again; {}", self.words()));
                self.warn_of_removed().await;
                Some(watch)
            }
            Err(failure) => {
                let engine = self.engine.borrow().clone();
                engine.configuration_refused(failure.code());
                output.fail(&failure);
                output.warn("the configuration was not taken: the host goes on with the one that it has");
                None
            }
        };
        self.notify.ready(&self.words());
        watch
    }

    /// Rule P12: it is taken all the same, for whatever else it says must not wait for one run.
    async fn warn_of_removed(&self) {
        let engine = self.engine.borrow().clone();
        let output = &self.context.output;
        match engine.removed_runs().await {
            Ok(runs) => {
                for run in runs {
                    output.warn(&format!("{}: {}", run.removed_words(), run.removed_way_out()));
                }
            }
            Err(error) => output.fail(&error.into()),
        }
    }

    /// A socket that somebody has removed is made again: without it no command reaches the host that has the state. What others have put in its place stays.
    fn keep_heard(&self, listener: &mut Listener) {
        let (engine, output) = (self.engine.borrow().clone(), &self.context.output);
        if block_in_place(|| listener.is_there()) {
            engine.set_unheard(None);
            return;
        }
        match block_in_place(|| Listener::bind(listener.path())) {
            Ok(made) => {
                *listener = made;
                self.admit(listener);
                engine.set_unheard(None);
                output.warn("the socket was not there any more, and was made again");
            }
            Err(error) => {
                if engine.set_unheard(Some(error.code())) {
                    output.fail(&error.into());
                }
            }
        }
    }

    /// Other users reach the socket as long as one of them has something to say.
    fn admit(&self, listener: &Listener) {
        let admits = self.engine.borrow().hears_others();
        if let Err(error) = block_in_place(|| listener.admit_others(admits)) {
            self.context.output.fail(&error.into());
        }
    }

    fn words(&self) -> String {
        let engine = self.engine.borrow();
        let sealed = if engine.vault().is_sealed() {
            "; the vault is sealed, and nothing is rotated before `keywheel vault unseal`"
        } else {
            ""
        };
        format!("keeps {}{sealed}", counted(engine.config().count(), "rotation"))
    }
}

/// What was read again, once it is; the files as they were before, and whether somebody has asked for it once more.
async fn done(reading: &mut Option<Reading<'_>>) -> (Read, Watch, bool) {
    let Some(under_way) = reading else {
        return std::future::pending().await;
    };
    let read = under_way.work.as_mut().await;
    // It is there: its work has just ended.
    match reading.take() {
        Some(Reading { before, again, .. }) => (read, before, again),
        None => std::future::pending().await,
    }
}

/// Before anything is said: nobody is to come any more.
fn died(listener: Listener, error: Option<JoinError>) -> Failure {
    drop(listener);
    defect(error)
}

fn defect(error: Option<JoinError>) -> Failure {
    let failure = Failure::new(
        ExitCode::Unexpected,
        "host.defect",
        "what starts and goes on with runs, or tells of them, has died",
    );
    let words = error.map(|error| error.to_string());
    failure.maybe_hint(words)
}
