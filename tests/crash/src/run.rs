//! A whole run: targets are started, cells of points and paths are dealt from a shuffled deck, and every kill is judged.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use keywheel_kit::{Server as Package, SmallDisk};

use crate::check::{Bounds, Checker, Kind, Violation};
use crate::choices::Choices;
use crate::drive::{Seen, is_there};
use crate::emergency::Emergency;
use crate::hit::Dice;
use crate::options::{Control, Options, Programs};
use crate::points::{Path, Point};
use crate::report::{Counts, Matrix, timeline};
use crate::scene::{LOGINS, PER_SECONDS, Places, Scene};
use crate::soak::Soak;
use crate::target::{Target, mariadb, mssql, mysql, openldap, postgres, redis};

/// The vaults there are.
const VAULTS: [&str; 1] = ["embedded"];

const BUILD_FAILPOINTS: &str = "cargo build -p keywheel-cli --features failpoints --bin keywheel-failpoints";

/// An undisturbed run that fails so often fails because of the host.
const MEASURED_MOST: u32 = 3;

/// From the first fault to the end of the recovery.
const RECOVERY_SECONDS: u64 = 60;

/// The same where something else is to be found, that a recovery which a busy machine made slow would hide.
const RECOVERY_OF_CONTROLS_SECONDS: u64 = 300;

/// A target by its name, whose programs it needs, and how it is started.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) name: &'static str,
    /// None: it is started within this process.
    pub(crate) package: Option<Package>,
    start: fn() -> Result<Box<dyn Target>>,
}

const TARGETS: [Known; 8] = [
    Known {
        name: "postgres",
        package: Some(Package::Postgres),
        start: || Ok(Box::new(postgres::Server::start(false)?)),
    },
    Known {
        name: "postgres-pair",
        package: Some(Package::Postgres),
        start: || Ok(Box::new(postgres::Server::start(true)?)),
    },
    Known {
        name: "redis",
        package: Some(Package::Redis),
        start: || Ok(Box::new(redis::Server::start()?)),
    },
    Known {
        name: "mariadb",
        package: Some(Package::MariaDb),
        start: || Ok(Box::new(mariadb::Server::start()?)),
    },
    Known {
        name: "mysql",
        package: Some(Package::MySql),
        start: || Ok(Box::new(mysql::Server::start()?)),
    },
    Known {
        name: "openldap",
        package: Some(Package::OpenLdap),
        start: || Ok(Box::new(openldap::Server::start()?)),
    },
    Known {
        name: "mssql",
        package: None,
        start: || Ok(Box::new(mssql::Server::start(false)?)),
    },
    Known {
        name: "mssql-pair",
        package: None,
        start: || Ok(Box::new(mssql::Server::start(true)?)),
    },
];

/// Where the host is hit.
#[derive(Clone, Copy, Debug)]
struct Cell {
    point: Point,
    path: Path,
}

/// Kills and judges; says each thing by `say`. Whether nothing was found.
///
/// # Errors
/// Unknown names; a server that is not to be had; a program that is missing.
pub fn run(options: &Options, programs: &Programs, say: &mut dyn FnMut(&str)) -> Result<bool> {
    let mut options = options.clone();
    options.look(say)?;
    let (seed, options) = (options.seed.unwrap_or_default(), &options);
    let known = chosen(options)?;
    is_there(&programs.binary, "cargo build -p keywheel-cli")?;
    is_there(&programs.failpoints, BUILD_FAILPOINTS)?;
    if let Err(missing) = keywheel_kit::faketime() {
        say(&format!(
            "crash: skipped are `clock ahead` and `clock behind`: {missing:#}"
        ));
    }
    if let Err(why) = SmallDisk::probe() {
        say(&format!(
            "crash: skipped is `no space`: this process may not mount a small disk: {why:#}"
        ));
    }
    let names: Vec<&str> = known.iter().map(|known| known.name).collect();
    let folder = evidence_of(programs, seed)?;
    // Commands run in the host's folder.
    let binary = std::path::absolute(&programs.binary)?;
    let failpoints = std::path::absolute(&programs.failpoints)?;
    let places = Places {
        binary: &binary,
        failpoints: &failpoints,
        plugins: &programs.plugins,
        evidence: &folder,
        patient: options.control == Some(Control::Late),
    };
    if options.emergency {
        let target = Box::new(postgres::Server::start(false)?);
        let emergency = Emergency::start(target, &places, seed)?;
        let (kills, counts) = emergency.run(options.kills, options.control, say)?;
        return ends(options, &folder, &counts, say, kills, "postgres-emergency");
    }
    let found = on_each(&known, options, seed, &places, say);
    let (mut matrix, mut counts) = (Matrix::default(), Counts::default());
    for (target, found) in names.iter().zip(found) {
        let (of, on) = found.with_context(|| format!("on {target}"))?;
        matrix.join(of);
        counts.join(on);
    }
    ensure!(
        matrix.sum() > 0 || !counts.is_clean(),
        "no point was met: does one of that name lie on that path?"
    );
    if options.soak.is_none() {
        say(&matrix.table());
    }
    if counts.is_clean() && options.soak.is_none() && matrix.sum() < options.kills {
        say(&format!(
            "crash: {} of the {} kills that were asked for fell: the others' points were not met",
            matrix.sum(),
            options.kills
        ));
    }
    ends(options, &folder, &counts, say, matrix.sum(), &names.join(","))
}

/// Leaves what is evidence, and says the last line.
fn ends(
    options: &Options,
    folder: &std::path::Path,
    counts: &Counts,
    say: &mut dyn FnMut(&str),
    kills: u32,
    names: &str,
) -> Result<bool> {
    if counts.is_clean() && !options.keep {
        std::fs::remove_dir_all(folder)?;
    } else {
        say(&format!("evidence: {}", folder.display()));
    }
    say(&counts.line(kills, names));
    Ok(counts.is_clean())
}

/// A folder that is not there yet: what an earlier run of the same seed has left is evidence.
fn evidence_of(programs: &Programs, seed: u64) -> Result<PathBuf> {
    let name = |again: u32| match again {
        1 => seed.to_string(),
        _ => format!("{seed}-{again}"),
    };
    let evidence = std::path::absolute(&programs.evidence)?;
    let mut folders = (1..1000).map(|again| evidence.join(name(again)));
    folders
        .find(|folder| !folder.exists())
        .with_context(|| format!("clear {}: it is full of runs of this seed", evidence.display()))
}

/// All targets at once: most of a kill is waiting.
fn on_each(
    known: &[Known],
    options: &Options,
    seed: u64,
    places: &Places,
    say: &mut dyn FnMut(&str),
) -> Vec<Result<(Matrix, Counts)>> {
    let all = Progress::default();
    let (said, heard) = channel::<String>();
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (at, Known { name, start, .. }) in known.iter().enumerate() {
            // Each has its share of the kills and its own choices, so that the order in which targets come on does not matter.
            let (at, of) = (
                u32::try_from(at).unwrap_or(0),
                u32::try_from(known.len()).unwrap_or(1),
            );
            let kills = (options.kills + of - 1 - at) / of;
            let (said, all) = (said.clone(), &all);
            threads.push(scope.spawn(move || {
                let target = start().with_context(|| format!("{name} cannot be started"))?;
                let mut scene = Scene::start(target, places)?;
                let bounds = bounds(options);
                if let Some(minutes) = options.soak {
                    let soak = Soak {
                        scene,
                        checker: Checker::new(bounds),
                        choices: Choices::new(seed.wrapping_add(u64::from(at))),
                        seed,
                        all,
                    };
                    return soak.run(Duration::from_mins(1) * minutes, &mut |line| {
                        let _ = said.send(line);
                    });
                }
                for path in scene.paths() {
                    measure(&mut scene, path)?;
                }
                let mut session = Session::new(scene, options, seed, at);
                // Of them only those that count against what comes next.
                let _ = session.checker.count(&session.scene.record.take());
                session.kill(kills, all, &mut |line| {
                    let _ = said.send(line);
                });
                // After all that: the trail has every row, in its order.
                session.scene.host.done(&["audit", "verify"], "")?;
                Ok((session.matrix, session.counts))
            }));
        }
        drop(said);
        for line in heard {
            say(&line);
        }
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<_>>| {
            thread
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")))
        };
        threads.into_iter().map(join).collect()
    })
}

/// On a machine that is busy with something else a run may not get through in the time that its steps have: that it does is not what is measured.
fn measure(scene: &mut Scene, path: Path) -> Result<()> {
    let mut tried = scene.measure(path);
    for _ in 1..MEASURED_MOST {
        if tried.is_ok() {
            break;
        }
        tried = scene.measure(path);
    }
    tried.with_context(|| format!("{}, undisturbed, {MEASURED_MOST} times", path.name()))
}

/// Of all targets together.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) kills: AtomicU32,
    /// Something was found: nobody goes on.
    pub(crate) over: AtomicBool,
}

pub(crate) fn chosen(options: &Options) -> Result<Vec<Known>> {
    let known = TARGETS.map(|known| known.name).join(", ");
    if !VAULTS.contains(&options.vault.as_str()) {
        bail!(
            "there is no vault `{}`; there are: {}",
            options.vault,
            VAULTS.join(", ")
        );
    }
    for name in &options.targets {
        ensure!(
            TARGETS.iter().any(|known| known.name == name),
            "there is no target `{name}`; there are: {known}"
        );
    }
    if let Some(path) = &options.path {
        let names = Path::ALL.map(Path::name);
        ensure!(
            names.contains(&path.as_str()),
            "there is no path `{path}`; there are: {}",
            names.join(", ")
        );
    }
    if let Some(word) = &options.point {
        let names: Vec<&str> = Point::all().into_iter().map(Point::name).collect();
        ensure!(
            names.iter().any(|name| name.contains(word)),
            "there is no point with `{word}` in its name; there are: {}",
            names.join(", ")
        );
    }
    let all = options.targets.is_empty();
    let wanted = |known: &Known| all || options.targets.iter().any(|target| target == known.name);
    Ok(TARGETS.into_iter().filter(wanted).collect())
}

fn bounds(options: &Options) -> Bounds {
    let recovery = if matches!(options.control, Some(Control::Stale | Control::Logins)) {
        RECOVERY_OF_CONTROLS_SECONDS
    } else {
        RECOVERY_SECONDS
    };
    Bounds {
        logins: if options.control == Some(Control::Logins) {
            1
        } else {
            LOGINS as usize
        },
        per: PER_SECONDS * 1_000_000,
        recovery: recovery * 1_000_000,
    }
}

struct Session {
    scene: Scene,
    checker: Checker,
    cells: Vec<Cell>,
    choices: Choices,
    seed: u64,
    control: Option<Control>,
    matrix: Matrix,
    counts: Counts,
}

impl Session {
    fn new(scene: Scene, options: &Options, seed: u64, at: u32) -> Self {
        let wanted = |point: Point, path: Path| {
            let named = options
                .point
                .as_ref()
                .is_none_or(|word| point.name().contains(word));
            named && options.path.as_ref().is_none_or(|name| path.name() == name)
        };
        let can = |point: Point| match point {
            Point::Clock(_) => keywheel_kit::faketime().is_ok(),
            Point::NoSpace => SmallDisk::probe().is_ok(),
            _ => true,
        };
        let mut cells = Vec::new();
        for point in Point::all().into_iter().filter(|point| can(*point)) {
            for path in scene.paths() {
                if wanted(point, path)
                    && point.lies_on(path, scene.has_row_locks)
                    && scene.passes(path, point)
                {
                    cells.push(Cell { point, path });
                }
            }
        }
        Self {
            scene,
            checker: Checker::new(bounds(options)),
            cells,
            choices: Choices::new(seed.wrapping_add(u64::from(at))),
            seed,
            control: options.control,
            matrix: Matrix::default(),
            counts: Counts::default(),
        }
    }

    /// Deals until there were so many kills, or something was found. A cell that is not met is no kill; that must not go on for ever.
    fn kill(&mut self, kills: u32, all: &Progress, say: &mut dyn FnMut(String)) {
        let mut deck: Vec<Cell> = Vec::new();
        for number in 1..=kills.saturating_mul(3) {
            if self.matrix.sum() >= kills || all.over.load(Ordering::SeqCst) {
                return;
            }
            if deck.is_empty() {
                deck.clone_from(&self.cells);
                self.choices.shuffle(&mut deck);
            }
            let Some(cell) = deck.pop() else { return };
            // Drawn here, whatever comes of them: the order of choices does not hang on what happens.
            let dice = Dice {
                which: self.choices.below(1000),
                when: self.choices.below(1000),
                delay: self.choices.below(1000),
            };
            while self.checker.is_crowded(self.scene.record.now()) && !all.over.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(200));
            }
            let seen = self
                .scene
                .kill_at(number, (cell.path, cell.point), dice, self.control);
            let violations = judge(&mut self.checker, &seen);
            if seen.met {
                self.matrix.count(cell.point, cell.path);
                let sum = all.kills.fetch_add(1, Ordering::SeqCst) + 1;
                if sum.is_multiple_of(20) {
                    say(format!("crash: {sum} kills"));
                }
            }
            if !violations.is_empty() {
                all.over.store(true, Ordering::SeqCst);
                self.counts.add(&violations);
                say(told(&violations, &seen, self.scene.name, cell, self.seed, number));
                return;
            }
        }
    }
}

fn judge(checker: &mut Checker, seen: &Seen) -> Vec<Violation> {
    let mut violations = checker.judge(&seen.entries);
    if let Some(error) = &seen.failed {
        violations.push(Violation {
            kind: Kind::Recovery,
            at: seen.entries.last().map_or(0, |entry| entry.at),
            words: format!("{error:#}"),
        });
    }
    violations
}

fn told(violations: &[Violation], seen: &Seen, name: &str, cell: Cell, seed: u64, number: u32) -> String {
    let lines: String = violations
        .iter()
        .map(|violation| {
            format!(
                "  at {} us: {:?}: {}\n",
                violation.at, violation.kind, violation.words
            )
        })
        .collect();
    format!(
        "crash: seed {seed}, number {number}: {name}, {}, {}\n{lines}{}",
        cell.path.name(),
        cell.point.name(),
        timeline(&seen.entries)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_run_of_a_seed_has_left_stays() {
        let evidence = tempfile::tempdir().expect("a folder");
        let programs = Programs {
            binary: PathBuf::new(),
            failpoints: PathBuf::new(),
            plugins: PathBuf::new(),
            evidence: evidence.path().to_owned(),
        };
        for name in ["7", "7-2", "7-3"] {
            let folder = evidence_of(&programs, 7).expect("a name");
            assert_eq!(folder, evidence.path().join(name));
            std::fs::create_dir(folder).expect("made");
        }
    }
}
