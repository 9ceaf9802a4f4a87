//! The host works, and is hit.

use std::fs;
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use keywheel_failpoint::Point as Failpoint;
use keywheel_kit::SmallDisk;
use rustix::process::Signal;

use crate::host::{COMMAND_DEADLINE, Output, Started};
use crate::points::{Cut, Day, Path, Point};
use crate::proxy::{Kind, Verdict};
use crate::record::Fact;
use crate::scene::{STEP_SECONDS, Scene};
use crate::tap::{Reached, Stop, lock};
use crate::target::Subject;

const PAUSE: Duration = Duration::from_micros(300);

/// A host that serves and has not come to an end is left for so long.
pub(crate) const SERVES: Duration = Duration::from_secs(8);

/// What a seed decides of one hit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice {
    /// Which of several exchanges or ways.
    pub(crate) which: u64,
    /// When, in thousandths of an undisturbed run.
    pub(crate) when: u64,
    /// How long something else takes, in thousandths of what it may.
    pub(crate) delay: u64,
}

/// The work that is hit.
pub(crate) struct Work<'a> {
    pub(crate) path: Path,
    pub(crate) subject: &'a Subject,
    pub(crate) words: Vec<&'a str>,
    pub(crate) stdin: &'a str,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Hit {
    /// The point was met: the host was hit there.
    pub(crate) met: bool,
    pub(crate) output: Output,
}

impl Scene {
    /// Starts the work, hits the host at the point, and waits until it has ended.
    pub(crate) fn hit(&mut self, work: &Work, point: Point, dice: Dice) -> Result<Hit> {
        let known = self.baselines.get(&work.path).cloned().unwrap_or_default();
        let span = Duration::from_micros(known.micros * dice.when / 1000);
        match point {
            Point::Failpoint(place) => {
                let times = known.places.get(&place).copied().unwrap_or(1);
                self.at_place(work, place, 1 + dice.which % times)
            }
            Point::Random | Point::Cancelled | Point::TakenBack => {
                self.after(self.begin(work)?, span, Signal::KILL)
            }
            Point::CancelledAtWork => self.told(work, span, "cancel"),
            Point::TakenBackAtWork => self.told(work, span, "rollback"),
            Point::Interrupted => self.after(self.begin(work)?, span, Signal::INT),
            Point::Clock(day) => {
                // A day, and more than what a schedule takes for a clock that was set back a little.
                let offset = if day == Day::Ahead { "+25h" } else { "-25h" };
                self.fault(&format!("its clock is at {offset}"));
                let mut faked = self.host.faked(&work.words, &keywheel_kit::faketime()?, offset);
                let started = self.launch(&mut faked, work)?;
                self.after(started, span, Signal::KILL)
            }
            Point::Journal => self.at_write(work, 1 + known.writes * dice.when / 1000),
            Point::ServerKilled => self.server_killed(work, span, dice),
            Point::FileLimit => self.within(work, 4096 + dice.when * 256),
            Point::NoSpace => self.without_room(work, 32 * 1024 + dice.when * 256),
            Point::RowLock => self.row_locked(work, dice),
            Point::Proxy(..)
            | Point::SecondHost
            | Point::Stopped
            | Point::StoppedAtLogin
            | Point::ConfigReplaced
            | Point::PluginReplaced => {
                let kind = point.kind(work.path).unwrap_or(Kind::Login);
                let count = if kind == Kind::Change {
                    known.changes
                } else {
                    known.logins
                };
                let nth = u32::try_from(dice.which % u64::from(count.max(1)))?;
                let before = !matches!(point, Point::Proxy(_, cut) if !cut.is_before());
                self.at_exchange(work, Stop { kind, nth, before }, point, dice)
            }
        }
    }

    pub(crate) fn begin(&self, work: &Work) -> Result<Started> {
        self.launch(&mut self.host.command(&work.words), work)
    }

    /// Starts the work. A host that serves is told to end when its rotation is over, or as it is after some time: then an operator looks.
    pub(crate) fn launch(&self, command: &mut Command, work: &Work) -> Result<Started> {
        let mut started = self.host.start(command, work.stdin)?;
        if work.path == Path::Scheduled {
            let (journal, rotation) = (self.tap.vault.journal()?, work.subject.rotation.clone());
            let (before, _) = journal.runs(&rotation)?;
            let begun = Instant::now();
            started.end_when(move || {
                let (over, open) = journal.runs(&rotation)?;
                Ok(over > before && open == 0 || begun.elapsed() > SERVES)
            });
        }
        Ok(started)
    }

    fn fault(&self, what: &str) {
        self.record.add(Fact::Fault {
            what: what.to_owned(),
        });
    }

    fn kill(&self, started: &Started, what: &str) -> Result<()> {
        self.fault(&format!("SIGKILL, {what}"));
        started.signal(Signal::KILL)
    }

    fn finish(&self, started: Started, met: bool) -> Result<Hit> {
        let output = started.wait(COMMAND_DEADLINE)?;
        let _ = self.tap.plan(None);
        Ok(Hit { met, output })
    }

    /// A signal after some time.
    fn after(&self, mut started: Started, span: Duration, signal: Signal) -> Result<Hit> {
        let begun = Instant::now();
        while begun.elapsed() < span && !started.has_ended()? {
            sleep(PAUSE);
        }
        let met = !started.has_ended()?;
        if met {
            self.fault(&format!("signal {} after {span:?}", signal.as_raw()));
            started.signal(signal)?;
        }
        self.finish(started, met)
    }

    /// A person takes the run back while the host is at it.
    fn told(&self, work: &Work, span: Duration, verb: &str) -> Result<Hit> {
        let started = self.begin(work)?;
        sleep(span);
        let met = self.tap.vault.has_open_run(&work.subject.rotation)?;
        let words = ["run", verb, &work.subject.rotation, "--wait", "5s"];
        if met {
            let told = self.host.run(&words, "")?;
            self.record.add(Fact::Ended {
                command: words.join(" "),
                code: told.code,
            });
        }
        self.finish(started, met)
    }

    /// Dies at a place of its own.
    fn at_place(&self, work: &Work, place: Failpoint, time: u64) -> Result<Hit> {
        let mut failing = self.host.failing(&work.words, place.name(), time);
        self.fault(&format!("dies at {}, time {time}", place.name()));
        let started = self.launch(&mut failing, work)?;
        let mut hit = self.finish(started, false)?;
        hit.met = hit.output.code == 128 + Signal::KILL.as_raw();
        Ok(hit)
    }

    /// Killed as soon as the journal has so many changes more.
    fn at_write(&self, work: &Work, writes: u64) -> Result<Hit> {
        let journal = self.tap.vault.journal()?;
        let before = journal.changes()?;
        let mut started = self.begin(work)?;
        while journal.changes()? < before + writes {
            if started.has_ended()? {
                return self.finish(started, false);
            }
            sleep(PAUSE);
        }
        self.kill(&started, &format!("after write {writes} of the journal"))?;
        self.finish(started, true)
    }

    fn server_killed(&self, work: &Work, span: Duration, dice: Dice) -> Result<Hit> {
        let mut started = self.begin(work)?;
        sleep(span);
        let met = !started.has_ended()?;
        if met {
            let mut target = lock(&self.target);
            self.fault("the server is killed");
            self.record.add(Fact::Server { up: false });
            target.kill()?;
            sleep(Duration::from_micros(dice.delay * 500));
            target.restart()?;
            self.record.add(Fact::Server { up: true });
        }
        self.finish(started, met)
    }

    fn within(&self, work: &Work, bytes: u64) -> Result<Hit> {
        let mut limited = self.host.limited(&work.words, bytes);
        let before = self.over(work)?;
        let started = self.launch(&mut limited, work)?;
        let mut hit = self.finish(started, false)?;
        hit.met = hit.output.code == 1 || self.is_left(work, before)?;
        if hit.met {
            self.fault(&format!("no file beyond {bytes} bytes"));
        }
        Ok(hit)
    }

    /// The disk is full after so many bytes more, of the log of the database and its index.
    fn without_room(&self, work: &Work, bytes: u64) -> Result<Hit> {
        let disk = SmallDisk::mount_over(&self.host.file("state"))?;
        disk.leave(bytes)?;
        let before = self.over(work)?;
        let mut hit = self.finish(self.begin(work)?, false)?;
        hit.met = hit.output.code == 1 || self.is_left(work, before)?;
        if hit.met {
            self.fault(&format!("no room on the disk for more than {bytes} bytes"));
        }
        Ok(hit)
    }

    /// How many runs of the rotation are over.
    fn over(&self, work: &Work) -> Result<i64> {
        Ok(self.tap.vault.journal()?.runs(&work.subject.rotation)?.0)
    }

    /// A host that serves does not end for want of room: it leaves what it cannot write.
    fn is_left(&self, work: &Work, before: i64) -> Result<bool> {
        Ok(work.path == Path::Scheduled && self.over(work)? == before)
    }

    /// Waits until the planned exchange is reached; none: the command ended before.
    fn reached(started: &mut Started, ask: &Receiver<Reached>) -> Result<Option<Reached>> {
        loop {
            if let Ok(reached) = ask.try_recv() {
                return Ok(Some(reached));
            }
            if started.has_ended()? {
                return Ok(None);
            }
            sleep(PAUSE);
        }
    }

    fn at_exchange(&mut self, work: &Work, stop: Stop, point: Point, dice: Dice) -> Result<Hit> {
        let ask = self.tap.plan(Some(stop));
        let mut started = self.begin(work)?;
        let Some(reached) = Self::reached(&mut started, &ask)? else {
            return self.finish(started, false);
        };
        match point {
            Point::Proxy(_, cut) => self.cut(&started, reached, cut, dice)?,
            Point::Stopped | Point::StoppedAtLogin => self.stop(&started, reached, dice)?,
            Point::SecondHost => {
                let second = self.host.run(&work.words, work.stdin)?;
                self.record.add(Fact::Ended {
                    command: "second host".to_owned(),
                    code: second.code,
                });
                self.kill(&started, "beside a second host")?;
                reached.answer(Verdict::Drop);
                ensure!(
                    second.code == 24 && second.printed.contains("store.in-use"),
                    "a second host is not refused:\n{}",
                    second.printed
                );
            }
            _ => {
                self.replace(work.subject, point, dice)?;
                self.kill(&started, "beside a replaced file")?;
                reached.answer(Verdict::Drop);
            }
        }
        self.finish(started, true)
    }

    fn stop(&self, started: &Started, reached: Reached, dice: Dice) -> Result<()> {
        self.fault("SIGSTOP past the deadline");
        started.signal(Signal::STOP)?;
        // Past the deadline, and the slack that a takeover gives it.
        sleep(Duration::from_millis(STEP_SECONDS * 1000 + 600));
        self.tap.expire()?;
        reached.answer(Verdict::Pass);
        sleep(Duration::from_micros(dice.delay * 300));
        started.signal(Signal::CONT)
    }

    fn cut(&self, started: &Started, reached: Reached, cut: Cut, dice: Dice) -> Result<()> {
        match cut {
            Cut::Before | Cut::Withheld => {
                self.kill(started, "at the proxy")?;
                reached.answer(Verdict::Drop);
            }
            Cut::Delivered => {
                reached.answer(Verdict::Pass);
                sleep(Duration::from_micros(dice.delay * 3));
                // It may have come to its end by now.
                self.kill(started, "after the answer")?;
            }
            Cut::Lost | Cut::Hole => {
                self.fault("the connection falls silent");
                reached.answer(Verdict::Hole);
            }
            Cut::Reset => {
                self.fault("the connection is reset");
                reached.answer(Verdict::Reset);
            }
        }
        Ok(())
    }

    /// Other bytes in the configuration or the plugin's file.
    fn replace(&self, subject: &Subject, point: Point, dice: Dice) -> Result<()> {
        if point == Point::ConfigReplaced {
            return match dice.which % 3 {
                // No rotation of the subject's name any more, or one that cannot be read, or a stranger beside it.
                0 => fs::write(self.host.file("keywheel.toml"), "").map_err(Into::into),
                1 => self.configure(&[], "this is no toml"),
                _ => self.configure(&[subject], "[limits]\nstep = \"59s\"\n"),
            };
        }
        let file = self.plugin_file(lock(&self.target).plugin());
        let mut bytes = fs::read(&file)?;
        match dice.which % 2 {
            0 => bytes.truncate(bytes.len() / 2),
            // A custom section of one byte: another file of the same plugin.
            _ => bytes.extend([0, 2, 1, b'x']),
        }
        fs::write(&file, bytes)?;
        Ok(())
    }

    /// Rule P1: the statement waits on the server for a row lock; the host dies behind a network that falls silent; the lock is let go
    /// while the next one recovers.
    fn row_locked(&mut self, work: &Work, dice: Dice) -> Result<Hit> {
        lock(&self.target).hold(&work.subject.accounts)?;
        let stop = Stop {
            kind: Kind::Change,
            nth: 0,
            before: true,
        };
        let ask = self.tap.plan(Some(stop));
        let mut started = self.begin(work)?;
        let Some(reached) = Self::reached(&mut started, &ask)? else {
            lock(&self.target).release()?;
            return self.finish(started, false);
        };
        self.proxy.keep_server_side(true);
        reached.answer(Verdict::Pass);
        // Until it waits there.
        sleep(Duration::from_millis(100));
        self.kill(&started, "while its statement waits for a lock")?;
        let hit = self.finish(started, true)?;
        let verb = if dice.which.is_multiple_of(2) {
            "resume"
        } else {
            "rollback"
        };
        let words = ["run", verb, &work.subject.rotation, "--wait", "20s"];
        let next = self.host.start(&mut self.host.command(&words), "")?;
        sleep(Duration::from_micros(dice.delay * 1500));
        lock(&self.target).release()?;
        let output = next.wait(COMMAND_DEADLINE)?;
        self.record.add(Fact::Ended {
            command: words.join(" "),
            code: output.code,
        });
        self.proxy.keep_server_side(false);
        self.proxy.cut();
        Ok(hit)
    }
}
