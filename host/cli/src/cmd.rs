//! One file a verb.

pub(crate) mod audit;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod drift;
pub(crate) mod host;
pub(crate) mod init;
pub(crate) mod notify;
pub(crate) mod ours;
pub(crate) mod plan;
pub(crate) mod plugin;
pub(crate) mod policy;
pub(crate) mod rotate;
pub(crate) mod run;
pub(crate) mod schedule;
pub(crate) mod secret;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod target;
pub(crate) mod vault;

use std::path::{Path, PathBuf};

use keywheel_config::Config;
use keywheel_engine::{Engine, Stop};
use keywheel_server::Peer;
use tokio::sync::watch;

use crate::args::{Command, Global};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::Output;

/// What every verb gets.
#[derive(Debug)]
pub(crate) struct Context {
    /// The options of every command.
    pub(crate) global: Global,
    /// Where words go.
    pub(crate) output: Output,
    /// The running host that does it; none: this process has the state to itself.
    pub(crate) host: Option<Host>,
}

/// What the running host gives to a command that it does.
#[derive(Clone)]
pub(crate) struct Host {
    /// Its engine, with the configuration that counts now.
    pub(crate) engine: Engine,
    /// Who gave the command.
    pub(crate) peer: Peer,
    /// Becomes true when the command is to stop.
    pub(crate) stop: watch::Receiver<bool>,
    /// Where the command was started: relative paths are from there.
    pub(crate) folder: PathBuf,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Host")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// Asks to stop at the next journalled point: Ctrl-C, SIGTERM; of a command that the running host does, whoever started it.
    ///
    /// # Errors
    /// The signals cannot be listened to.
    pub(crate) fn stop(&self) -> Result<Stop, Failure> {
        match &self.host {
            Some(host) => Ok(Stop::when(host.stop.clone())),
            None => host::stop_on_signal(&self.output),
        }
    }

    /// The user who gave the command.
    pub(crate) fn uid(&self) -> u32 {
        match &self.host {
            Some(host) => host.peer.uid,
            None => rustix::process::getuid().as_raw(),
        }
    }

    /// Whether that is neither the host's own user nor root: such a one has what the configuration grants, and nothing else.
    pub(crate) fn is_of_stranger(&self) -> bool {
        self.host.as_ref().is_some_and(|host| !host.peer.is_trusted())
    }

    /// A path of the command line, from where the command was started.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        match &self.host {
            Some(host) => host.folder.join(path),
            None => path.to_owned(),
        }
    }
}

/// Runs a verb.
///
/// # Errors
/// Whatever stops it.
pub(crate) async fn run(command: Command, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        Command::Init(arguments) => init::run(&arguments, context).await,
        Command::Status(arguments) => status::run(&arguments, context).await,
        Command::Plan(arguments) => plan::run(&arguments, context).await,
        Command::Rotate(arguments) => rotate::run(&arguments, context).await,
        Command::Run(verb) => run::run(verb, context).await,
        Command::Schedule(verb) => schedule::run(verb, context).await,
        Command::Secret(verb) => secret::run(verb, context).await,
        Command::Target(verb) => target::run(verb, context).await,
        Command::Plugin(verb) => plugin::run(verb, context).await,
        Command::Policy(verb) => policy::run(verb, context),
        Command::Config(verb) => config::run(verb, context).await,
        Command::Vault(verb) => vault::run(verb, context).await,
        Command::Audit(verb) => audit::run(verb, context).await,
        Command::Notify(verb) => notify::run(verb, context).await,
        Command::Drift(verb) => drift::run(verb, context).await,
        Command::Doctor => doctor::run(context).await,
        Command::Completion(arguments) => completion::run(&arguments, context),
        Command::Serve(arguments) => serve::run(&arguments, context).await,
    }
}

/// The failure for a rotation that the configuration does not have; names the nearest or all.
pub(crate) fn no_such_rotation(config: &Config, name: &str) -> Failure {
    let names: Vec<&str> = config.samples().map(|rotation| rotation.name.as_str()).collect();
    let hint = match keywheel_config::nearest(name, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "the configuration has no `[[rotation]]`".to_owned(),
        None => format!("there are {}", names.join(", ")),
    };
    Failure::new(
        ExitCode::NotFound,
        "rotation.not-found",
        format!("there is no rotation `{name}`"),
    )
    .hint(hint)
}
