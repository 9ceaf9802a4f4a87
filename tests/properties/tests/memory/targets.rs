//! What servers of Redis and PostgreSQL send.

use std::future::Future;
use std::time::Duration;

use keywheel_properties::edited_bytes;
use keywheel_target::Deadline;
use keywheel_target::channel::Channel;
use keywheel_target::postgres::{Access, RowLimits};
use keywheel_target::resp::{Bounds, Reply, read_reply};
use keywheel_target::statement::{Dialect, Statement};
use proptest::prelude::*;
use proptest::sample::select;

use super::{Held, KIB, MIB, Watch, holds, turn};

#[path = "../inputs/wire.rs"]
mod wire;

use wire::{
    DEADLINE, PATIENCE, answers, conversation, done, field, garbled_replies, log_in, message,
    postgres_messages, server, sound, way,
};

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    runtime.block_on(work)
}

/// What the channel holds for itself, and this program's server and its runtime meanwhile.
const CHANNEL: usize = 64 * KIB;

/// A reply of so many bytes: as they came, as a piece of it is cut out, and as the reply, each of them in a vector that grows. An element is a [`Reply`] in
/// such a vector, whatever a header promises.
fn of_reply(bounds: Bounds) -> usize {
    CHANNEL + 5 * bounds.bytes + 3 * size_of::<Reply>() * bounds.elements
}

async fn reply(says: Vec<u8>, bounds: Bounds) -> Held {
    let port = server(says).await;
    let (outbound, rules) = way(port);
    let deadline = Deadline::after(DEADLINE);
    let mut channel = Channel::connect(&outbound, &rules, "127.0.0.1", port, deadline)
        .await
        .expect("connected");
    channel.write(b"PING\r\n", deadline).await.expect("written");
    let watch = Watch::begin();
    let read = read_reply(&mut channel, bounds, deadline).await;
    let held = watch.end(of_reply(bounds));
    drop(read);
    held
}

/// Small bounds are held to as well as the great ones: by a server that has much more to say.
#[test]
fn a_reply_of_redis() {
    let _turn = turn();
    let much = (
        select(vec![
            "*1\r\n",
            "$-1\r\n",
            ":1\r\n",
            "+OK\r\n",
            "x",
            "$1000\r\n",
            "\r\n",
        ]),
        select(vec![
            "*16384\r\n",
            "*16000\r\n*380\r\n",
            "+",
            "$262000\r\n",
            "$9223372036854775807\r\n",
            "",
        ]),
        1..700_000_usize,
    );
    let much = much
        .prop_map(|(piece, head, length)| [head, &piece.repeat(length / piece.len())].concat().into_bytes());
    let bounds = (16..4_000_usize, 1..200_usize, 1..9_usize).prop_map(|(bytes, elements, depth)| Bounds {
        bytes,
        elements,
        depth,
    });
    let bounds = prop_oneof![Just(Bounds::default()), bounds];
    let inputs = (prop_oneof![garbled_replies(), much], bounds);
    holds("a reply of Redis", 192, inputs, |(says, bounds)| {
        run(reply(says.clone(), *bounds))
    });
}

/// The most that is read of an answer (`ANSWER_BYTES` of `host/target/src/postgres/session.rs`).
const ANSWER: usize = 16 * MIB;

/// An answer of so many bytes: in the buffer that it is read into, which is filled, and made anew at twice the size, before the message in it is whole; and the
/// rows of it that are kept. Beside it the driver, the session and this program's server.
fn of_answer(said: usize, limits: RowLimits) -> usize {
    256 * KIB + 4 * said.min(ANSWER) + 4 * limits.bytes + KIB * limits.rows
}

/// With the login before it; what the server has to say is there before.
async fn ask(says: Vec<Vec<u8>>, limits: RowLimits, patience: Duration) -> Held {
    let said = says.iter().map(Vec::len).sum();
    let port = conversation(says, patience).await;
    let watch = Watch::begin();
    let asked = async {
        let mut session = log_in(port).await?;
        let mut statement = Statement::new(Dialect::Postgres);
        statement.text("SELECT name, count FROM t")?;
        let deadline = Deadline::after(DEADLINE);
        session.query(&statement, Access::Read, limits, deadline).await
    };
    let asked = asked.await;
    let held = watch.end(of_answer(said, limits));
    drop(asked);
    held
}

/// A message that says that it is longer than anything that comes: nothing is made ready for that.
fn promises() -> impl Strategy<Value = Vec<u8>> {
    let length = select(vec![0x7fff_ffff_u32, 0x4000_0000, 0x0100_0000, 0xffff_ffff]);
    (any::<u8>(), length, 0..2_000_usize)
        .prop_map(|(kind, length, sent)| [&[kind][..], &length.to_be_bytes(), &vec![0; sent]].concat())
}

#[test]
fn messages_of_postgresql() {
    let _turn = turn();
    let limits = || (1..50_usize, 1..4_000_usize).prop_map(|(rows, bytes)| RowLimits { rows, bytes });
    let logins = prop_oneof![3 => postgres_messages(), 1 => promises()];
    holds("a login of PostgreSQL", 64, logins, |says| {
        run(ask(vec![says.clone()], RowLimits::default(), PATIENCE))
    });
    let promised = (0..6_usize, promises()).prop_map(|(at, promised)| {
        let mut says = sound();
        says[at] = promised;
        says
    });
    let says = prop_oneof![3 => answers(), 1 => promised];
    holds(
        "an answer of PostgreSQL",
        96,
        (says, limits()),
        |(says, limits)| run(ask(says.clone(), *limits, PATIENCE)),
    );
}

/// The columns of an answer, and pieces of it up to some size.
fn great(size: usize, piece: &[u8]) -> Vec<u8> {
    let description = [&[0, 2][..], &field("name", 25), &field("count", 23)].concat();
    let mut answer = [
        message(b'1', b""),
        message(b'2', b""),
        message(b'T', &description),
    ]
    .concat();
    answer.extend(piece.repeat(size.saturating_sub(answer.len()) / piece.len()));
    answer.extend(done("SELECT"));
    answer
}

/// Twice and more of what is read at most: what is held is bounded by that, not by what comes.
#[test]
fn a_great_answer_of_postgresql() {
    let _turn = turn();
    let row = |length: usize| {
        let size = u32::try_from(length).expect("short").to_be_bytes();
        let text = vec![b'x'; length];
        message(
            b'D',
            &[&[0, 2][..], &size, &text, &[0, 0, 0, 4, 0, 0, 0, 7]].concat(),
        )
    };
    let notice = |length: usize| {
        let text = "n".repeat(length);
        message(b'N', format!("SNOTICE\0VNOTICE\0C00000\0M{text}\0\0").as_bytes())
    };
    let inputs = (
        prop_oneof![0..60_000_usize, 4 * MIB..20 * MIB],
        MIB..40 * MIB,
        any::<bool>(),
    );
    holds("a great answer of PostgreSQL", 6, inputs, |(part, size, rows)| {
        let piece = if *rows { row(*part) } else { notice(*part) };
        let mut says = sound();
        says[4] = great((*size).max(piece.len() + 200), &piece);
        says.push(done("SELECT"));
        run(ask(says, RowLimits::default(), DEADLINE))
    });
    // And what an edit of a great one makes of it.
    let edited = edited_bytes(vec![great(3 * MIB, &row(40_000))]);
    holds("a great answer that was edited", 6, edited, |answer| {
        let mut says = sound();
        says[4].clone_from(answer);
        run(ask(says, RowLimits::default(), PATIENCE))
    });
}
