use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keywheel_manifest::Manifest;
use keywheel_model::address::Host;
use keywheel_model::{PluginName, RotationName, SecretName};
use keywheel_schedule::{Blackout, Expression, Retry, Schedule, Trigger};

use crate::document::{At, Document};
use crate::each::{Listed, Table};
use crate::expiry::ExpiryLadder;
use crate::form::Form;
use crate::problem::{Place, Problem, Problems};
use crate::sink::Notify;

/// The typed configuration. Every path is absolute or relative to the folder of the configuration file, already joined.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of the journal and of the embedded vault's ciphertext.
    pub state_dir: PathBuf,
    /// The vault.
    pub vault: Vault,
    /// The Unix socket of the running host.
    pub socket: PathBuf,
    /// The loopback address on which the running host says how it is; `None`: it does not.
    pub http: Option<SocketAddr>,
    /// How much it does at once.
    pub pace: Pace,
    /// Whom it tells what needs a person.
    pub notify: Vec<Notify>,
    /// Which users of this machine may read which values by a program.
    pub grants: Vec<ReadGrant>,
    /// Whether it takes changed files by itself.
    pub watch: bool,
    /// Whether its metrics name secrets.
    pub name_secrets: bool,
    /// Where it sends traces; `None`: nowhere.
    pub traces: Option<Traces>,
    /// How long what is old is kept.
    pub retention: Retention,
    /// When people are told that something stops to be valid.
    pub expiry: ExpiryLadder,
    /// How often a backup is made at least, where backups are made.
    pub backup_every: Option<Duration>,
    /// Where plugins come from.
    pub plugins: Plugins,
    /// The folder of the grants, one `NAME.toml` each.
    pub policies_dir: PathBuf,
    /// Trust sets by name: what a plugin may name instead of the host's own roots.
    pub trust: BTreeMap<String, TrustSet>,
    /// Limits of every step.
    pub limits: Limits,
    /// When rotations run, where they do not say otherwise.
    pub schedule: Schedule,
    /// The rotations that are written out, in the order of the file; names are unique, and so are secrets. Those of [`Config::tables`] are beside them:
    /// [`Config::rotation`] finds both.
    pub rotations: Vec<Arc<Rotation>>,
    /// Groups of rotations that are kept apart; no rotation stands in two.
    pub linked: Vec<Linked>,
    pub(crate) document: Arc<Document>,
    /// What stops single rotations, or all of a table, by which `[[rotation]]` it is: see [`crate::Draft::check_apart`].
    pub(crate) apart: BTreeMap<usize, Vec<Problem>>,
    pub(crate) tables: Vec<Table>,
    /// Where the rows of the tables are, once they were accepted.
    pub(crate) listed: Option<Arc<dyn Listed>>,
    /// Those of the tables' plugins.
    pub(crate) manifests: Arc<BTreeMap<PluginName, Manifest>>,
}

impl Config {
    /// Where `state.dir` stands in the file; `None` where the default counts.
    pub fn state_dir_place(&self) -> Option<Place> {
        self.document.place_of("/state/dir")
    }

    /// Where `plugins.dir` stands in the file; `None` where the default counts.
    pub fn plugins_dir_place(&self) -> Option<Place> {
        self.document.place_of("/plugins/dir")
    }

    /// Where `plugins.publishers` stands in the file; `None` where the default counts.
    pub fn publishers_place(&self) -> Option<Place> {
        self.document.place_of("/plugins/publishers")
    }

    /// The rotation of that name, if it is written out.
    pub fn written(&self, name: &RotationName) -> Option<&Arc<Rotation>> {
        self.rotations.iter().find(|rotation| rotation.name == *name)
    }

    /// The rotations that are written out, and of each table the first: what is the same for all rotations of a table is told by that one.
    pub fn samples(&self) -> impl Iterator<Item = &Arc<Rotation>> {
        let samples = self.tables.iter().map(|table| &table.sample);
        self.rotations.iter().chain(samples)
    }

    /// The group that the rotation is linked in.
    pub fn linked(&self, rotation: &RotationName) -> Option<&Linked> {
        self.linked
            .iter()
            .find(|group| group.rotations.contains(rotation))
    }

    /// What is right in the schedules and often not what was meant, each with its place.
    pub fn schedule_warnings(&self) -> Vec<(Place, String)> {
        let mut warnings = Vec::new();
        for rotation in self.samples() {
            let pointer = format!("/rotation/{}/schedule", rotation.index);
            let cron = format!("{pointer}/cron");
            let place = self
                .document
                .place_of(&cron)
                .or_else(|| self.document.place_of(&pointer));
            let told = rotation.schedule_warnings().into_iter();
            warnings.extend(
                place
                    .into_iter()
                    .flat_map(|place| told.clone().map(move |told| (place.clone(), told))),
            );
        }
        warnings
    }

    /// What a plugin's own code found wrong with the settings of a rotation, as (JSON pointer, message), at its place in the file.
    ///
    /// # Errors
    /// What was found, if anything was.
    pub fn objections(&self, rotation: &Rotation, found: Vec<(String, String)>) -> Result<(), Problems> {
        self.all_objections(found.into_iter().map(|found| (rotation, found)))
    }

    /// That nothing which was kept apart stops this rotation: a plugin or a trust set that is lost.
    ///
    /// # Errors
    /// What stops it.
    pub fn usable(&self, rotation: &Rotation) -> Result<(), Problems> {
        Problems::result(self.apart.get(&rotation.index).cloned().unwrap_or_default())
    }

    /// The same for several rotations at once.
    ///
    /// # Errors
    /// What was found, if anything was.
    pub fn all_objections<'a>(
        &self,
        found: impl IntoIterator<Item = (&'a Rotation, (String, String))>,
    ) -> Result<(), Problems> {
        let problem = |(rotation, (pointer, message)): (&Rotation, (String, String))| {
            let at = format!("/rotation/{}/config{pointer}", rotation.index);
            let hint = format!(
                "the plugin itself says so; `keywheel plugin show {} --schema` describes every setting",
                rotation.plugin
            );
            self.document
                .problem(At::Value(&at), "config.plugin-setting", message, Some(hint))
        };
        Problems::result(found.into_iter().map(problem).collect())
    }
}

/// Which vault, and how it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vault {
    /// The vault in the state folder.
    Embedded {
        /// The key file that opens it. `None`: it starts sealed and asks for its passphrase.
        key_file: Option<PathBuf>,
    },
}

/// Where plugins come from, and what an upgrade may do by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugins {
    /// The folder of the `.wasm` files.
    pub dir: PathBuf,
    /// The lock file: name, version and digest of each plugin that may run.
    pub lock: PathBuf,
    /// What happens to a changed file.
    pub upgrades: Upgrades,
    /// The minisign public keys whose signatures count.
    pub publishers: Vec<String>,
    /// Whether a file without a signature is refused.
    pub signatures_required: bool,
}

/// What happens when the file of a plugin changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrades {
    /// It waits for `plugin add`.
    Hold,
    /// One that asks for the same grants or fewer is taken; one that asks for more waits.
    SameGrants,
}

/// Certificate authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustSet {
    /// PEM files, each with one certificate or more.
    pub pem: Vec<PathBuf>,
}

/// How much a running host does at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Runs that are driven at once.
    pub at_once: usize,
    /// Rotations that are started on one target at once.
    pub at_once_per_target: usize,
    /// Rotations of one plugin that are started at once; `None`: no limit.
    pub at_once_per_plugin: Option<usize>,
    /// How failed ones are tried again.
    pub retry: Retry,
    /// The share of all rotations that are started within an hour, in thousandths; `None`: no limit.
    pub brake: Option<u16>,
}

/// Rotations of which never two are open at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    /// Its name.
    pub name: String,
    /// Which: two at least.
    pub rotations: Vec<RotationName>,
    /// The least time between the end of a run of one and the start of a run of another.
    pub offset: Duration,
}

/// How long what is old is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Finished runs, counted from their end.
    pub runs: Duration,
    /// Rows of the audit trail; `None`: for ever.
    pub audit: Option<Duration>,
    /// Notices, counted from their delivery.
    pub notices: Duration,
    /// Revoked versions of secrets, with their values, counted from that; `None`: for ever.
    pub versions: Option<Duration>,
}

/// Where a collector of traces listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Its host.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// The path on it.
    pub path: String,
    /// The trust set that its certificate must be of; none: the operating system's authorities.
    pub trust: Option<String>,
}

impl fmt::Display for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let (port, path) = (self.port, &self.path);
        match &self.host {
            Host::Address(address) => write!(f, "{scheme}://{}{path}", SocketAddr::new(*address, port)),
            Host::Name(name) => write!(f, "{scheme}://{name}:{port}{path}"),
        }
    }
}

/// A user of this machine who may read values by a program (`read-plaintext`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadGrant {
    /// The user's number.
    pub uid: u32,
    /// Names in the vault; `*` stands for any text within one part.
    pub secrets: Vec<String>,
}

/// Limits of every step of every plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance, in bytes.
    pub memory_bytes: u64,
    /// Time that the guest itself may compute in one step.
    pub cpu: Duration,
    /// Wall clock of one step, host calls included, where the rotation does not say otherwise.
    pub step: Duration,
}

/// One configured rotation.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    /// Its name.
    pub name: RotationName,
    /// The plugin that rotates it.
    pub plugin: PluginName,
    /// The secret that is rotated.
    pub secret: SecretName,
    /// Other secrets that the plugin may use, by the name the manifest gives them.
    pub inputs: BTreeMap<String, SecretName>,
    /// Where further names of a version are stored, by the name the plugin gives them.
    pub outputs: BTreeMap<String, SecretName>,
    /// Further names that hold the same password in another form.
    pub forms: Vec<Form>,
    /// The plugin's own table: a JSON object.
    pub config: serde_json::Value,
    /// Parts of the secret's document that the plugin may read as text: JSON pointers.
    pub public: BTreeSet<String>,
    /// What it belongs to, by name.
    pub labels: BTreeMap<String, String>,
    /// The stem of a grant file for this rotation alone, which narrows the plugin's own grant.
    pub policy: Option<String>,
    /// When it runs.
    pub schedule: Schedule,
    /// That a person has to approve each run; `None`: nobody is asked.
    pub approval: Option<Approval>,
    /// How long the previous version is kept alive at least after the promotion.
    pub grace: Duration,
    /// Who reads the secret.
    pub consumers: Vec<Consumer>,
    /// Whether a gap is accepted (rule P8).
    pub gap: Gap,
    /// What must be proved before the promotion.
    pub proof: ProofChoice,
    /// What the first run does when nothing was imported (rule P15).
    pub first: FirstRun,
    /// Deadlines.
    pub deadlines: Deadlines,
    /// How many logins probing may cost (rule P14); per account, not per run.
    pub probes: ProbeBudget,
    /// Which of the file's `[[rotation]]` it is.
    pub(crate) index: usize,
}

impl Rotation {
    /// Whether each of its consumers can hold two, and says so before a change that would leave one (rule P8).
    pub fn announces_to_all(&self) -> bool {
        let told = |consumer: &Consumer| consumer.hook.as_ref().is_some_and(|hook| hook.announce);
        !self.consumers.is_empty() && self.consumers.iter().all(told)
    }

    /// What is right in its schedule and often not what was meant.
    pub fn schedule_warnings(&self) -> Vec<String> {
        let schedule = &self.schedule;
        let trigger = match &schedule.trigger {
            Some(Trigger::Cron(expression)) => Some(expression),
            _ => None,
        };
        let windows = schedule.windows.iter();
        let black = schedule.blackouts.iter().filter_map(|blackout| match blackout {
            Blackout::Recurring(window) => Some(window),
            Blackout::Once { .. } => None,
        });
        let starts = windows.chain(black).map(|window| &window.start);
        let missed = schedule.misses_its_windows(&self.name).then(|| {
            "each time of `cron` is more than a day before a window opens, and waits for that: put it into the window".to_owned()
        });
        trigger
            .into_iter()
            .chain(starts)
            .flat_map(Expression::warnings)
            .chain(missed)
            .collect()
    }
}

/// Who may approve a run, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// So long after it was asked for.
    pub expires: Duration,
    /// The numbers of the users who may; `None`: the host's own and root.
    pub by: Option<BTreeSet<u32>>,
}

/// Somebody who reads the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Its name, unique in the rotation.
    pub name: String,
    /// How long it may go on using a version after a newer one was promoted.
    pub staleness: Duration,
    /// How it is told of a new version, if it is.
    pub hook: Option<Hook>,
}

/// A program that is asked whether a consumer holds a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its whole path.
    pub program: PathBuf,
    /// Its arguments, in which each of [`HOOK_NAMES`] in braces stands for what is called so.
    pub arguments: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether the consumer can hold two, and says so before a change that would leave one (rule P8).
    pub announce: bool,
}

/// What an argument of a hook can name.
pub const HOOK_NAMES: [&str; 5] = ["secret", "version", "rotation", "run", "stage"];

/// Whether a rotation may have a gap in which consumers hold only a dead credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// No: a mode that has one is refused.
    Refuse,
    /// Yes, said in words: `gap = "accept"`.
    Accept,
}

/// What must be proved before a new credential is promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofChoice {
    /// The target accepted it in a fresh login.
    Login,
    /// The host saw the change committed; a login proves it later, and nothing is revoked before that.
    Deferred,
    /// For modes in which nothing can be asked (rule H7), said in words: `proof = "accept"`.
    Accept,
}

/// What the first run of a rotation does when its secret has no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstRun {
    /// It refuses: the existing credential is imported and verified first.
    Adopt,
    /// It sets a new credential over whatever is there, said in words: `first = "set"`.
    Set,
}

/// Deadlines of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Wall clock of one step; the target is told to give up before it.
    pub step: Duration,
    /// How long a run retries what is unreachable before it parks.
    pub run: Duration,
}

/// How many logins may be spent on finding out which credential lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeBudget {
    /// Failed logins at most; none: what fits the target ...
    pub logins: Option<u32>,
    /// ... in this time.
    pub per: Duration,
}
