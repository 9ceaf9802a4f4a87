//! One kill: work, hit, recovery, proof.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use keywheel_failpoint::Point as Failpoint;

use crate::hit::{Dice, Work};
use crate::host::{COMMAND_DEADLINE, Output};
use crate::options::Control;
use crate::points::{Path, Point};
use crate::record::{Entry, Fact, Said};
use crate::scene::PER_SECONDS;
use crate::scene::{Baseline, Scene};
use crate::target::Subject;
use crate::vault::Held;

/// After so many tries a recovery has failed.
const TRIES: u32 = 4;

/// Between two tries of a command that would exceed the budget of failed logins.
const BUDGET_PAUSE: Duration = Duration::from_secs(5);

/// Of what is dead the newest so many are tried in a proof.
const DEAD: usize = 4;

/// What was seen of one kill.
pub(crate) struct Seen {
    pub(crate) met: bool,
    pub(crate) entries: Vec<Entry>,
    /// Why it could not be gone through with.
    pub(crate) failed: Option<anyhow::Error>,
}

/// What is worked on.
struct Task {
    path: Path,
    subject: Subject,
    /// What a person has: the value in use, or the one to go back to.
    value: String,
    /// The version to go back to.
    version: String,
}

impl Task {
    fn words(&self) -> Vec<&str> {
        let (rotation, secret) = (self.subject.rotation.as_str(), self.subject.secret.as_str());
        match self.path {
            Path::Rotate | Path::First | Path::Admin => vec!["rotate", rotation, "--wait", "end"],
            Path::Adopt => vec!["secret", "import", secret, "-", "--wait", "end"],
            Path::Rollback => vec!["secret", "rollback", secret, &self.version],
            Path::PutBack => vec!["secret", "rollback", secret, &self.version, "--wait", "end"],
            Path::Scheduled => vec!["serve"],
        }
    }

    fn work(&self) -> Work<'_> {
        Work {
            path: self.path,
            subject: &self.subject,
            words: self.words(),
            stdin: self.stdin(),
        }
    }

    fn stdin(&self) -> &str {
        if self.path == Path::Adopt { &self.value } else { "" }
    }
}

impl Scene {
    /// Runs a path undisturbed, and keeps what it takes.
    pub(crate) fn measure(&mut self, path: Path) -> Result<()> {
        let task = self.prepare(path)?;
        let _ = self.tap.plan(None);
        let journal = self.tap.vault.journal()?;
        let (before, begun) = (journal.changes()?, Instant::now());
        let output = self.begin(&task.work())?.wait(COMMAND_DEADLINE)?;
        ensure!(output.code == 0, "undisturbed:\n{}", output.printed);
        let micros = u64::try_from(begun.elapsed().as_micros())?;
        let writes = journal.changes()? - before;
        drop(journal);
        let (changes, logins) = self.tap.counted();
        ensure!(
            changes > 0 || !path.changes(),
            "{} changed nothing on the target",
            path.name()
        );
        self.tap.trouble()?;
        self.prove(&task)?;
        let taken = Baseline {
            micros,
            changes,
            logins,
            writes,
            places: self.places_on(path)?,
        };
        self.baselines.insert(path, taken);
        Ok(())
    }

    /// The failpoints that the host passes on a path, and how often.
    fn places_on(&mut self, path: Path) -> Result<BTreeMap<Failpoint, u64>> {
        let task = self.prepare(path)?;
        let trace = tempfile::NamedTempFile::new()?;
        let mut traced = self.host.traced(&task.words(), trace.path());
        let output = self.launch(&mut traced, &task.work())?.wait(COMMAND_DEADLINE)?;
        ensure!(
            output.code == 0,
            "with failpoints, undisturbed:\n{}",
            output.printed
        );
        self.prove(&task)?;
        let passed = std::fs::read_to_string(trace.path())?;
        let times = |point: Failpoint| passed.lines().filter(|line| *line == point.name()).count() as u64;
        let places = Failpoint::ALL.into_iter().map(|point| (point, times(point)));
        Ok(places.filter(|(_, times)| *times > 0).collect())
    }

    /// One kill at a point; for a control the target is spoiled before the proof.
    pub(crate) fn kill_at(
        &mut self,
        number: u32,
        at: (Path, Point),
        dice: Dice,
        control: Option<Control>,
    ) -> Seen {
        let (path, point) = at;
        let _ = self.record.take();
        self.record.add(Fact::Begun {
            number,
            target: self.name,
            path: path.name(),
            point: point.name(),
            detail: format!("{dice:?}"),
        });
        let done = self.go_through(path, point, dice, control);
        let (met, failed) = match done.and_then(|met| self.tap.trouble().map(|()| met)) {
            Ok(met) => (met, None),
            Err(error) => (true, Some(error)),
        };
        Seen {
            met,
            entries: self.record.take(),
            failed,
        }
    }

    fn go_through(&mut self, path: Path, point: Point, dice: Dice, control: Option<Control>) -> Result<bool> {
        let task = self.prepare(path)?;
        let plugin = crate::tap::lock(&self.target).plugin();
        let plugin = (point == Point::PluginReplaced).then(|| self.plugin_file(plugin));
        let kept = plugin.as_deref().map(std::fs::read).transpose()?;
        let hit = self.hit(&task.work(), point, dice)?;
        self.ended(&task.words(), &hit.output);
        self.tap.learn()?;
        if matches!(point, Point::ConfigReplaced | Point::PluginReplaced) && hit.met {
            // With the wrong file it may go on, or refuse; it may not do harm.
            self.try_once(&["run", "resume", &task.subject.rotation, "--wait", "5s"])?;
        }
        if let Some((file, bytes)) = plugin.as_deref().zip(kept) {
            std::fs::write(file, bytes)?;
        }
        let others: Vec<&Subject> = self.own(&task.subject).into_iter().collect();
        self.configure(&others, "")?;
        self.recover(&task, point)?;
        match control {
            None | Some(Control::Logins | Control::Late) => {}
            Some(Control::Spoiled) => crate::tap::lock(&self.target).spoil(&task.subject.accounts)?,
            Some(Control::Stale) => {
                let subject = &task.subject;
                if let Some(revoked) = self.refused(subject)?.and_then(|held| held.value) {
                    let target = crate::tap::lock(&self.target);
                    let credential = target.credential(&subject.accounts, &revoked)?;
                    target.set_by_hand(&credential)?;
                }
            }
        }
        self.prove(&task)?;
        Ok(hit.met)
    }

    /// The subject, where it is none of the two that are always there.
    fn own<'a>(&self, subject: &'a Subject) -> Option<&'a Subject> {
        (*subject != self.app && *subject != self.admin).then_some(subject)
    }

    fn prepare(&mut self, path: Path) -> Result<Task> {
        let task = |subject: Subject, value: String, version: String| Task {
            path,
            subject,
            value,
            version,
        };
        Ok(match path {
            Path::Rotate | Path::Admin => {
                let subject = if path == Path::Rotate {
                    &self.app
                } else {
                    &self.admin
                };
                let subject = subject.clone();
                self.tap.watch(self.watched(None))?;
                task(subject, String::new(), String::new())
            }
            Path::Scheduled => {
                let subject = self.app.clone();
                self.tap.watch(self.watched(None))?;
                self.configure_due()?;
                task(subject, String::new(), String::new())
            }
            Path::First | Path::Adopt => {
                let (subject, value) = self.fresh(path == Path::First)?;
                self.tap.watch(self.watched(Some((&subject, &value))))?;
                task(subject, value, String::new())
            }
            Path::Rollback => {
                let subject = self.app.clone();
                let older = self.older(&subject)?.context("there is no older version")?;
                let value = older.value.context("the older version has no value")?;
                self.tap.watch(self.watched(Some((&subject, &value))))?;
                self.set_by_hand(&subject, &value)?;
                task(subject, value, older.version.id)
            }
            Path::PutBack => {
                let subject = self.app.clone();
                self.tap.watch(self.watched(None))?;
                let mut refused = self.refused(&subject)?;
                if refused.is_none() {
                    // What a person put on the target is still accepted: after a rotation it is not.
                    self.host
                        .done(&["rotate", &subject.rotation, "--wait", "end"], "")?;
                    refused = self.refused(&subject)?;
                }
                let refused = refused.context("the target accepts every older version")?;
                let value = refused.value.context("the older version has no value")?;
                task(subject, value, refused.version.id)
            }
        })
    }

    /// A version that was current once, and has another value than the one that is.
    fn older(&self, subject: &Subject) -> Result<Option<Held>> {
        Ok(self.all_older(subject)?.into_iter().next())
    }

    /// The same, of those whose value the target refuses: whoever goes back to it has to put it there.
    fn refused(&self, subject: &Subject) -> Result<Option<Held>> {
        let older = self.all_older(subject)?;
        let target = crate::tap::lock(&self.target);
        let (port, mut client) = (target.port(), target.client());
        for held in older {
            let Some(value) = held.value.as_deref() else {
                continue;
            };
            let credential = target.credential(&subject.accounts, value)?;
            if client.login(port, &credential) == Said::Refused {
                return Ok(Some(held));
            }
        }
        Ok(None)
    }

    fn all_older(&self, subject: &Subject) -> Result<Vec<Held>> {
        let mut versions = self.tap.vault.versions(&subject.secret)?;
        let current = versions
            .iter()
            .find(|held| held.version.stage == "current")
            .map(|held| held.version.value.clone());
        versions.retain(|held| {
            ["revoked", "previous"].contains(&held.version.stage.as_str())
                && Some(&held.version.value) != current.as_ref()
        });
        Ok(versions)
    }

    fn ended(&self, words: &[&str], output: &Output) {
        self.record.add(Fact::Ended {
            command: words.join(" "),
            code: output.code,
        });
    }

    fn try_once(&self, words: &[&str]) -> Result<Output> {
        let output = self.host.run(words, "")?;
        self.ended(words, &output);
        Ok(output)
    }

    /// What an operator does after a crash, until there is nothing left to do.
    fn recover(&mut self, task: &Task, point: Point) -> Result<()> {
        let rotation = &task.subject.rotation;
        let (mut said, mut parked) = (String::new(), false);
        for tries in 0..TRIES {
            let verb = match point {
                // It was killed before the import had stored anything: the run says that it has nothing to adopt.
                _ if parked && task.path == Path::Adopt => "cancel",
                Point::Cancelled if tries == 0 => "cancel",
                Point::TakenBack if tries == 0 => "rollback",
                _ => "resume",
            };
            if self.tap.vault.has_open_run(rotation)? {
                if task.path == Path::Scheduled && tries == 0 && verb == "resume" {
                    // The next host goes on by itself. Nothing is due any more: it is told to end when nothing is open.
                    let output = self.begin(&task.work())?.wait(COMMAND_DEADLINE)?;
                    self.ended(&task.words(), &output);
                    said = output.printed;
                    continue;
                }
                let output = self.try_once(&["run", verb, rotation, "--wait", "end"])?;
                (said, parked) = (output.printed, output.code == 41);
                continue;
            }
            if self.is_reached(task)? {
                self.tap.trouble()?;
                return Ok(());
            }
            said = self.begin_again(task)?;
        }
        ensure!(
            !self.tap.vault.has_open_run(rotation)? && self.is_reached(task)?,
            "after {TRIES} tries the work is not over:\n{said}"
        );
        Ok(())
    }

    /// Waits as long as the budget of failed logins is used up: the host counts logins that it died at, too, and so more than the checker has seen.
    fn begin_again(&self, task: &Task) -> Result<String> {
        let mut pauses = 0..=PER_SECONDS / BUDGET_PAUSE.as_secs();
        loop {
            let output = self.begin(&task.work())?.wait(COMMAND_DEADLINE)?;
            self.ended(&task.words(), &output);
            if !output.printed.contains("run.budget") || pauses.next().is_none() {
                return Ok(output.printed);
            }
            thread::sleep(BUDGET_PAUSE);
        }
    }

    /// Whether the vault has what the work is for. A rotation may have ended with the old credential.
    fn is_reached(&self, task: &Task) -> Result<bool> {
        let versions = self.tap.vault.versions(&task.subject.secret)?;
        let current = versions.into_iter().find(|held| held.version.stage == "current");
        Ok(match task.path {
            Path::Rollback | Path::PutBack => {
                current.is_some_and(|held| held.value.as_ref() == Some(&task.value))
            }
            _ => current.is_some(),
        })
    }

    fn prove(&mut self, task: &Task) -> Result<()> {
        self.record.add(Fact::Recovered);
        self.proves(&task.subject, &task.value)
    }

    /// Current logs in, what is revoked does not. From now on nobody has a value by hand.
    pub(crate) fn proves(&mut self, subject: &Subject, value: &str) -> Result<()> {
        let mut watched = self.watched(None);
        if let Some(own) = self.own(subject) {
            let more = self.watched(Some((own, "")));
            watched.extend(more.into_iter().filter(|watched| watched.subject == *own));
        }
        for watched in &mut watched {
            watched.by_hand = None;
        }
        self.tap.watch(watched)?;
        let mut watches = Vec::new();
        for (watched, held) in self.tap.learn()? {
            watches.extend(self.tap.watches(&watched, &held, DEAD)?);
            let by_hand = if watched.subject == *subject { value } else { "" };
            self.tap.read_books(&watched.subject, &held, by_hand)?;
        }
        self.tap.witness.prove(&watches);
        Ok(())
    }
}

/// Whether a file is there, with the way to get it.
pub(crate) fn is_there(file: &FilePath, way: &str) -> Result<()> {
    ensure!(file.is_file(), "{} is missing: {way}", file.display());
    Ok(())
}
