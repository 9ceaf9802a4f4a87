mod hints;

use std::path::PathBuf;

use keywheel_config::Rotation;
use keywheel_model::{PluginName, RotationName, RunId, SecretName, Stage, StepError, VersionId};

use crate::approval::Unapproved;
use crate::error::hints::{
    file_hint, linked_hint, named_inputs, of_wanted, open_run_hint, over_hint, plan_hint, removed_words,
    targets_hint, unfit,
};
use crate::linked::Apart;
use crate::view::RunView;
use crate::words::way_past;

/// Why the engine could not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration, as a plugin's own check found it.
    #[error("the configuration is not valid")]
    Config(#[from] keywheel_config::Problems),
    /// The journal.
    #[error("the store failed")]
    Store(#[from] keywheel_store::Error),
    /// The configuration was changed in a way that a host that runs cannot follow.
    #[error("`{key}` is not what this host was started with")]
    NeedsRestart {
        /// What was changed.
        key: &'static str,
    },
    /// There is no state where the configuration says.
    #[error("the state cannot be opened: its folder is {named}{}", interrupted.as_ref().map_or_else(String::new, |restore| format!("; {}", restore.0)))]
    NoState {
        /// Where its folder is named.
        named: String,
        /// What a restore that was interrupted has left there: the words, and the way out.
        interrupted: Option<Box<(String, String)>>,
        /// What is missing.
        #[source]
        source: keywheel_store::Error,
    },
    /// There is no plugin folder where the configuration says.
    #[error("plugins cannot be loaded: their folder is {named}")]
    NoPlugins {
        /// Where it is named.
        named: String,
        /// What is missing.
        #[source]
        source: Box<keywheel_plugin::Error>,
    },
    /// A publisher's key that is none.
    #[error("plugins cannot be loaded: {named} is wrong")]
    Publisher {
        /// Where it is named.
        named: String,
        /// Which.
        #[source]
        source: keywheel_plugin::InvalidKey,
    },
    /// The vault.
    #[error("the vault failed")]
    Vault(#[from] keywheel_vault::Error),
    /// A plugin.
    #[error("a plugin cannot be used")]
    Plugin(#[from] keywheel_plugin::Error),
    /// A plugin, as the last scan of the folder found it.
    #[error("plugin {name} cannot be used")]
    PluginUnusable {
        /// Its name.
        name: PluginName,
        /// Why.
        #[source]
        source: std::sync::Arc<keywheel_plugin::Error>,
    },
    /// Configuration, grants, pins or trust sets that are not the host's alone.
    #[error("what decides for the host can be changed by others")]
    OpenToOthers {
        /// Which, and how.
        #[source]
        source: keywheel_plugin::Error,
    },
    /// The grants.
    #[error("a grant cannot be used")]
    Policy(#[from] keywheel_policy::Error),
    /// A capability's settings.
    #[error("a capability cannot be set up: {0}")]
    Capability(String),
    /// No rotation of that name.
    #[error("there is no rotation {rotation}")]
    NoRotation {
        /// The name.
        rotation: RotationName,
    },
    /// No secret of that name.
    #[error("there is no secret {secret}")]
    NoSecret {
        /// The name.
        secret: SecretName,
    },
    /// No version of that id.
    #[error("secret {secret} has no version {version}")]
    NoVersion {
        /// The secret.
        secret: SecretName,
        /// The version.
        version: VersionId,
    },
    /// No version in a stage.
    #[error("secret {secret} has no version that is {stage}")]
    NoneInStage {
        /// The secret.
        secret: SecretName,
        /// The stage.
        stage: Stage,
    },
    /// A version that its stage does not give to a program.
    #[error(
        "version {version} of {secret} is {stage}, and a program gets what is current, pending or previous"
    )]
    NotReadable {
        /// The secret.
        secret: SecretName,
        /// The version.
        version: VersionId,
        /// Its stage.
        stage: Stage,
    },
    /// A user to whom no grant gives the secret.
    #[error("user {uid} may not read {secret} by a program")]
    NotGranted {
        /// The secret.
        secret: SecretName,
        /// The user.
        uid: u32,
    },
    /// The value has no such part.
    #[error("the value of {secret} has no part that is called so")]
    NoPart {
        /// The secret.
        secret: SecretName,
    },
    /// No run of that id.
    #[error("there is no run {run}")]
    NoRun {
        /// The id.
        run: RunId,
    },
    /// Another run of the secret is not over.
    #[error("secret {secret} has an open run {run}")]
    OpenRun {
        /// The secret.
        secret: SecretName,
        /// The open run.
        run: RunId,
        /// It can only go forward.
        forward: bool,
    },
    /// An open run of a rotation that the configuration had before is on the account.
    #[error("rotation {rotation} has an account on which run {run} of rotation {by} is open")]
    AccountInUse {
        /// The rotation that would begin.
        rotation: RotationName,
        /// The open run.
        run: RunId,
        /// Its rotation.
        by: RotationName,
        /// It can only go forward.
        forward: bool,
    },
    /// The run is over.
    #[error("run {run} is over: {outcome}")]
    Over {
        /// The run.
        run: RunId,
        /// How it ended.
        outcome: String,
    },
    /// The run can only go forward.
    #[error("run {run} is past the point of no return")]
    PastNoReturn {
        /// The run.
        run: RunId,
    },
    /// The run does not stand where this answer fits.
    #[error("run {run} {stands}, and {option} is no answer to that")]
    Choice {
        /// The run.
        run: RunId,
        /// Why it is parked, or what it waits for.
        stands: String,
        /// It is parked.
        parked: bool,
        /// What was asked for.
        option: &'static str,
    },
    /// An approval, or its refusal, that does not count.
    #[error("run {run} is not approved: {why}")]
    Approval {
        /// The run.
        run: RunId,
        /// Why not.
        why: Unapproved,
    },
    /// Another rotation of its group is open, or ended a short while ago.
    #[error("rotation {rotation} cannot begin now: {}", apart.words())]
    Linked {
        /// The rotation that would begin.
        rotation: RotationName,
        /// What it waits for.
        apart: Apart,
    },
    /// No rotation of the configuration works on a target of that name.
    #[error("there is no target {name:?}")]
    NoTarget {
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The rotations of open runs stand in the configuration no more.
    #[error("{}", removed_words(runs))]
    RotationGone {
        /// The runs.
        runs: Vec<RunView>,
    },
    /// No mode of the plugin fits the configuration.
    #[error("no mode of plugin {plugin} fits the configuration of rotation {rotation}")]
    Mode {
        /// The rotation.
        rotation: RotationName,
        /// The plugin.
        plugin: PluginName,
    },
    /// Plan found what would stop the run.
    #[error("rotation {rotation} would fail: {}", problems.join("; "))]
    Refused {
        /// The rotation.
        rotation: RotationName,
        /// The problems.
        problems: Vec<String>,
    },
    /// The target does not take the version that was to be current again, or could not be asked.
    #[error("version {version} does not become current again: {found}")]
    NotBack {
        /// The rotation.
        rotation: RotationName,
        /// The version.
        version: VersionId,
        /// What the target says, or why it says nothing.
        found: String,
        /// The way out.
        way_out: String,
    },
    /// The plugin's `plan` failed.
    #[error("plan of rotation {rotation} failed: {code}: {message}")]
    Plan {
        /// The rotation.
        rotation: RotationName,
        /// The step error's code.
        code: String,
        /// Its message.
        message: String,
        /// The way past it, where that is known.
        way_past: Option<String>,
    },
    /// A secret is to be adopted, and an input of its rotation has no value.
    #[error("secret {secret} cannot be adopted yet: {} of rotation {rotation} {} no value", named_inputs(inputs), if inputs.len() == 1 { "has" } else { "have" })]
    NoInputs {
        /// The secret that was to be imported.
        secret: SecretName,
        /// Its rotation.
        rotation: RotationName,
        /// Each input without a value, and its secret.
        inputs: Vec<(String, SecretName)>,
        /// What puts each there.
        way_out: String,
    },
    /// A value that is no value for a secret.
    #[error("the value cannot be imported: {what}")]
    Value {
        /// What is wrong with it; never the value.
        what: &'static str,
    },
    /// A document in which a name stands twice in an object.
    #[error("the value cannot be imported: {} stands twice in the same object of this JSON document", place.as_deref().unwrap_or("a name"))]
    Doubled {
        /// Its JSON pointer, where that tells nothing.
        place: Option<String>,
    },
    /// The secret is rotated, so that its versions are the rotation's.
    #[error("secret {secret} has a current version already")]
    AlreadyCurrent {
        /// The secret.
        secret: SecretName,
    },
    /// A journalled state that cannot be read.
    #[error("the state of run {run} cannot be read")]
    State {
        /// The run.
        run: RunId,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A journalled state of a newer keywheel.
    #[error("the state of run {run} has format {found}, this keywheel knows formats up to {known}")]
    NewerState {
        /// The run.
        run: RunId,
        /// Format found.
        found: u32,
        /// Newest known.
        known: u32,
    },
    /// The audit trail does not hold together, or a checkpoint of it is none to be believed.
    #[error("{}", if matches!(.0, keywheel_audit::Error::Broken { .. }) { "the audit trail does not hold together" } else { "the trail is not checked against this checkpoint" })]
    Audit(#[from] keywheel_audit::Error),
    /// The audit trail does not have a head that was exported from it: the state is older than that, or was changed.
    #[error("the state is older than an exported head, or was changed; the restore epoch is {} now", epoch.0)]
    Behind {
        /// The restore epoch, raised for it.
        epoch: keywheel_model::Epoch,
        /// What is missing.
        #[source]
        source: keywheel_audit::Error,
    },
    /// A file.
    #[error("cannot {what} \"{}\"", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something is there already that `init` would make.
    #[error("\"{}\" exists", path.display())]
    Exists {
        /// What.
        path: PathBuf,
    },
    /// The root key cannot be changed under runs that are not over.
    #[error("{runs} {} open", if *runs == 1 { "run is" } else { "runs are" })]
    RekeyInRuns {
        /// How many.
        runs: usize,
    },
    /// There is a state where a backup is to be put back.
    #[error("there is a state in \"{}\"", dir.display())]
    StateThere {
        /// Where.
        dir: PathBuf,
    },
    /// Another `init` works in the folder.
    #[error("another `init` is at work in \"{}\"", path.display())]
    InitAtWork {
        /// Its own folder.
        path: PathBuf,
    },
    /// A defect of the host itself; the run is safe and goes on when it is resumed.
    #[error("defect: {0}")]
    Defect(&'static str),
}

impl Error {
    /// Why the plugin's `plan`, or its look at the configuration, failed.
    pub(crate) fn of_plan(rotation: &Rotation, error: StepError) -> Self {
        Self::Plan {
            rotation: rotation.name.clone(),
            way_past: way_past(&error.code, &error.message, Some(rotation)),
            code: error.code,
            message: error.message,
        }
    }

    /// Stable, dotted, lower case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config(problems) => problems.code(),
            Self::Store(error) | Self::NoState { source: error, .. } => error.code(),
            Self::Vault(error) => error.code(),
            Self::Plugin(error) => error.code(),
            Self::NoPlugins { source, .. } => source.code(),
            Self::Publisher { .. } => "config.value",
            Self::PluginUnusable { source, .. } => source.code(),
            Self::OpenToOthers { .. } => "config.open-to-others",
            Self::Policy(error) => error.code(),
            Self::Capability(_) => "capability.settings",
            Self::NeedsRestart { .. } => "config.needs-restart",
            Self::NoRotation { .. } => "rotation.not-found",
            Self::NoSecret { .. } => "secret.not-found",
            Self::NoVersion { .. } | Self::NoneInStage { .. } => "secret.no-version",
            Self::NotReadable { .. } => "secret.not-readable",
            Self::NotGranted { .. } => "secret.not-granted",
            Self::NoPart { .. } => "secret.no-part",
            Self::NoRun { .. } => "run.not-found",
            Self::OpenRun { .. } | Self::AccountInUse { .. } | Self::RekeyInRuns { .. } => "run.open",
            Self::Over { .. } => "run.over",
            Self::PastNoReturn { .. } => "run.past-no-return",
            Self::Choice { .. } => "run.choice",
            Self::Approval { why, .. } => why.code(),
            Self::Linked { .. } => "rotation.linked",
            Self::NoTarget { .. } => "target.not-found",
            Self::RotationGone { .. } => "run.rotation-gone",
            Self::Mode { .. } => "rotation.mode",
            Self::Refused { .. } | Self::NotBack { .. } => "plan.refused",
            Self::Plan { .. } => "plan.failed",
            Self::NoInputs { .. } => "rotation.input-missing",
            Self::Value { .. } | Self::Doubled { .. } => "secret.value",
            Self::AlreadyCurrent { .. } => "secret.already-current",
            Self::State { .. } => "run.state",
            Self::NewerState { .. } => "run.newer-state",
            Self::Audit(error) => error.code(),
            Self::Behind { .. } => "audit.behind",
            Self::File { .. } => "host.file",
            Self::Exists { .. } => "file.exists",
            Self::StateThere { .. } => "restore.state-there",
            Self::InitAtWork { .. } => "init.at-work",
            Self::Defect(_) => "host.defect",
        }
    }

    /// The way out.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoState {
                interrupted: Some(restore),
                ..
            } => restore.1.clone(),
            Self::Store(error) | Self::NoState { source: error, .. } => return error.hint(),
            Self::Vault(error) => return error.hint(),
            Self::Plugin(error) | Self::OpenToOthers { source: error } => return error.hint(),
            Self::NoPlugins { source, .. } => return source.hint(),
            Self::Publisher { .. } => "the second line of a minisign `.pub` file, 56 characters that begin with RW".to_owned(),
            Self::PluginUnusable { source, .. } => return source.hint(),
            Self::Policy(error) => return error.hint(),
            Self::NeedsRestart { .. } => "restart the host; until then it goes on with what it has".to_owned(),
            Self::NoRotation { .. } => "`keywheel config show` lists the rotations".to_owned(),
            Self::NoSecret { .. }
            | Self::NotGranted { .. }
            | Self::NoPart { .. }
            | Self::NoVersion { .. }
            | Self::NoneInStage { .. }
            | Self::NotReadable { .. } => return of_wanted(self),
            Self::NoRun { .. } => "`keywheel run list` lists the runs".to_owned(),
            Self::OpenRun { run, forward, .. } | Self::AccountInUse { run, forward, .. } => {
                open_run_hint(run, *forward)
            }
            Self::PastNoReturn { run } => {
                format!("it can only be brought to its end: `keywheel run resume {run}`")
            }
            Self::Choice { run, parked: true, .. } => format!("`keywheel run show {run}` says what to do"),
            Self::Choice { run, option, .. } => unfit(option, run),
            Self::Approval { run, why } => why.hint(run),
            Self::Linked { rotation, apart } => linked_hint(rotation, apart),
            Self::NoTarget { known, .. } => targets_hint(known),
            Self::RotationGone { runs } => {
                let ways: Vec<_> = runs.iter().map(RunView::removed_way_out).collect();
                ways.join("\n")
            }
            Self::Mode { plugin, .. } => format!("`keywheel plugin show {plugin}` lists the modes"),
            Self::Refused { .. } => "nothing was written; mend what stands there and plan again".to_owned(),
            Self::NotBack { way_out, .. } => format!("nothing was written; {way_out}"),
            Self::Plan { way_past, .. } => plan_hint(way_past.as_deref()),
            Self::Over { run, .. } => over_hint(run),
            Self::NoInputs { way_out, .. } => way_out.clone(),
            Self::Value { .. } => {
                "give the value itself, as the target takes it: 1 byte to 64 KiB, without a NUL".to_owned()
            }
            Self::Doubled { .. } => {
                "nothing was stored; take the wrong one out: readers do not agree on which of the two counts".to_owned()
            }
            Self::AlreadyCurrent { secret } => format!(
                "`keywheel rotate` makes a new version; `keywheel secret history {secret}` lists what there is"
            ),
            Self::NewerState { .. } => "use the newer keywheel".to_owned(),
            Self::Audit(error) => return error.hint(),
            Self::Behind { .. } => {
                "if a copy of the state was put back, `keywheel rotate` each rotation: the first run only verifies; if not, keep the state directory as it is and compare it with a backup"
                    .to_owned()
            }
            Self::Exists { .. } => "`init` never overwrites: use another folder".to_owned(),
            Self::RekeyInRuns { .. } => {
                "nothing was changed; `keywheel run list --open` lists them: bring them to their end first, or so far that they only wait for consumers"
                    .to_owned()
            }
            Self::StateThere { .. } => {
                "nothing was touched; `--force` puts the backup in its place and keeps it beside".to_owned()
            }
            Self::InitAtWork { .. } => "wait until it has ended, or use another folder".to_owned(),
            Self::File { source, .. } => file_hint(source.kind()).to_owned(),
            _ => return None,
        })
    }
}
