//! What uses up the host: its memory, its processors, its time, its log, its answers.

use keywheel_sdk::bindings::keywheel::core::secrets::{Composer, conceal};
use keywheel_sdk::bindings::keywheel::net::frames::Frame;
use keywheel_sdk::bindings::keywheel::net::tcp::{Channel, TlsOptions};
use keywheel_sdk::{Error, Run, runtime};

use super::Attack;
use crate::{Config, honest, worked};

pub(super) const ALL: &[(&str, Attack)] = &[
    ("memory", |_, _| memory()),
    ("cpu", |_, _| for_ever()),
    ("stack", |_, _| Err(worked(&format!("{} calls deep", deeper(1))))),
    ("log", flood_the_log),
    ("host-calls", call_for_ever),
    ("handles", hold_for_ever),
    ("conceal", conceal_for_ever),
    ("state", fill_state),
    ("answer", large_answer),
    ("hold", hold_a_connection),
    ("panic", |_, _| panic!("of the guest")),
    ("compose", compose_for_ever),
    ("compose-in-frames", compose_in_frames),
    ("hold-for-ever", hold_for_ever_and_say_so),
    ("cpu-for-ever", |_, config| comes_to_the_gate(config).map(|_| for_ever())),
    ("memory-at-a-gate", memory_at_a_gate),
    ("flood-at-a-gate", flood_at_a_gate),
];

pub(crate) fn memory() -> Result<(), Error> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        all.push(vec![1; 1 << 20]);
        if all.len() > 4096 {
            return Err(worked("it has 4 GiB"));
        }
    }
}

pub(crate) fn for_ever() -> ! {
    let mut count = 0_u64;
    loop {
        count = std::hint::black_box(count.wrapping_add(1));
    }
}

/// Without anything in memory: what runs out is the engine's stack, not the guest's own.
#[inline(never)]
fn deeper(depth: u64) -> u64 {
    if depth == u64::MAX { 0 } else { deeper(depth + 1).rotate_left(7) ^ depth }
}

/// Hundreds of lines, and one of a megabyte with a hundred fields.
#[expect(clippy::unnecessary_wraps, reason = "every attack may fail")]
fn flood_the_log(_run: &Run, _config: &Config) -> Result<(), Error> {
    let fields: Vec<_> = (0..100).map(|at| (format!("field-{at}"), "flood ".repeat(100))).collect();
    runtime::log(runtime::Level::Error, &"flood ".repeat(1 << 17), &fields);
    for at in 0..700 {
        runtime::log(runtime::Level::Error, &format!("flood {at}"), &[]);
    }
    Ok(())
}

fn call_for_ever(_run: &Run, _config: &Config) -> Result<(), Error> {
    loop {
        runtime::now();
    }
}

fn hold_for_ever(run: &Run, _config: &Config) -> Result<(), Error> {
    loop {
        std::mem::forget(run.input("planted")?);
    }
}

fn conceal_for_ever(_run: &Run, _config: &Config) -> Result<(), Error> {
    let bytes = vec![b'x'; 1 << 18];
    for _ in 0..64 {
        std::mem::forget(conceal(&bytes, "text/plain")?);
    }
    Err(worked("it made the host keep 16 MiB"))
}

/// Each composition holds the one before it sixty-four times.
fn compose_for_ever(_run: &Run, _config: &Config) -> Result<(), Error> {
    let mut whole = conceal(&vec![b'x'; 1 << 18], "text/plain")?;
    for _ in 0..4 {
        let composer = Composer::new("text/plain");
        for _ in 0..64 {
            composer.secret(&whole, "raw")?;
        }
        whole = Composer::finish(composer)?;
    }
    Err(worked("it made the host keep terabytes"))
}

/// Frames that are never sent, each with copies of a secret.
fn compose_in_frames(_run: &Run, _config: &Config) -> Result<(), Error> {
    let large = conceal(&vec![b'x'; 1 << 18], "text/plain")?;
    let frame = Frame::new("resp");
    for _ in 0..900 {
        frame.secret(&large, "raw");
    }
    Err(worked("it made the host keep 225 MiB"))
}

/// A thousand values of 64 KiB.
fn fill_state(_run: &Run, _config: &Config) -> Result<(), Error> {
    let value = vec![b'x'; 64 << 10];
    for at in 0..900 {
        runtime::set_state(&format!("key-{at}"), &value)?;
    }
    Err(worked("it made the journal keep 56 MiB"))
}

/// The server makes it as large as it is asked to.
fn large_answer(run: &Run, config: &Config) -> Result<(), Error> {
    let session = honest::redis(run, config)?;
    let said = session.words(&["EVAL", "return string.rep('x', 8 * 1024 * 1024)", "0"])?;
    Err(worked(&format!("it was given {} bytes", said.text().len())))
}

/// A connection on which nothing comes, for as long as the step may take.
fn hold_a_connection(_run: &Run, config: &Config) -> Result<(), Error> {
    let options = TlsOptions::new(&config.host);
    options.trust(&config.trust);
    let channel = Channel::connect_tls(&config.host, config.port, &options, 600_000)?;
    loop {
        // Gives up when the step's time is over; the guest does not.
        let _ = channel.read(1, 600_000);
    }
}

/// The test sees that the attack has come so far, and the server answers when the test lets it.
fn comes_to_the_gate(config: &Config) -> Result<Channel, Error> {
    let channel = super::reads::anyone(config)?;
    channel.write(format!("LPUSH at-{0} here\r\nBLPOP gate-{0} 0\r\n", config.user).as_bytes())?;
    Ok(channel)
}

fn waits_at_the_gate(config: &Config) -> Result<(), Error> {
    let channel = comes_to_the_gate(config)?;
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains("opened") {
        said.extend(channel.read(256, 600_000)?);
    }
    Ok(())
}

fn hold_for_ever_and_say_so(run: &Run, config: &Config) -> Result<(), Error> {
    let _channel = comes_to_the_gate(config)?;
    hold_a_connection(run, config)
}

/// As much as it may have, for as long as the step lasts.
fn memory_at_a_gate(_run: &Run, config: &Config) -> Result<(), Error> {
    let mebibytes = config.with().parse().unwrap_or(0);
    let held: Vec<Vec<u8>> = (0..mebibytes).map(|_| vec![1; 1 << 20]).collect();
    waits_at_the_gate(config)?;
    if std::hint::black_box(held).len() == mebibytes { Ok(()) } else { Err(worked("it has lost its memory")) }
}

/// Everything that it may log and call, in one go.
fn flood_at_a_gate(run: &Run, config: &Config) -> Result<(), Error> {
    flood_the_log(run, config)?;
    for _ in 0..150 {
        runtime::now();
    }
    waits_at_the_gate(config)
}
