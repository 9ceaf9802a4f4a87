//! A server, a host whose rotations reach it through the proxy, and the witness beside.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context as _, Result};
use keywheel_failpoint::Point as Failpoint;
use keywheel_kit::random_password;

use crate::host::Host;
use crate::points::{Path, Point};
use crate::proxy::{Hooks, Proxy};
use crate::record::{Fact, Phase, Record};
use crate::tap::{Tap, Watched, lock};
use crate::target::{Credential, Subject, Target};
use crate::vault::Vault;
use crate::witness::Witness;

/// The deadline of a step in the configuration: what the server is told to give up after.
pub(crate) const STEP_SECONDS: u64 = 2;

/// The same in a control: far more than what a stopped host is left for.
const PATIENT_SECONDS: u64 = 40;

/// Failed logins of an account in the configuration: a few more than the kills of a minute need, each of which may cost a rotation of its own some.
pub(crate) const LOGINS: u32 = 25;

/// In this time.
pub(crate) const PER_SECONDS: u64 = 60;

/// The secret of the account that nobody rotates.
const ROOT: &str = "root/it";

/// What an undisturbed run of a path takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Baseline {
    pub(crate) micros: u64,
    pub(crate) changes: u32,
    pub(crate) logins: u32,
    /// Changes of the journal.
    pub(crate) writes: u64,
    /// How often the host passes each of its failpoints.
    pub(crate) places: BTreeMap<Failpoint, u64>,
}

/// One target with everything around it.
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) has_row_locks: bool,
    pub(crate) target: Arc<Mutex<Box<dyn Target>>>,
    pub(crate) host: Host,
    pub(crate) proxy: Proxy,
    pub(crate) tap: Arc<Tap>,
    pub(crate) record: Arc<Record>,
    pub(crate) app: Subject,
    pub(crate) admin: Subject,
    pub(crate) baselines: BTreeMap<Path, Baseline>,
    /// `keywheel.toml` without a rotation.
    bare: String,
    /// The deadline of a step in it.
    step_seconds: u64,
    fresh: u32,
    changes_by_hand: u64,
}

/// Where the programs are, and where what was seen is kept.
pub(crate) struct Places<'a> {
    pub(crate) binary: &'a FilePath,
    pub(crate) failpoints: &'a FilePath,
    pub(crate) plugins: &'a FilePath,
    pub(crate) evidence: &'a FilePath,
    /// Hosts have more time for a step than is said.
    pub(crate) patient: bool,
}

impl Scene {
    /// The paths that its plugin can go. Of two accounts that are used in turn none is put back on the target.
    pub(crate) fn paths(&self) -> impl Iterator<Item = Path> + use<> {
        let in_turn = self.app.accounts.len() > 1;
        Path::ALL
            .into_iter()
            .filter(move |path| *path != Path::PutBack || !in_turn)
    }

    /// Whether an undisturbed run of the path passes the point, if it is one of the host's own places.
    pub(crate) fn passes(&self, path: Path, point: Point) -> bool {
        let passed = |place| {
            self.baselines
                .get(&path)
                .is_some_and(|known| known.places.contains_key(&place))
        };
        !matches!(point, Point::Failpoint(place) if !passed(place))
    }

    /// Starts the server and makes a host whose two rotations are adopted.
    pub(crate) fn start(target: Box<dyn Target>, places: &Places) -> Result<Self> {
        let (name, plugin) = (target.name(), target.plugin());
        let folder = places.evidence.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let record = Arc::new(Record::create(&folder.join("record.jsonl"), Instant::now())?);
        let host = Host::init(
            (places.binary, places.failpoints),
            folder.join("host"),
            folder.join("host.log"),
        )?;
        let vault = Vault::of(&host, folder.join("copy"))?;
        let witness = Witness::start(Arc::clone(&record), target.port(), target.client());
        let (port, make, has_row_locks) = (target.port(), target.dialect(), target.has_row_locks());
        let app = subject(
            "app",
            target.accounts("app"),
            (&target.administrator(), "admin/it"),
        );
        let root = target.root();
        let admin = subject("admin", vec![target.administrator()], (&root.account, ROOT));
        let target = Arc::new(Mutex::new(target));
        let tap = Arc::new(Tap::new(Arc::clone(&record), vault, witness, Arc::clone(&target)));
        let hooks: Arc<dyn Hooks> = Arc::clone(&tap) as _;
        let proxy = Proxy::start(port, make, hooks)?;
        let bare = fs::read_to_string(host.file("keywheel.toml"))?;
        let mut scene = Self {
            name,
            has_row_locks,
            target,
            host,
            proxy,
            tap,
            record,
            app,
            admin,
            baselines: BTreeMap::new(),
            bare,
            step_seconds: if places.patient {
                PATIENT_SECONDS
            } else {
                STEP_SECONDS
            },
            fresh: 0,
            changes_by_hand: 0,
        };
        scene.configure(&[], "")?;
        scene.add_plugin(plugin, &places.plugins.join(format!("{plugin}.wasm")))?;
        scene.adopt(&root)?;
        Ok(scene)
    }

    fn add_plugin(&self, plugin: &str, file: &FilePath) -> Result<()> {
        let to = self.plugin_file(plugin);
        fs::copy(file, &to).with_context(|| format!("cannot copy {}", file.display()))?;
        let port = self.proxy.port();
        let hosts = ["localhost", "127.0.0.1"].map(|host| format!("{host}:{port} plaintext"));
        let [first, second] = &hosts;
        let words = [
            "plugin", "add", plugin, "--yes", "--host", first, "--host", second,
        ];
        self.host.done(&words, "").map(drop)
    }

    /// Brings the three credentials into the vault.
    fn adopt(&mut self, root: &Credential) -> Result<()> {
        self.host.done(&["secret", "import", ROOT, "-"], &root.password)?;
        for (subject, is_admin) in [(self.admin.clone(), true), (self.app.clone(), false)] {
            let value = self.create(&subject, is_admin)?;
            let words = ["secret", "import", &subject.secret, "-", "--wait", "end"];
            self.host.done(&words, &value)?;
        }
        self.tap.watch(self.watched(None))
    }

    /// Makes a subject's accounts; the value that the first one has now.
    fn create(&self, subject: &Subject, is_admin: bool) -> Result<String> {
        let target = lock(&self.target);
        let password = random_password();
        target.create(&subject.accounts, &password, is_admin)?;
        let account = subject.accounts.first().cloned().unwrap_or_default();
        Ok(target.value(&subject.accounts, &Credential { account, password }))
    }

    /// The file of a plugin in the host's folder.
    pub(crate) fn plugin_file(&self, plugin: &str) -> PathBuf {
        self.host.file(&format!("plugins/{plugin}.wasm"))
    }

    /// What is watched: the two that are always there, and one more.
    pub(crate) fn watched(&self, more: Option<(&Subject, &str)>) -> Vec<Watched> {
        let target = lock(&self.target);
        let watched = |subject: &Subject, by_hand: Option<&str>| Watched {
            subject: subject.clone(),
            two_slot: target.is_two_slot(&subject.accounts),
            by_hand: by_hand.map(str::to_owned),
        };
        let mut all: Vec<Watched> = [&self.app, &self.admin]
            .into_iter()
            .filter(|subject| more.is_none_or(|(other, _)| other != *subject))
            .map(|subject| watched(subject, None))
            .collect();
        all.extend(more.map(|(subject, value)| watched(subject, Some(value))));
        all
    }

    /// Writes `keywheel.toml`: the two rotations, others, and lines that spoil it.
    pub(crate) fn configure(&self, others: &[&Subject], more: &str) -> Result<()> {
        let subjects = [&self.app, &self.admin].into_iter().chain(others.iter().copied());
        let rotations: String = subjects.map(|subject| self.rotation(subject, "")).collect();
        let text = format!("{}\n{rotations}\n{more}", self.bare);
        fs::write(self.host.file("keywheel.toml"), text).context("cannot write keywheel.toml")
    }

    /// The same, with a rotation of the application that is due as soon as a host serves.
    pub(crate) fn configure_due(&self) -> Result<()> {
        let app = self.rotation(&self.app, "schedule = { on_start = true, jitter = \"0s\" }\n");
        let text = format!("{}\n{app}\n{}", self.bare, self.rotation(&self.admin, ""));
        fs::write(self.host.file("keywheel.toml"), text).context("cannot write keywheel.toml")
    }

    /// The same, with a rotation of the application that is due every few seconds.
    pub(crate) fn configure_often(&self) -> Result<()> {
        let schedule = format!(
            "schedule = {{ every = \"{}\", jitter = \"0s\" }}\n",
            crate::soak::EVERY
        );
        let app = self.rotation(&self.app, &schedule);
        let text = format!("{}\n{app}\n{}", self.bare, self.rotation(&self.admin, ""));
        fs::write(self.host.file("keywheel.toml"), text).context("cannot write keywheel.toml")
    }

    fn rotation(&self, subject: &Subject, more: &str) -> String {
        let target = lock(&self.target);
        let Subject {
            rotation,
            secret,
            admin,
            ..
        } = subject;
        let first = if subject.sets_first { "set" } else { "adopt" };
        format!(
            "[[rotation]]\nname = \"{rotation}\"\nplugin = \"{}\"\nsecret = \"{secret}\"\ninputs = {{ admin = \"{}\" }}\n\
             grace = \"0s\"\ngap = \"accept\"\nfirst = \"{first}\"\ndeadlines = {{ step = \"{}s\", run = \"20s\" }}\n\
             probes = {{ logins = {LOGINS}, per = \"{PER_SECONDS}s\" }}\n{more}[rotation.config]\n{}\n",
            target.plugin(),
            admin.1,
            self.step_seconds,
            target.config(subject, self.proxy.port()),
        )
    }

    /// A subject that the vault has never seen, in the configuration, with the value that its account has.
    pub(crate) fn fresh(&mut self, sets_first: bool) -> Result<(Subject, String)> {
        self.fresh += 1;
        let word = if sets_first { "first" } else { "adopt" };
        let name = format!("{word}-{}", self.fresh);
        let (accounts, admin) = {
            let target = lock(&self.target);
            (target.accounts(&name), target.administrator())
        };
        let mut made = subject(&name, accounts, (&admin, "admin/it"));
        made.sets_first = sets_first;
        let value = self.create(&made, false)?;
        self.configure(&[&made], "")?;
        Ok((made, value))
    }

    /// Makes the target take a value, as a person would.
    pub(crate) fn set_by_hand(&mut self, subject: &Subject, value: &str) -> Result<()> {
        let target = lock(&self.target);
        let credential = target.credential(&subject.accounts, value)?;
        self.changes_by_hand += 1;
        let change = |phase| Fact::Change {
            // The proxy counts from 0.
            change: u64::MAX - self.changes_by_hand,
            subject: subject.name.clone(),
            phase,
        };
        self.record.add(change(Phase::Sent));
        let done = target.set_by_hand(&credential);
        self.record.add(change(Phase::Done));
        done
    }
}

fn subject(name: &str, accounts: Vec<String>, admin: (&str, &str)) -> Subject {
    Subject {
        name: name.to_owned(),
        rotation: name.to_owned(),
        secret: format!("{name}/it"),
        admin: (admin.0.to_owned(), admin.1.to_owned()),
        accounts,
        sets_first: false,
    }
}
