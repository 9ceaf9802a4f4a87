//! A service for hours: a host that serves, on which a rotation is due every few seconds, is killed again and again and started anew. Nobody looks after it.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::check::{Checker, Kind, Violation};
use crate::choices::Choices;
use crate::host::{COMMAND_DEADLINE, Started};
use crate::points::{Path, Point};
use crate::record::{Entry, Fact};
use crate::report::{Counts, Matrix, timeline};
use crate::run::Progress;
use crate::scene::Scene;

/// Between two rotations of one credential. Each costs one of the failed logins that an account has in a minute.
pub(crate) const EVERY: &str = "5s";

/// Between two kills: at least so long, and up to twice as long. A minute in the mean.
const SPAN: Duration = Duration::from_secs(40);

/// Between two looks at a host that serves.
const LOOK: Duration = Duration::from_millis(50);

/// From a kill to the next rotation that is over.
const RECOVERY: Duration = Duration::from_mins(1);

/// One target under service.
pub(crate) struct Soak<'a> {
    pub(crate) scene: Scene,
    pub(crate) checker: Checker,
    pub(crate) choices: Choices,
    pub(crate) seed: u64,
    pub(crate) all: &'a Progress,
}

impl Soak<'_> {
    /// Serves so long. What was found, and how often it was killed, in the cell for that.
    ///
    /// # Errors
    /// The host cannot be started; the trail does not hold together in the end.
    pub(crate) fn run(mut self, span: Duration, say: &mut dyn FnMut(String)) -> Result<(Matrix, Counts)> {
        let (mut matrix, mut counts) = (Matrix::default(), Counts::default());
        let _ = self.checker.count(&self.scene.record.take());
        self.scene.configure_often()?;
        self.scene.tap.watch(self.scene.watched(None))?;
        let (before, _) = self.ended()?;
        let over = Instant::now() + span;
        let (mut number, mut killed, mut sizes) = (0, false, Vec::new());
        while Instant::now() < over && !self.all.over.load(Ordering::SeqCst) {
            number += 1;
            let went = self.serve_and_kill(number, killed);
            let failed = went.as_ref().err().map(|error| format!("{error:#}"));
            killed = went.is_ok();
            sizes.extend(went.ok());
            let entries = self.scene.record.take();
            let violations = self.judge(&entries, failed, number > 1);
            if killed {
                matrix.count(Point::Random, Path::Scheduled);
                self.all.kills.fetch_add(1, Ordering::SeqCst);
            }
            if !violations.is_empty() {
                self.all.over.store(true, Ordering::SeqCst);
                counts.add(&violations);
                say(self.told(number, &violations, &entries));
                break;
            }
        }
        self.scene.record.add(Fact::Fault {
            what: "the last start".to_owned(),
        });
        let last = self.ends_well();
        let entries = self.scene.record.take();
        let violations = self.judge(
            &entries,
            last.as_ref().err().map(|error| format!("{error:#}")),
            true,
        );
        if !violations.is_empty() {
            counts.add(&violations);
            say(self.told(number, &violations, &entries));
        }
        self.scene.host.done(&["audit", "verify"], "")?;
        let (after, _) = self.ended()?;
        let size = |size: Option<&(u64, usize)>| {
            size.map_or_else(String::new, |(mib, descriptors)| {
                format!("{mib} MiB, {descriptors} descriptors")
            })
        };
        say(format!(
            "soak: {}: {} kills, {} rotations; when it was killed a host had {} (the first), {} (the last)",
            self.scene.name,
            sizes.len(),
            after - before,
            size(sizes.first()),
            size(sizes.last()),
        ));
        Ok((matrix, counts))
    }

    /// The next host: where the one before was killed, a rotation must come to its end; then this one is killed. Its size then.
    fn serve_and_kill(&mut self, number: u32, was_killed: bool) -> Result<(u64, usize)> {
        self.scene.tap.learn()?;
        self.begun(number);
        let mut serving = self.serve()?;
        if was_killed {
            self.recovers(&mut serving)?;
        }
        let span = SPAN + SPAN * u32::try_from(self.choices.below(1000))? / 1000;
        let begun = Instant::now();
        while begun.elapsed() < span && !self.all.over.load(Ordering::SeqCst) {
            Self::still_serves(&mut serving)?;
            self.scene.tap.trouble()?;
            sleep(LOOK);
        }
        let size = serving.size()?;
        serving.signal(Signal::KILL)?;
        let _ = serving.wait(COMMAND_DEADLINE)?;
        Ok(size)
    }

    fn begun(&self, number: u32) {
        self.scene.record.add(Fact::Begun {
            number,
            target: self.scene.name,
            path: Path::Scheduled.name(),
            point: Point::Random.name(),
            detail: "soak".to_owned(),
        });
    }

    fn serve(&self) -> Result<Started> {
        self.scene.record.add(Fact::Fault {
            what: "killed before this host was started".to_owned(),
        });
        self.scene
            .host
            .start(&mut self.scene.host.command(&["serve"]), "")
    }

    fn still_serves(serving: &mut Started) -> Result<()> {
        ensure!(!serving.has_ended()?, "`keywheel serve` has ended by itself");
        Ok(())
    }

    /// How many runs are over, and how many are not.
    fn ended(&self) -> Result<(i64, i64)> {
        self.scene.tap.vault.journal()?.runs(&self.scene.app.rotation)
    }

    fn recovers(&self, serving: &mut Started) -> Result<()> {
        let journal = self.scene.tap.vault.journal()?;
        let (begun, (before, _)) = (Instant::now(), self.ended()?);
        loop {
            Self::still_serves(serving)?;
            let (after, _) = journal.runs(&self.scene.app.rotation)?;
            if after > before {
                self.scene.record.add(Fact::Recovered);
                return Ok(());
            }
            ensure!(
                begun.elapsed() < RECOVERY,
                "no rotation has come to its end within {} s of the start",
                RECOVERY.as_secs()
            );
            sleep(LOOK);
        }
    }

    /// Told to end, nothing is left open but what sleeps; an operator brings that to its end. Then what is current logs in, and what is revoked does not.
    fn ends_well(&mut self) -> Result<()> {
        self.scene.tap.learn()?;
        let mut serving = self
            .scene
            .host
            .start(&mut self.scene.host.command(&["serve"]), "")?;
        self.recovers(&mut serving)?;
        serving.signal(Signal::TERM)?;
        let output = serving.wait(COMMAND_DEADLINE)?;
        ensure!(output.code == 0, "`keywheel serve` ends with {}", output.code);
        if self.ended()?.1 > 0 {
            let resume = ["run", "resume", &self.scene.app.rotation, "--wait", "end"];
            self.scene.host.done(&resume, "")?;
        }
        self.scene.proves(&self.scene.app.clone(), "")
    }

    fn judge(&mut self, entries: &[Entry], failed: Option<String>, was_killed: bool) -> Vec<Violation> {
        let mut violations = self.checker.judge(entries);
        // The first host recovers from nothing.
        violations.retain(|violation| was_killed || violation.kind != Kind::Recovery);
        violations.extend(failed.map(|words| Violation {
            kind: Kind::Recovery,
            at: entries.last().map_or(0, |entry| entry.at),
            words,
        }));
        violations
    }

    fn told(&self, number: u32, violations: &[Violation], entries: &[Entry]) -> String {
        let lines: String = violations
            .iter()
            .map(|one| format!("  at {} us: {:?}: {}\n", one.at, one.kind, one.words))
            .collect();
        format!(
            "soak: seed {}, host {number} of {}\n{lines}{}",
            self.seed,
            self.scene.name,
            timeline(entries)
        )
    }
}
