//! Long random histories by seed, see `keywheel_explorer::simulation`.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it speaks to the terminal")]

use std::process::ExitCode;

use clap::Parser;
use keywheel_explorer::scene::Wrong;
use keywheel_explorer::simulation::{Figures, TURNS, simulate};

/// Simulates long random histories of rotations. A failing seed is printed with its history and repeats it exactly.
#[derive(Parser)]
#[command(name = "simulate")]
struct Options {
    /// How many seeds, one after the other. Each stands for a scene and a history.
    #[arg(long, default_value_t = 8)]
    seeds: u64,
    /// The first seed. Without it: a random one.
    #[arg(long)]
    seed: Option<u64>,
    /// Turns of each history.
    #[arg(long, default_value_t = TURNS)]
    steps: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let first = options.seed.unwrap_or_else(|| rand::random::<u32>().into());
    println!(
        "seeds {first} to {}",
        first.saturating_add(options.seeds.saturating_sub(1))
    );
    let mut sum = Figures::default();
    let mut violations = 0u64;
    for seed in (0..options.seeds).map(|offset| first.wrapping_add(offset)) {
        match simulate(seed, options.steps, Wrong::default()) {
            Ok(figures) => sum.add(figures),
            Err(failure) => {
                violations += 1;
                sum.add(failure.figures);
                println!("{failure}\n");
            }
        }
    }
    println!("{sum}");
    println!(
        "simulate: seeds={} steps={} violations={violations}",
        options.seeds, sum.steps
    );
    if violations == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
