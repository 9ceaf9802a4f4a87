//! `cargo xtask bench`: the project's figures beside what they are to be measured against, in one table.
//!
//! What is compared is measured side by side, in alternating rounds of the same run: a figure by itself says more about the
//! machine than about the program. docs/reference/benchmarks.md describes every row.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

mod bare;
mod day;
mod due;
mod each;
mod emergency;
mod facts;
mod herd;
mod idle;
mod machine;
mod plugin;
mod port;
mod processor;
mod rotations;
mod sample;
mod sandbox;
mod scene;
mod servers;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use tracing_subscriber::prelude::*;

use crate::sandbox::Computed;
use crate::scene::Proof;
use crate::table::Row;

/// Measures, and prints one table.
#[derive(Parser)]
struct Options {
    /// More rounds with more roles.
    #[arg(long)]
    long: bool,
    /// This part alone.
    #[arg(long)]
    only: Option<Part>,
    /// So many rounds, each beside the reference.
    #[arg(long)]
    rounds: Option<usize>,
    /// So many roles a round, for each number in flight.
    #[arg(long)]
    roles: Option<usize>,
    /// So many rotations that are due together.
    #[arg(long)]
    herd: Option<usize>,
    /// So many roles of one server that are changed in an emergency.
    #[arg(long)]
    emergency: Option<usize>,
    /// So many minutes in which due times, and a host that is idle, are watched.
    #[arg(long)]
    minutes: Option<u32>,
    /// The rows as JSON too, into this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The folder with the built plugins.
    #[arg(long)]
    plugins: PathBuf,
    /// The component of the hostile suite; left out: beside the plugins, `../hostile/guest.wasm`.
    #[arg(long)]
    hostile: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A step on a fresh instance.
    Step,
    /// A plugin from the compile cache.
    Load,
    /// The sandbox's share of a rotation.
    Sandbox,
    /// Rotations a second, promoted before the login that proves them.
    Deferred,
    /// Rotations a second, proved by a login.
    Login,
    /// The same of every other kind of server. With `--long`, or alone.
    Servers,
    /// How late rotations are started that are due by themselves.
    Due,
    /// How many rotations that are overdue together are made up for in a second.
    Herd,
    /// Every role of one server at once, transactions shared.
    Emergency,
    /// A host that has nothing to do.
    Idle,
    /// Very many rotations of one table.
    Each,
    /// A day in twelve minutes, with restarts: whether anything grows. With `--long`, or alone.
    Day,
    /// Sizes and memory.
    Facts,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) rounds: usize,
    /// Calls a round.
    pub(crate) steps: usize,
    /// Loads a round.
    pub(crate) loads: usize,
    /// Whole rotations, one after the other.
    pub(crate) wholes: usize,
    /// Roles a round, for each number in flight.
    pub(crate) roles: usize,
    /// Rotations that are overdue together.
    pub(crate) herd: usize,
    /// Roles of one server that are changed in an emergency.
    pub(crate) emergency: usize,
    /// Minutes in which due times are watched, and a host that is idle.
    pub(crate) minutes: u32,
    /// Rotations of a table, one size after the other.
    pub(crate) tables: &'static [usize],
}

const SHORT: Scale = Scale {
    rounds: 5,
    steps: 1_000,
    loads: 50,
    wholes: 20,
    roles: 64,
    herd: 1_000,
    emergency: 2_000,
    minutes: 2,
    tables: &[1_000, 100_000],
};

const LONG: Scale = Scale {
    rounds: 15,
    steps: 5_000,
    loads: 200,
    wholes: 80,
    roles: 192,
    herd: 10_000,
    emergency: 10_000,
    minutes: 10,
    tables: &[1_000, 100_000, 1_000_000],
};

impl Options {
    fn hostile(&self) -> PathBuf {
        let beside = || self.plugins.join("../hostile/guest.wasm");
        self.hostile.clone().unwrap_or_else(beside)
    }

    fn scale(&self) -> Scale {
        let scale = if self.long { LONG } else { SHORT };
        Scale {
            rounds: self.rounds.unwrap_or(scale.rounds).max(1),
            roles: self.roles.unwrap_or(scale.roles).max(1),
            herd: self.herd.unwrap_or(scale.herd).max(2),
            emergency: self.emergency.unwrap_or(scale.emergency).max(2),
            minutes: self.minutes.unwrap_or(scale.minutes).max(1),
            ..scale
        }
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let plugin = options.plugins.join("postgres.wasm");
    ensure!(
        plugin.is_file(),
        "{} is missing: `cargo xtask bench` builds it",
        plugin.display()
    );
    let computed = Computed::default();
    let plugin_calls =
        tracing_subscriber::filter::filter_fn(|metadata| metadata.target() == "keywheel_plugin::call");
    tracing_subscriber::registry()
        .with(computed.clone().with_filter(plugin_calls))
        .try_init()
        .context("a log was started twice")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let machine = machine::describe();
    println!("bench: {machine}");
    let mut rows = Rows::default();
    let done = runtime.block_on(measure(&options, &plugin, &computed, &mut rows));
    println!("{}", table::render(&rows.0));
    if let Some(file) = &options.json {
        std::fs::write(file, table::as_json(&rows.0, &machine)?)
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    done?;
    ensure!(
        rows.1.is_empty(),
        "not measured, for it could not run: {}",
        rows.1.join(", ")
    );
    Ok(())
}

async fn measure(options: &Options, plugin: &Path, computed: &Computed, rows: &mut Rows) -> Result<()> {
    let scale = options.scale();
    let wanted = |part: Part| options.only.is_none_or(|only| only == part);
    // First, because it takes no time: whatever is wrong with it is known at once.
    if wanted(Part::Facts) {
        let binary = std::env::current_exe()?.with_file_name("keywheel");
        rows.add(Part::Facts, facts::run(&binary, &options.plugins));
    }
    if wanted(Part::Step) {
        rows.add(Part::Step, plugin::step(plugin, scale).await);
    }
    if wanted(Part::Load) {
        rows.add(Part::Load, plugin::load(plugin, scale));
    }
    if wanted(Part::Idle) {
        let binary = std::env::current_exe()?.with_file_name("keywheel");
        rows.add(Part::Idle, idle::run(&binary, plugin, scale));
    }
    if wanted(Part::Each) {
        let binary = std::env::current_exe()?.with_file_name("keywheel");
        rows.add(
            Part::Each,
            Box::pin(each::run(&binary, plugin, scale.tables)).await,
        );
    }
    if wanted(Part::Servers) && (options.long || options.only.is_some()) {
        for (kind, measured) in servers::run(&options.plugins, scale).await {
            let measured = measured.with_context(|| format!("{kind} could not be measured"));
            rows.add(Part::Servers, measured);
        }
    }
    let with_server = [
        Part::Sandbox,
        Part::Deferred,
        Part::Login,
        Part::Emergency,
        Part::Due,
        Part::Herd,
        Part::Day,
    ];
    if with_server.into_iter().any(wanted) {
        let server = tokio::task::spawn_blocking(scene::server).await??;
        if wanted(Part::Sandbox) {
            rows.add(
                Part::Sandbox,
                sandbox::run(&server, plugin, scale, computed).await,
            );
        }
        for (part, proof) in [(Part::Deferred, Proof::Deferred), (Part::Login, Proof::Login)] {
            if wanted(part) {
                rows.add(
                    part,
                    Box::pin(rotations::run(&server, plugin, scale, proof)).await,
                );
            }
        }
        if wanted(Part::Emergency) {
            rows.add(
                Part::Emergency,
                Box::pin(emergency::run(&server, plugin, scale)).await,
            );
        }
        if wanted(Part::Due) {
            rows.add(
                Part::Due,
                Box::pin(due::run(&server, plugin, &options.hostile(), scale)).await,
            );
        }
        if wanted(Part::Herd) {
            rows.add(Part::Herd, Box::pin(herd::run(&server, plugin, scale)).await);
        }
        if wanted(Part::Day) && (options.long || options.only.is_some()) {
            let binary = std::env::current_exe()?.with_file_name("keywheel");
            rows.add(Part::Day, day::run(&binary, plugin, &server));
        }
    }
    Ok(())
}

/// What has been measured so far, and the parts that could not.
#[derive(Default)]
struct Rows(Vec<Row>, Vec<String>);

impl Rows {
    /// Says each row as soon as it is there, and goes on where a part fails.
    fn add(&mut self, part: Part, measured: Result<Vec<Row>>) {
        let rows = measured.unwrap_or_else(|error| {
            self.1.push(format!("{part:?}").to_lowercase());
            vec![Row::new(format!("{part:?}"), format!("could not run: {error:#}"))]
        });
        for row in &rows {
            println!("bench: {}", row.as_line());
        }
        self.0.extend(rows);
    }
}
