//! How much memory is held while something is read: for any input no more than what the documented bounds of that input allow.
//!
//! The allocator of this program counts, whoever allocates. So one property runs at a time, and none is with what does not measure. What SQLite holds is
//! not counted: it allocates by itself.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test may stop, and says how near it came"
)]

mod documents;
mod kept;
mod targets;

use std::cell::Cell;
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use keywheel_properties::budget;
use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A case that takes so long does not end: the process is ended, so that it is seen. Hundreds of times more than any takes.
const HANGS: Duration = Duration::from_mins(5);

/// What the harness of the tests may take meanwhile, or give back, on threads of its own: it begins one and writes down how another one ended.
const NOISE: usize = 64 * KIB;

/// Whose turn it is.
static TURN: Mutex<()> = Mutex::new(());

/// Waits for the turn. A test takes it before it does anything else, and has it to its end.
fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was held at most, and what may be.
#[derive(Clone, Copy, Debug)]
struct Held {
    most: usize,
    bound: usize,
}

/// From here on.
struct Watch {
    before: usize,
}

impl Watch {
    fn begin() -> Self {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        Self { before }
    }

    /// Up to here, beside what was held before.
    fn end(self, bound: usize) -> Held {
        let most = MEMORY.peak_usage().saturating_sub(self.before);
        let bound = bound + NOISE;
        Held { most, bound }
    }
}

/// While this is done. What it makes is held until its end.
fn held<T>(bound: usize, work: impl FnOnce() -> T) -> Held {
    let watch = Watch::begin();
    let made = work();
    let held = watch.end(bound);
    drop(made);
    held
}

/// No input has more held than it may.
#[track_caller]
fn holds<I: Debug>(
    name: &'static str,
    cases: u32,
    inputs: impl Strategy<Value = I>,
    read: impl Fn(&I) -> Held,
) {
    let config = Config {
        source_file: Some(file!()),
        test_name: Some(name),
        ..budget(cases)
    };
    match most_of(name, config, inputs, read) {
        Ok(nearest) => println!("{name}: at most {} of {} bytes", nearest.most, nearest.bound),
        Err(what) => panic!("{name}: {what}"),
    }
}

/// Where the greatest share of a bound was held; or the smallest input that is over it.
fn most_of<I: Debug>(
    name: &'static str,
    config: Config,
    inputs: impl Strategy<Value = I>,
    read: impl Fn(&I) -> Held,
) -> Result<Held, String> {
    let ends = backstop(name);
    let nearest = Cell::new(Held { most: 0, bound: 1 });
    let tried = TestRunner::new(config).run(&inputs, |input| {
        let now @ Held { most, bound } = read(&input);
        let _ = ends.send(());
        prop_assert!(most <= bound, "{} bytes are held, {} may be", most, bound);
        let before = nearest.get();
        if most * before.bound > before.most * bound {
            nearest.set(now);
        }
        Ok(())
    });
    tried
        .map(|()| nearest.get())
        .map_err(|error| error.to_string().chars().take(1_000).collect())
}

/// Ends the process when nothing comes for too long.
fn backstop(name: &'static str) -> mpsc::Sender<()> {
    let (ends, heard) = mpsc::channel();
    thread::spawn(move || {
        loop {
            match heard.recv_timeout(HANGS) {
                Ok(()) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    eprintln!("{name}: a case does not end");
                    std::process::abort();
                }
            }
        }
    });
    ends
}

/// Whatever the properties say of a bound, they would not say it of a reader that holds more than it and the noise: neither for a moment, nor on another
/// thread, nor piece by piece.
#[test]
fn what_is_held_over_the_bound_is_found() {
    let _turn = turn();
    let tried = |work: &dyn Fn(usize)| {
        let inputs = proptest::collection::vec(any::<u8>(), 1..200);
        // What fails here is no input to be kept.
        let config = Config {
            failure_persistence: None,
            ..budget(64)
        };
        most_of("control", config, inputs, |input| {
            let bound = MIB + 16 * input.len();
            held(bound, || work(bound))
        })
    };
    let is_found = |work: &dyn Fn(usize)| tried(work).is_err_and(|what| what.contains("may be"));
    let take = |bytes: usize| drop(std::hint::black_box(vec![1_u8; bytes]));
    let within = tried(&take);
    assert!(within.is_ok_and(|nearest| nearest.most >= MIB));
    let over = 2 * NOISE;
    assert!(is_found(&|bound| take(bound + over)));
    assert!(is_found(&|bound| {
        thread::spawn(move || take(bound + over)).join().expect("it ends");
    }));
    assert!(is_found(&|bound| {
        let pieces: Vec<Box<[u8; 64]>> = (0..(bound + over) / 64).map(|_| Box::new([1; 64])).collect();
        drop(std::hint::black_box(pieces));
    }));
    // What was given back before is held no more.
    let in_turn = tried(&|bound| (0..4).for_each(|_| take(bound / 2)));
    assert!(in_turn.is_ok_and(|nearest| nearest.most < nearest.bound * 3 / 4));
}
