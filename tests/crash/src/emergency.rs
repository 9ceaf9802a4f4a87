//! Many credentials of one server at once, as after a compromise: their changes share transactions, and a kill leaves many runs at the same point.
//! Here nobody stands between host and server; what is looked at is what each account takes, before the recovery and after it.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use keywheel_failpoint::Point as Failpoint;
use keywheel_kit::random_password;
use rustix::process::Signal;

use crate::check::{Kind, Violation};
use crate::choices::Choices;
use crate::host::{COMMAND_DEADLINE, Host, Started};
use crate::options::Control;
use crate::record::Said;
use crate::report::Counts;
use crate::scene::Places;
use crate::target::{Client, Credential, Subject, Target};
use crate::vault::{Held, Vault};

/// Credentials under way at the same time.
const ROLES: usize = 12;

/// What an operator does.
const ROTATE: &[&str] = &[
    "rotate",
    "--all",
    "--yes",
    "--at-once",
    "64",
    "--compromised",
    "--reason",
    "a dump was sold",
    "--wait",
    "end",
];

/// Changes are held back for no longer than that.
const GATHERED: Duration = Duration::from_secs(6);

/// A run that is resumed so often and is not over does not come to an end.
const TRIES: u32 = 4;

/// One server, one host, and its roles.
pub(crate) struct Emergency {
    target: Box<dyn Target>,
    host: Host,
    vault: Vault,
    client: Box<dyn Client>,
    roles: Vec<Subject>,
    /// The failpoints that the host passes in an undisturbed emergency, and how often.
    places: BTreeMap<Failpoint, u64>,
    span: Duration,
    choices: Choices,
    /// Runs that stood within a shared transaction when their host died.
    shared: u64,
}

impl Emergency {
    pub(crate) fn start(target: Box<dyn Target>, places: &Places, seed: u64) -> Result<Self> {
        let folder = places.evidence.join("emergency");
        fs::create_dir_all(&folder)?;
        let host = Host::init(
            (places.binary, places.failpoints),
            folder.join("host"),
            folder.join("host.log"),
        )?;
        let vault = Vault::of(&host, folder.join("copy"))?;
        let client = target.client();
        let mut emergency = Self {
            target,
            host,
            vault,
            client,
            roles: Vec::new(),
            places: BTreeMap::new(),
            span: Duration::ZERO,
            choices: Choices::new(seed),
            shared: 0,
        };
        emergency.adopt(places)?;
        emergency.measure()?;
        Ok(emergency)
    }

    fn adopt(&mut self, places: &Places) -> Result<()> {
        let (plugin, root) = (self.target.plugin(), self.target.root());
        let name = format!("{plugin}.wasm");
        fs::copy(
            places.plugins.join(&name),
            self.host.file(&format!("plugins/{name}")),
        )?;
        let to = format!("localhost:{} plaintext", self.target.port());
        self.host
            .done(&["plugin", "add", plugin, "--yes", "--host", &to], "")?;
        self.host
            .done(&["secret", "import", "root/it", "-"], &root.password)?;
        let mut text = fs::read_to_string(self.host.file("keywheel.toml"))?;
        let mut passwords = Vec::new();
        for number in 0..ROLES {
            let name = format!("e{number}");
            let accounts = self.target.accounts(&name);
            let password = random_password();
            self.target.create(&accounts, &password, false)?;
            let role = Subject {
                rotation: name.clone(),
                secret: format!("{name}/it"),
                admin: (root.account.clone(), "root/it".to_owned()),
                accounts,
                sets_first: false,
                name,
            };
            text += &self.rotation(&role);
            passwords.push(password);
            self.roles.push(role);
        }
        fs::write(self.host.file("keywheel.toml"), text)?;
        for (role, password) in self.roles.iter().zip(&passwords) {
            self.host.done(
                &["secret", "import", &role.secret, "-", "--wait", "end"],
                password,
            )?;
        }
        Ok(())
    }

    fn rotation(&self, role: &Subject) -> String {
        format!(
            "\n[[rotation]]\nname = \"{}\"\nplugin = \"{}\"\nsecret = \"{}\"\ninputs = {{ admin = \"root/it\" }}\n\
             grace = \"0s\"\ngap = \"accept\"\nproof = \"deferred\"\ndeadlines = {{ step = \"20s\", run = \"30s\" }}\n\
             probes = {{ logins = 100, per = \"1m\" }}\n[rotation.config]\n{}\n",
            role.rotation,
            self.target.plugin(),
            role.secret,
            self.target.config(role, self.target.port()),
        )
    }

    fn measure(&mut self) -> Result<()> {
        let trace = tempfile::NamedTempFile::new()?;
        let mut traced = self.host.traced(ROTATE, trace.path());
        let begun = Instant::now();
        let output = self.begin_together(&mut traced)?.wait(COMMAND_DEADLINE)?;
        self.span = begun.elapsed();
        ensure!(output.code == 0, "undisturbed:\n{}", output.printed);
        let passed = fs::read_to_string(trace.path())?;
        for place in Failpoint::ALL {
            let times = passed.lines().filter(|line| *line == place.name()).count();
            if times > 0 {
                self.places.insert(place, times as u64);
            }
        }
        ensure!(
            self.places.contains_key(&Failpoint::SharedAfter),
            "no transaction was shared:\n{}",
            output.printed
        );
        Ok(())
    }

    /// Starts an emergency, and holds its changes back on the server until all of them are there: then they share, however slow the machine is.
    fn begin_together(&self, command: &mut Command) -> Result<Started> {
        let accounts: Vec<String> = self
            .roles
            .iter()
            .flat_map(|role| role.accounts.iter().cloned())
            .collect();
        self.target.hold(&accounts)?;
        let begun = Instant::now();
        let mut started = self.host.start(command, "")?;
        while self.vault.shared_in_doubt()? < ROLES as u64
            && !started.has_ended()?
            && begun.elapsed() < GATHERED
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.target.release()?;
        Ok(started)
    }

    /// Kills so often, and says what was found. How many kills fell.
    ///
    /// # Errors
    /// The server or the host cannot be started.
    pub(crate) fn run(
        mut self,
        kills: u32,
        control: Option<Control>,
        say: &mut dyn FnMut(&str),
    ) -> Result<(u32, Counts)> {
        let (mut fell, mut counts) = (0, Counts::default());
        for number in 1..=kills.saturating_mul(3) {
            if fell >= kills {
                break;
            }
            let (point, met) = self.kill(number)?;
            fell += u32::from(met);
            let mut found = Vec::new();
            self.shared += self.vault.shared_in_doubt()?;
            self.look_before(&mut found)?;
            for role in self.roles.clone() {
                if let Err(error) = self.recover(&role) {
                    found.push(violation(Kind::Recovery, format!("{}: {error:#}", role.name)));
                }
            }
            if control == Some(Control::Spoiled) && number == 1 {
                self.target.spoil(&self.roles[ROLES / 2].accounts)?;
            }
            self.look_after(&mut found)?;
            if !found.is_empty() {
                counts.add(&found);
                for Violation { kind, words, .. } in &found {
                    say(&format!(
                        "crash: emergency, number {number}, {point}: {kind:?}: {words}"
                    ));
                }
                break;
            }
            if number.is_multiple_of(10) {
                say(&format!("crash: {fell} kills of {ROLES} runs at once"));
            }
        }
        self.host.done(&["audit", "verify"], "")?;
        say(&format!(
            "crash: {} runs stood within a shared transaction when their host died",
            self.shared
        ));
        ensure!(
            !counts.is_clean() || self.shared > 0 || fell < 8,
            "no kill fell within a shared transaction"
        );
        Ok((fell, counts))
    }

    /// Hits the host in an emergency: at one of its places, at a random time, or by the death of the server. Every third time between the statements of
    /// a shared transaction and what the journal has of it.
    fn kill(&mut self, number: u32) -> Result<(String, bool)> {
        let shared = [
            Failpoint::SharedBefore,
            Failpoint::SharedAfter,
            Failpoint::ConcludeBefore,
        ];
        let places: Vec<(Failpoint, u64)> = self
            .places
            .iter()
            .map(|(place, times)| (*place, *times))
            .collect();
        let chosen = match number % 3 {
            0 => shared[usize::try_from(self.choices.below(3))?],
            _ => places[usize::try_from(self.choices.below(places.len() as u64))?].0,
        };
        let when = self.choices.below(1000);
        let span = self.span * u32::try_from(when)? / 1000;
        if number % 6 == 5 {
            return self.server_killed(span);
        }
        if number % 6 == 1 {
            let mut started = self.host.start(&mut self.host.command(ROTATE), "")?;
            std::thread::sleep(span);
            let met = !started.has_ended()?;
            if met {
                started.signal(Signal::KILL)?;
            }
            let _ = started.wait(COMMAND_DEADLINE)?;
            return Ok((format!("killed after {span:?}"), met));
        }
        let times = self.places.get(&chosen).copied().unwrap_or(1);
        let time = 1 + self.choices.below(times);
        let mut failing = self.host.failing(ROTATE, chosen.name(), time);
        let started = if number.is_multiple_of(3) {
            self.begin_together(&mut failing)?
        } else {
            self.host.start(&mut failing, "")?
        };
        let output = started.wait(COMMAND_DEADLINE)?;
        let met = output.code == 128 + Signal::KILL.as_raw();
        Ok((format!("{}, time {time}", chosen.name()), met))
    }

    fn server_killed(&mut self, span: Duration) -> Result<(String, bool)> {
        let mut started = self.host.start(&mut self.host.command(ROTATE), "")?;
        std::thread::sleep(span);
        let met = !started.has_ended()?;
        if met {
            self.target.kill()?;
            self.target.restart()?;
        }
        let _ = started.wait(COMMAND_DEADLINE)?;
        Ok((format!("the server killed after {span:?}"), met))
    }

    fn accepts(&mut self, role: &Subject, value: &str) -> Result<bool> {
        let credential: Credential = self.target.credential(&role.accounts, value)?;
        let said = self.client.login(self.target.port(), &credential);
        ensure!(
            said != Said::Unreachable,
            "{}: the server does not answer",
            role.name
        );
        Ok(said == Said::Accepted)
    }

    /// Whatever the vault holds by now: one of it logs in.
    fn look_before(&mut self, found: &mut Vec<Violation>) -> Result<()> {
        for role in self.roles.clone() {
            let live =
                |held: &Held| ["pending", "current", "previous"].contains(&held.version.stage.as_str());
            let held = self.vault.versions(&role.secret)?;
            let mut works = false;
            for value in held
                .iter()
                .filter(|held| live(held))
                .filter_map(|held| held.value.as_deref())
            {
                works = works || self.accepts(&role, value)?;
            }
            if !works {
                found.push(violation(
                    Kind::Lockout,
                    format!("{}: no value that lives is accepted", role.name),
                ));
            }
        }
        Ok(())
    }

    fn recover(&self, role: &Subject) -> Result<()> {
        let mut said = String::new();
        for _ in 0..TRIES {
            if !self.vault.has_open_run(&role.rotation)? {
                return Ok(());
            }
            said = self
                .host
                .run(&["run", "resume", &role.rotation, "--wait", "end"], "")?
                .printed;
        }
        ensure!(
            !self.vault.has_open_run(&role.rotation)?,
            "after {TRIES} tries the run is not over:\n{said}"
        );
        Ok(())
    }

    /// Current logs in, and nothing else does.
    fn look_after(&mut self, found: &mut Vec<Violation>) -> Result<()> {
        for role in self.roles.clone() {
            let held = self.vault.versions(&role.secret)?;
            let current = held.iter().find(|held| held.version.stage == "current");
            let value = current
                .and_then(|held| held.value.clone())
                .context("no current version")?;
            if !self.accepts(&role, &value)? {
                found.push(violation(
                    Kind::Lockout,
                    format!("{}: current is refused", role.name),
                ));
            }
            let others = held
                .into_iter()
                .filter_map(|held| held.value)
                .filter(|other| *other != value);
            for other in others.take(2) {
                if self.accepts(&role, &other)? {
                    found.push(violation(
                        Kind::Stale,
                        format!("{}: what is dead is accepted", role.name),
                    ));
                }
            }
        }
        Ok(())
    }
}

fn violation(kind: Kind, words: String) -> Violation {
    Violation { kind, at: 0, words }
}
