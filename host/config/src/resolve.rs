//! From the raw file to the typed configuration: names, units, paths, and what must be unique.

mod consumers;
mod expiry;
mod forms;
mod linked;
mod notify;
mod retention;
pub(crate) mod schedule;
mod serve;
mod traces;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jsonschema::Validator;
use keywheel_schedule::Schedule;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::{
    Config, Deadlines, FirstRun, Gap, Limits, Plugins, ProbeBudget, ProofChoice, ReadGrant, Rotation,
    TrustSet, Upgrades, Vault,
};
use crate::document::{At, Document, join};
use crate::each::{self, RowPlace};
use crate::format::FORMATS;
use crate::problem::{Problem, Problems};
use crate::structure::{self, Owner};
use crate::units::{parse_duration, parse_size, show_duration, show_size};
use crate::{check, raw};
use forms::secrets;

/// A larger file is not read.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// What says which account a secret is of: a user name, the id of a key of AWS.
const PUBLIC: [&str; 2] = ["/username", "/access_key_id"];

static SCHEMA: LazyLock<Value> = LazyLock::new(raw::schema);

/// A file as far as it could be understood, with everything wrong so far. Between reading it and [`Draft::check`] the
/// caller finds the manifests in the folder that [`Draft::plugins`] names, so that all problems come at once.
#[derive(Debug)]
pub struct Draft {
    pub(crate) config: Config,
    pub(crate) problems: Vec<Problem>,
    /// What is wrong with files of trust sets, by the set.
    pub(crate) untrusted: Vec<(String, Problem)>,
    /// What is wrong with programs of hooks, by the rotation.
    pub(crate) unfit: Vec<(usize, Problem)>,
}

impl Draft {
    /// Reads a file.
    ///
    /// # Errors
    /// It does not exist, is too large, or is no UTF-8 text.
    pub fn open(path: &Path) -> Result<Self, Problems> {
        let unreadable = |error: &std::io::Error| {
            let hint = match error.kind() {
                std::io::ErrorKind::NotFound => "`keywheel init` writes one; `--config FILE` names another",
                _ => "it must be a file that the host's user may read; `--config FILE` names another",
            };
            Problems::of_file(
                path,
                "config.unreadable",
                format!("cannot read the configuration: {error}"),
                Some(hint.to_owned()),
            )
        };
        // A pipe or a device may give nothing, or never end.
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
        if !metadata.is_file() {
            return Err(unreadable(&std::io::Error::other("it is not a regular file")));
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error| unreadable(&error))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            let message = format!("the file has more than {FILE_BYTES_MAX} bytes");
            let hint = "is it the right file? `--config FILE` names another".to_owned();
            return Err(Problems::of_file(path, "config.too-large", message, Some(hint)));
        }
        let text = String::from_utf8(bytes).map_err(|error| not_utf8(path, error.as_bytes()))?;
        Ok(Self::read(&text, path))
    }

    /// Reads a text; `path` is where it stands, and its folder is what relative paths start from.
    pub fn read(text: &str, path: &Path) -> Self {
        let (document, mut problems) = Document::read(text, path);
        let document = Arc::new(document);
        // A file that is not TOML would only repeat itself in every other check.
        if problems.iter().all(|problem| problem.code != "config.syntax") {
            let validator = validator();
            problems.extend(structure::check(
                &document,
                Owner::File,
                &SCHEMA,
                validator,
                "",
                &each::with_stand_ins(document.json()),
            ));
        }
        let mut resolver = Resolver { document, problems };
        let config = resolver.file();
        let mut draft = Self {
            config,
            problems: resolver.problems,
            untrusted: Vec::new(),
            unfit: Vec::new(),
        };
        draft.problems.extend(check::uniqueness(&draft.config));
        draft
    }

    /// Where the grants are, as far as the file says it.
    pub fn policies_dir(&self) -> &Path {
        &self.config.policies_dir
    }

    /// Where a running host listens, as far as the file says it.
    pub fn socket(&self) -> &Path {
        &self.config.socket
    }

    /// Where the plugins are, as far as the file says it.
    pub fn plugins(&self) -> &Plugins {
        &self.config.plugins
    }

    /// What decides for the host, as far as the file says where it is: the folder of grants, the pins, the files of the trust sets, those of tables.
    pub fn stands_on(&self) -> Vec<&Path> {
        let named = [&self.config.policies_dir, &self.config.plugins.lock];
        let trusted = self.config.trust.values().flat_map(|set| &set.pem);
        let tables = each::paths(&self.config.tables);
        let named = named.into_iter().chain(trusted).map(PathBuf::as_path);
        named.chain(tables).collect()
    }
}

/// Reads and checks a file by itself: [`Draft::open`], then [`Draft::finish`].
///
/// # Errors
/// Every problem.
pub fn load(path: &Path) -> Result<Config, Problems> {
    Draft::open(path)?.finish()
}

/// Reads and checks a text by itself.
///
/// # Errors
/// Every problem.
pub fn parse(text: &str, path: &Path) -> Result<Config, Problems> {
    Draft::read(text, path).finish()
}

fn validator() -> &'static Validator {
    static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
        let mut options = jsonschema::options().should_validate_formats(true);
        for (name, check) in FORMATS {
            options = options.with_format(name, move |text| check(text).is_ok());
        }
        #[expect(
            clippy::expect_used,
            reason = "the schema is made from the types of this crate; a test compiles it"
        )]
        options
            .build(&SCHEMA)
            .expect("the generated schema is a valid schema")
    });
    &VALIDATOR
}

/// Pinned at the first byte that is wrong.
fn not_utf8(path: &Path, bytes: &[u8]) -> Problems {
    let chunk = bytes.utf8_chunks().next();
    let (read, wrong) = chunk.map_or(("", &[][..]), |chunk| (chunk.valid(), chunk.invalid()));
    let wrong: String = wrong.iter().map(|byte| format!(" 0x{byte:02x}")).collect();
    let message = format!("not UTF-8 text:{wrong} stands here");
    let hint = "save the file as UTF-8; an editor that wrote it in another encoding can do that".to_owned();
    Problems::behind(path, read, "config.encoding", message, Some(hint))
}

pub(crate) struct Resolver {
    pub(crate) document: Arc<Document>,
    pub(crate) problems: Vec<Problem>,
}

impl Resolver {
    /// Of one rotation alone, which a row has filled in.
    pub(crate) fn of_row(document: &Document, rotation: Value, row: RowPlace) -> Self {
        Self {
            document: Arc::new(document.of_row(rotation, row)),
            problems: Vec::new(),
        }
    }

    /// That what is to be resolved has the form of a configuration.
    pub(crate) fn structure(&mut self) {
        let (document, json) = (&self.document, self.document.json());
        let found = structure::check(document, Owner::File, &SCHEMA, validator(), "", json);
        self.problems.extend(found);
    }

    fn file(&mut self) -> Config {
        let document = Arc::clone(&self.document);
        let state: raw::State = self.section("/state").unwrap_or_default();
        let vault: raw::Vault = self.section("/vault").unwrap_or_default();
        let plugins: raw::Plugins = self.section("/plugins").unwrap_or_default();
        let policies: raw::Policies = self.section("/policies").unwrap_or_default();
        let serve: raw::Serve = self.section("/serve").unwrap_or_default();
        let state_dir = self.path(state.dir.as_deref().unwrap_or("state"));
        let socket = serve.socket.as_deref().map(|socket| self.path(socket));
        let limits: raw::Limits = self.section("/limits").unwrap_or_default();
        let limits = self.limits(&limits);
        let schedule = self.schedule_defaults();
        Config {
            socket: socket.unwrap_or_else(|| state_dir.join("socket")),
            http: self.loopback("/serve/http", serve.http.as_deref()),
            pace: self.pace(),
            notify: self.notify(),
            grants: self.grants(),
            watch: serve.watch.unwrap_or(true),
            name_secrets: serve.name_secrets.unwrap_or(false),
            traces: self.traces(),
            state_dir,
            vault: self.vault(&vault),
            retention: self.retention(),
            expiry: self.expiry(),
            backup_every: self.backup_every(),
            plugins: Plugins {
                signatures_required: self.signatures_required(&plugins),
                publishers: plugins.publishers,
                dir: self.path(plugins.dir.as_deref().unwrap_or("plugins")),
                lock: self.path(plugins.lock.as_deref().unwrap_or("plugins.lock")),
                upgrades: match plugins.upgrades {
                    Some(raw::Upgrades::SameGrants) => Upgrades::SameGrants,
                    Some(raw::Upgrades::Hold) | None => Upgrades::Hold,
                },
            },
            policies_dir: self.path(policies.dir.as_deref().unwrap_or("policies")),
            trust: self.trust(),
            limits,
            rotations: self.rotations(limits.step, &schedule),
            tables: self.tables(limits.step, &schedule),
            listed: None,
            manifests: Arc::default(),
            linked: self.linked(),
            schedule,
            document,
            apart: BTreeMap::new(),
        }
    }

    /// A part of the file; `None` if it is not there or its structure is wrong, which has been reported.
    fn section<T: DeserializeOwned>(&mut self, pointer: &str) -> Option<T> {
        let document = Arc::clone(&self.document);
        let json = document.json().pointer(pointer)?;
        match T::deserialize(json) {
            Ok(section) => Some(section),
            Err(error) if self.problems.is_empty() => {
                self.report(At::Value(pointer), "config.value", error.to_string(), None);
                None
            }
            Err(_) => None,
        }
    }

    fn grants(&mut self) -> Vec<ReadGrant> {
        let raw: Vec<raw::grant::Grant> = self.section("/grant").unwrap_or_default();
        let reads = raw
            .into_iter()
            .filter(|grant| grant.allow.contains(&raw::grant::Verb::ReadPlaintext));
        reads
            .map(|grant| ReadGrant {
                uid: grant.uid,
                secrets: grant.secrets.into_iter().map(|pattern| pattern.0).collect(),
            })
            .collect()
    }

    fn vault(&mut self, vault: &raw::Vault) -> Vault {
        match vault.kind {
            Some(raw::VaultKind::Embedded) | None => Vault::Embedded {
                key_file: vault.key_file.as_deref().map(|path| self.path(path)),
            },
        }
    }

    fn backup_every(&mut self) -> Option<Duration> {
        const DAY: Duration = Duration::from_hours(24);
        let backup: raw::Backup = self.section("/backup")?;
        Some(self.duration(
            "/backup/every",
            Some(&backup.every),
            DAY,
            (Duration::from_mins(1), 366 * DAY),
        ))
    }

    fn signatures_required(&mut self, plugins: &raw::Plugins) -> bool {
        let required = matches!(plugins.signatures, Some(raw::Signatures::Required));
        if required && plugins.publishers.is_empty() {
            self.report(
                At::Value("/plugins/signatures"),
                "config.value",
                "no signature can count: `publishers` lists no key".to_owned(),
                Some("list the publishers' minisign keys in `publishers` of `[plugins]`".to_owned()),
            );
        }
        required
    }

    fn trust(&mut self) -> BTreeMap<String, TrustSet> {
        let document = Arc::clone(&self.document);
        let names = document.json().pointer("/trust").and_then(Value::as_object);
        let mut trust = BTreeMap::new();
        for name in names.into_iter().flat_map(serde_json::Map::keys) {
            let pointer = join("/trust", name);
            if let Some(set) = self.section::<raw::Trust>(&pointer) {
                let pem = set.pem.iter().map(|file| self.path(&file.0)).collect();
                trust.insert(name.clone(), TrustSet { pem });
            }
        }
        trust
    }

    fn limits(&mut self, limits: &raw::Limits) -> Limits {
        const SECOND: Duration = Duration::from_secs(1);
        Limits {
            memory_bytes: self.size(
                "/limits/memory",
                limits.memory.as_deref(),
                128 << 20,
                (1 << 20, 4 << 30),
            ),
            cpu: self.duration(
                "/limits/cpu",
                limits.cpu.as_deref(),
                5 * SECOND,
                (SECOND / 100, 900 * SECOND),
            ),
            step: self.duration(
                "/limits/step",
                limits.step.as_deref(),
                60 * SECOND,
                (SECOND, 900 * SECOND),
            ),
        }
    }

    fn rotations(&mut self, step: Duration, schedule: &Schedule) -> Vec<Arc<Rotation>> {
        let document = Arc::clone(&self.document);
        let rotations = document.json().pointer("/rotation").and_then(Value::as_array);
        let written = rotations.into_iter().flatten().enumerate();
        let written = written.filter(|(_, rotation)| rotation.get("each").is_none());
        written
            .filter_map(|(index, _)| self.rotation(index, step, schedule))
            .map(Arc::new)
            .collect()
    }

    pub(crate) fn rotation(&mut self, index: usize, step: Duration, schedule: &Schedule) -> Option<Rotation> {
        let base = format!("/rotation/{index}");
        let at = |key: &str| format!("{base}/{key}");
        let raw: raw::Rotation = self.section(&base)?;
        let consumers = self.consumers(&at("consumers"), &raw.consumers);
        let longest = consumers
            .iter()
            .map(|consumer| consumer.staleness)
            .max()
            .unwrap_or_default();
        let grace = self.grace(&at("grace"), raw.grace.as_deref(), longest);
        let approval = raw
            .approval
            .map(|approval| self.approval(&at("approval"), approval));
        let deadlines = self.deadlines(&at("deadlines"), &raw.deadlines, step);
        let hour = Duration::from_hours(1);
        let per = self.duration(
            &at("probes/per"),
            raw.probes.per.as_deref(),
            hour,
            (hour / 60, 168 * hour),
        );
        Some(Rotation {
            name: raw.name.parse().ok()?,
            plugin: raw.plugin.parse().ok()?,
            secret: raw.secret.parse().ok()?,
            inputs: secrets(&raw.inputs),
            outputs: secrets(&raw.outputs),
            forms: self.forms(&at("forms"), raw.forms),
            config: Value::Object(raw.config),
            public: match raw.public {
                Some(parts) => parts.into_iter().map(|part| part.0).collect(),
                None => PUBLIC.map(str::to_owned).into(),
            },
            labels: raw
                .labels
                .into_iter()
                .map(|(name, text)| (name, text.0))
                .collect(),
            policy: raw.policy,
            schedule: self.schedule(&at("schedule"), raw.schedule, schedule),
            approval,
            grace,
            consumers,
            gap: match raw.gap {
                Some(raw::Gap::Accept) => Gap::Accept,
                Some(raw::Gap::Refuse) | None => Gap::Refuse,
            },
            proof: match raw.proof {
                Some(raw::Proof::Accept) => ProofChoice::Accept,
                Some(raw::Proof::Deferred) => ProofChoice::Deferred,
                Some(raw::Proof::Login) | None => ProofChoice::Login,
            },
            first: match raw.first {
                Some(raw::First::Set) => FirstRun::Set,
                Some(raw::First::Adopt) | None => FirstRun::Adopt,
            },
            deadlines,
            probes: ProbeBudget {
                logins: raw.probes.logins,
                per,
            },
            index,
        })
    }

    fn grace(&mut self, pointer: &str, text: Option<&str>, longest_staleness: Duration) -> Duration {
        const DAY: Duration = Duration::from_hours(24);
        self.duration(pointer, text, DAY.max(longest_staleness), (Duration::ZERO, YEAR))
    }

    fn deadlines(&mut self, pointer: &str, raw: &raw::Deadlines, step: Duration) -> Deadlines {
        const SECOND: Duration = Duration::from_secs(1);
        let step = self.duration(
            &format!("{pointer}/step"),
            raw.step.as_deref(),
            step,
            (SECOND, 900 * SECOND),
        );
        let hour = 3600 * SECOND;
        let run = self.duration(
            &format!("{pointer}/run"),
            raw.run.as_deref(),
            hour,
            (SECOND, 720 * hour),
        );
        Deadlines { step, run }
    }

    /// `None` for what is no duration, or out of range; only the range is reported here.
    fn duration(
        &mut self,
        pointer: &str,
        text: Option<&str>,
        default: Duration,
        (least, most): (Duration, Duration),
    ) -> Duration {
        let Some(duration) = text.and_then(|text| parse_duration(text).ok()) else {
            return default;
        };
        if !(least..=most).contains(&duration) {
            self.range(pointer, &show_duration(least), &show_duration(most));
        }
        duration
    }

    fn size(&mut self, pointer: &str, text: Option<&str>, default: u64, (least, most): (u64, u64)) -> u64 {
        let Some(bytes) = text.and_then(|text| parse_size(text).ok()) else {
            return default;
        };
        if !(least..=most).contains(&bytes) {
            self.range(pointer, &show_size(least), &show_size(most));
        }
        bytes
    }

    fn range(&mut self, pointer: &str, least: &str, most: &str) {
        let message = format!("must be from {least} to {most}");
        self.report(At::Value(pointer), "config.range", message, None);
    }

    /// Joined to the folder of the file.
    pub(crate) fn path(&self, text: &str) -> PathBuf {
        self.document.path().parent().unwrap_or(Path::new("")).join(text)
    }

    pub(crate) fn report(&mut self, at: At<'_>, code: &'static str, message: String, hint: Option<String>) {
        let problem = self.document.problem(at, code, message, hint);
        self.problems.push(problem);
    }
}

const YEAR: Duration = Duration::from_hours(366 * 24);
