//! `cargo xtask bench`: the project's figures beside what they are to be measured against, in one table.
//!
//! What is compared is measured side by side, in alternating rounds of the same run: a figure by itself says more about the
//! machine than about the program. docs/reference/benchmarks.md describes every row.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

mod bare;
mod due;
mod each;
mod facts;
mod idle;
mod plugin;
mod port;
mod rotations;
mod sample;
mod sandbox;
mod scene;
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
    /// The folder with the built plugins.
    #[arg(long)]
    plugins: PathBuf,
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
    /// How late rotations are started that are due by themselves.
    Due,
    /// A host that has nothing to do.
    Idle,
    /// Very many rotations of one table.
    Each,
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
    minutes: 2,
    tables: &[1_000, 100_000],
};

const LONG: Scale = Scale {
    rounds: 15,
    steps: 5_000,
    loads: 200,
    wholes: 80,
    roles: 192,
    minutes: 10,
    tables: &[1_000, 100_000, 1_000_000],
};

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
    let rows = runtime.block_on(measure(&options, &plugin, &computed))?;
    println!("{}", table::render(&rows));
    Ok(())
}

async fn measure(options: &Options, plugin: &Path, computed: &Computed) -> Result<Vec<Row>> {
    let scale = if options.long { LONG } else { SHORT };
    let wanted = |part: Part| options.only.is_none_or(|only| only == part);
    let mut rows = Rows::default();
    // First, because it takes no time: whatever is wrong with it is known at once.
    if wanted(Part::Facts) {
        let binary = std::env::current_exe()?.with_file_name("keywheel");
        rows.add(facts::run(&binary, &options.plugins)?);
    }
    if wanted(Part::Step) {
        rows.add(plugin::step(plugin, scale).await?);
    }
    if wanted(Part::Load) {
        rows.add(plugin::load(plugin, scale)?);
    }
    if wanted(Part::Idle) {
        let binary = std::env::current_exe()?.with_file_name("keywheel");
        rows.add(idle::run(&binary, plugin, scale)?);
    }
    if wanted(Part::Each) {
        let binary = std::env::current_exe()?.with_file_name("keywheel");
        rows.add(Box::pin(each::run(&binary, plugin, scale.tables)).await?);
    }
    if [Part::Sandbox, Part::Deferred, Part::Login, Part::Due]
        .into_iter()
        .any(wanted)
    {
        let server = tokio::task::spawn_blocking(scene::server).await??;
        if wanted(Part::Sandbox) {
            rows.add(sandbox::run(&server, plugin, scale, computed).await?);
        }
        for (part, proof) in [(Part::Deferred, Proof::Deferred), (Part::Login, Proof::Login)] {
            if wanted(part) {
                rows.add(Box::pin(rotations::run(&server, plugin, scale, proof)).await?);
            }
        }
        if wanted(Part::Due) {
            rows.add(Box::pin(due::run(&server, plugin, scale)).await?);
        }
    }
    Ok(rows.0)
}

/// What has been measured so far.
#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    /// Says each row as soon as it is there, so that nothing is lost when a later part fails.
    fn add(&mut self, rows: Vec<Row>) {
        for row in &rows {
            println!("bench: {}", row.as_line());
        }
        self.0.extend(rows);
    }
}
