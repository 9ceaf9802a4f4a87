//! What a target's server may send: replies of Redis, messages of PostgreSQL, verifiers; and the frames that the host sends. Whatever comes is an
//! answer or an error that says what it means for the target, within the documented bounds.

#![allow(clippy::expect_used, reason = "a test may stop")]

mod limits;
#[path = "../inputs/wire.rs"]
mod wire;

use std::cell::Cell;
use std::future::Future;
use std::sync::Once;
use std::time::Duration;

use keywheel_model::{Effect, SecretBytes};
use keywheel_properties::{any_text, budget, edited_bytes};
use keywheel_target::channel::Channel;
use keywheel_target::frame::{DEPTH_LIMIT, FRAME_LIMIT, Frame, Framing, PART_LIMIT};
use keywheel_target::postgres::{Access, RowLimits, Rows};
use keywheel_target::resp::{Bounds, Reply, Status, read_reply};
use keywheel_target::scram::{DEFAULT_ROUNDS, check_verifier, verifier};
use keywheel_target::statement::{Dialect, Statement};
use keywheel_target::{Deadline, Error};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::wire::{
    DEADLINE, PATIENCE, answers, conversation, done, garbled_replies, log_in, postgres_messages, server,
    sound, way,
};

thread_local! {
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// Runs it, with what it spawns, on this thread. A panic of a spawned task, the driver's of a connection, would else be seen by nobody.
fn run<T>(work: impl Future<Output = T>) -> T {
    static COUNTED: Once = Once::new();
    COUNTED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            before(panic);
        }));
    });
    let before = PANICS.get();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    let done = runtime.block_on(work);
    drop(runtime);
    assert_eq!(PANICS.get(), before, "a task of the connection panicked");
    done
}

async fn reply(says: Vec<u8>, bounds: Bounds) -> (Result<Reply, Error>, Effect) {
    let port = server(says).await;
    let (outbound, rules) = way(port);
    let deadline = Deadline::after(DEADLINE);
    let mut channel = Channel::connect(&outbound, &rules, "127.0.0.1", port, deadline)
        .await
        .expect("connected");
    channel.write(b"PING\r\n", deadline).await.expect("written");
    let read = read_reply(&mut channel, bounds, deadline).await;
    (read, channel.effect())
}

fn replies() -> impl Strategy<Value = Reply> {
    let line = "[ -~]{0,40}";
    let leaf = prop_oneof![
        line.prop_map(Reply::Simple),
        line.prop_map(Reply::Error),
        any::<i64>().prop_map(Reply::Integer),
        proptest::option::of(vec(any::<u8>(), 0..80)).prop_map(Reply::Bulk),
        Just(Reply::Array(None)),
    ];
    leaf.prop_recursive(6, 40, 8, |inner| {
        vec(inner, 0..8).prop_map(|items| Reply::Array(Some(items)))
    })
}

fn write(reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Simple(text) => out.extend(format!("+{text}\r\n").bytes()),
        Reply::Error(text) => out.extend(format!("-{text}\r\n").bytes()),
        Reply::Integer(number) => out.extend(format!(":{number}\r\n").bytes()),
        Reply::Bulk(None) => out.extend(b"$-1\r\n"),
        Reply::Array(None) => out.extend(b"*-1\r\n"),
        Reply::Bulk(Some(bytes)) => {
            out.extend(format!("${}\r\n", bytes.len()).bytes());
            out.extend(bytes);
            out.extend(b"\r\n");
        }
        Reply::Array(Some(items)) => {
            out.extend(format!("*{}\r\n", items.len()).bytes());
            for item in items {
                write(item, out);
            }
        }
    }
}

fn written(reply: &Reply) -> Vec<u8> {
    let mut out = Vec::new();
    write(reply, &mut out);
    out
}

fn depth(reply: &Reply) -> usize {
    match reply {
        Reply::Array(Some(items)) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

fn elements(reply: &Reply) -> usize {
    match reply {
        Reply::Array(Some(items)) => items.len() + items.iter().map(elements).sum::<usize>(),
        _ => 0,
    }
}

/// What may be shown of a reply to who has sent a secret: a status word, and nothing that the server quotes.
fn is_status_word(word: &str) -> bool {
    (1..=32).contains(&word.len())
        && word
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}

proptest! {
    #![proptest_config(budget(192))]

    #[test]
    fn a_reply_is_read_as_it_was_written(sent in replies()) {
        let (read, effect) = run(reply(written(&sent), Bounds::default()));
        if depth(&sent) > Bounds::default().depth {
            prop_assert!(matches!(read, Err(Error::Limit { .. })), "{:?}", read);
        } else {
            prop_assert_eq!(read.ok(), Some(sent));
            prop_assert_eq!(effect, Effect::None, "a whole answer settles what was sent");
        }
    }

    #[test]
    fn anything_is_a_reply_within_the_bounds_or_an_error(says in garbled_replies(), bytes in 16..400_usize, most in 1..20_usize, deep in 1..4_usize) {
        for bounds in [Bounds::default(), Bounds { bytes, elements: most, depth: deep }] {
            let (read, effect) = run(reply(says.clone(), bounds));
            match read {
                Ok(reply) => {
                    prop_assert!(depth(&reply) <= bounds.depth + 1 && elements(&reply) <= bounds.elements);
                    prop_assert!(written(&reply).len() <= bounds.bytes + 4);
                    if let Status::Simple(word) | Status::Error(word) = reply.status() {
                        prop_assert!(is_status_word(&word), "{}", word);
                    }
                    prop_assert_eq!(effect, Effect::None);
                }
                Err(error) => {
                    prop_assert_eq!(error.effect(), Effect::Maybe, "{} after something was sent", error);
                    prop_assert_eq!(effect, Effect::Maybe);
                }
            }
        }
    }

    #[test]
    fn a_server_that_says_anything_logs_nobody_in_and_stops_nobody(says in postgres_messages()) {
        let opened = run(async {
            let port = conversation(vec![says, done("SET"), done("SET")], PATIENCE).await;
            log_in(port).await.map(drop)
        });
        if let Err(error) = opened {
            prop_assert!(matches!(error.effect(), Effect::None), "{}", error);
            prop_assert!(!error.code().is_empty() && error.to_string().chars().count() < 1_000);
        }
    }

    #[test]
    fn rows_of_any_bytes_are_values_or_an_error_within_the_limits(says in answers(), rows in 1..4_usize, bytes in 1..60_usize) {
        let limits = RowLimits { rows, bytes };
        match run(ask(says, limits, PATIENCE)) {
            Ok(found) => {
                prop_assert!(found.rows.len() <= limits.rows);
                prop_assert!(found.rows.iter().all(|row| row.len() == found.columns.len()));
            }
            Err(error) => prop_assert!(error.effect() == Effect::None || error.effect() == Effect::Maybe),
        }
    }

    #[test]
    fn a_verifier_is_taken_and_nothing_near_it(password in any_text(), salt in vec(any::<u8>(), 0..80), other in edited_bytes(vec![b"SCRAM-SHA-256$4096:c2FsdHNhbHQ=$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_vec()])) {
        match verifier(&SecretBytes::copy_of(password.as_bytes()), &salt, DEFAULT_ROUNDS) {
            Ok(made) => {
                prop_assert!((8..=64).contains(&salt.len()) && !password.is_empty());
                prop_assert!(check_verifier(&made).is_ok());
                let cut = SecretBytes::copy_of(&made.expose()[..made.expose().len() - 1]);
                prop_assert!(check_verifier(&cut).is_err());
            }
            Err(error) => prop_assert_eq!(error.code(), "target.invalid"),
        }
        if check_verifier(&SecretBytes::copy_of(&other)).is_ok() {
            let text = String::from_utf8(other).expect("ASCII");
            prop_assert!(text.starts_with("SCRAM-SHA-256$") && text.matches([':', '$']).count() == 4);
        }
    }

    #[test]
    fn a_frame_is_read_as_the_pieces_that_were_put_in(items in vec(vec(any::<u8>(), 0..200), 1..12)) {
        let mut frame = Frame::new(Framing::Resp);
        for item in &items {
            frame.secret(SecretBytes::copy_of(item)).expect("within the limits");
        }
        let sent = frame.finish().expect("whole").expose().to_vec();
        let read = run(reply(sent, Bounds::default())).0.expect("a reply");
        prop_assert_eq!(read, Reply::Array(Some(items.into_iter().map(|item| Reply::Bulk(Some(item))).collect())));
    }

    #[test]
    fn a_frame_is_whole_or_refused(moves in vec((0..4_u8, any::<u32>(), vec(any::<u8>(), 0..3_000)), 0..60), ber: bool) {
        let mut frame = Frame::new(if ber { Framing::Ber } else { Framing::Resp });
        for (what, tag, bytes) in &moves {
            let done = match what {
                0 => frame.open(tag % 256),
                1 => frame.close(),
                2 => frame.bytes(bytes),
                _ => frame.secret(SecretBytes::copy_of(bytes)),
            };
            if let Err(error) = done {
                prop_assert_eq!(error.effect(), Effect::None);
            }
        }
        prop_assert!(moves.len() <= PART_LIMIT && DEPTH_LIMIT < 60);
        match frame.finish() {
            Ok(sent) => prop_assert!(sent.expose().len() <= FRAME_LIMIT && !sent.expose().is_empty()),
            Err(error) => prop_assert_eq!(error.effect(), Effect::None),
        }
    }
}

async fn ask(says: Vec<Vec<u8>>, limits: RowLimits, patience: Duration) -> Result<Rows, Error> {
    let port = conversation(says, patience).await;
    let mut session = log_in(port).await?;
    let mut statement = Statement::new(Dialect::Postgres);
    statement.text("SELECT name, count FROM t")?;
    session
        .query(&statement, Access::Read, limits, Deadline::after(DEADLINE))
        .await
}

/// Else the property above would hold of nothing.
#[test]
fn the_answer_is_one_before_it_is_changed() {
    let found = run(ask(sound(), RowLimits::default(), DEADLINE)).expect("rows");
    assert_eq!(
        (found.columns.len(), found.rows.len(), found.truncated),
        (2, 3, false)
    );
}
