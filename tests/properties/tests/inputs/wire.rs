//! What servers of Redis and PostgreSQL say on the wire, sound and otherwise. For every suite that reads it.

use std::time::Duration;

use keywheel_model::SecretBytes;
use keywheel_properties::edited_bytes;
use keywheel_target::dial::{Allow, Dialer};
use keywheel_target::postgres::{ConnectOptions, Security, Session};
use keywheel_target::tls::TrustStore;
use keywheel_target::{Deadline, Outbound};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A server for one connection, which sends this, reads whatever comes, and ends with its peer.
pub(crate) async fn server(says: Vec<u8>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("port");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        let Ok((mut stream, _)) = listener.accept().await else {
            return;
        };
        let _ = stream.write_all(&says).await;
        let _ = stream.shutdown().await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    port
}

/// How long a peer may say nothing until a server ends: what was garbled may be no answer, and both would wait.
pub(crate) const PATIENCE: Duration = Duration::from_millis(40);

/// A server of PostgreSQL's protocol for one connection, which gives the next of these for each question, whatever that is.
pub(crate) async fn conversation(answers: Vec<Vec<u8>>, patience: Duration) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("port");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        let Ok((mut stream, _)) = listener.accept().await else {
            return;
        };
        // Else an answer waits for the acknowledgement of the one before it, longer than the patience.
        let _ = stream.set_nodelay(true);
        let mut answers = answers.into_iter().peekable();
        let mut startup = true;
        while answers.peek().is_some() {
            let read = tokio::time::timeout(patience, question(&mut stream, startup)).await;
            let Ok(Ok(kind)) = read else { break };
            startup = false;
            let answer = if b"QSp".contains(&kind) {
                answers.next()
            } else {
                None
            };
            if stream.write_all(&answer.unwrap_or_default()).await.is_err() {
                break;
            }
        }
        let _ = stream.shutdown().await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    port
}

/// The kind of the next message; the first one has none.
async fn question(stream: &mut TcpStream, startup: bool) -> std::io::Result<u8> {
    let kind = if startup { b'p' } else { stream.read_u8().await? };
    let length = stream.read_u32().await?;
    let mut body = vec![
        0;
        usize::try_from(length.saturating_sub(4))
            .expect("short")
            .min(1 << 20)
    ];
    stream.read_exact(&mut body).await?;
    Ok(kind)
}

pub(crate) fn garbled_replies() -> impl Strategy<Value = Vec<u8>> {
    let whole = b"*3\r\n$4\r\nuser\r\n*2\r\n:12\r\n-ERR x\r\n$-1\r\n".to_vec();
    let bombs = [
        b"*1\r\n".repeat(5_000),
        b"$9223372036854775807\r\n".to_vec(),
        b"*9223372036854775807\r\n".to_vec(),
        b"*16384\r\n*16384\r\n".to_vec(),
        [b"+".to_vec(), vec![b'x'; 300_000]].concat(),
        b"$-2\r\n".to_vec(),
        b"*-0\r\n".to_vec(),
        b"$+4\r\nuser\r\n".to_vec(),
    ];
    let lines = vec(
        proptest::sample::select(vec![
            "*2\r\n",
            "*0\r\n",
            "$1\r\na\r\n",
            ":1\r\n",
            "+OK\r\n",
            "$3\r\n",
            "_\r\n",
            "%1\r\n",
            "\r\n",
        ]),
        0..40,
    );
    prop_oneof![
        4 => edited_bytes(vec![whole]),
        2 => lines.prop_map(|lines| lines.concat().into_bytes()),
        1 => proptest::sample::select(bombs.to_vec()),
        1 => vec(any::<u8>(), 0..200),
    ]
}

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("short").to_be_bytes();
    [&[kind][..], &length, body].concat()
}

pub(crate) fn done(tag: &str) -> Vec<u8> {
    [message(b'C', format!("{tag}\0").as_bytes()), message(b'Z', b"I")].concat()
}

/// What a server says to who logs in without a password.
pub(crate) fn login() -> Vec<u8> {
    [
        message(b'R', &[0, 0, 0, 0]),
        message(b'S', b"server_version\x0016.1\0"),
        message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]),
        message(b'Z', b"I"),
    ]
    .concat()
}

pub(crate) fn field(name: &str, oid: u32) -> Vec<u8> {
    [
        name.as_bytes(),
        &[0, 0, 0, 0, 0, 0, 0],
        &oid.to_be_bytes(),
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 1],
    ]
    .concat()
}

/// The answer to a query: three rows.
fn rows() -> Vec<u8> {
    let description = [&[0, 2][..], &field("name", 25), &field("count", 23)].concat();
    let row = [&[0, 2, 0, 0, 0, 5][..], b"value", &[0, 0, 0, 4, 0, 0, 0, 7]].concat();
    [
        message(b'1', b""),
        message(b'2', b""),
        message(b'T', &description),
        message(b'D', &row).repeat(3),
        done("SELECT 3"),
    ]
    .concat()
}

/// Which of [`sound`] answers the query.
pub(crate) const QUERY: usize = 5;

/// To a login, to the two batches that pin settings, to the beginning of a read, to a query, and to the end of the read.
pub(crate) fn sound() -> Vec<Vec<u8>> {
    vec![
        login(),
        done("SET"),
        done("SET"),
        done("SET"),
        done("BEGIN"),
        rows(),
        done("ROLLBACK"),
    ]
}

pub(crate) fn postgres_messages() -> impl Strategy<Value = Vec<u8>> {
    let asked = [
        message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"),
        message(b'R', b"\0\0\0\x0br=abc,s=c2FsdA==,i=4096"),
        message(b'R', b"\0\0\0\x0cv=AAAA"),
    ]
    .concat();
    let refused = message(
        b'E',
        b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed\0\0",
    );
    prop_oneof![
        6 => edited_bytes(vec![login(), asked, refused]),
        1 => vec(any::<u8>(), 0..120),
        2 => vec((any::<u8>(), vec(any::<u8>(), 0..30)), 1..12)
            .prop_map(|messages| messages.iter().flat_map(|(kind, body)| message(*kind, body)).collect()),
    ]
}

/// One of the answers is changed: that to the query, more often than not.
pub(crate) fn answers() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let query = edited_bytes(vec![rows()]).prop_map(|rows| (QUERY, rows));
    let other = (0..sound().len()).prop_flat_map(|at| (Just(at), edited_bytes(vec![sound()[at].clone()])));
    prop_oneof![2 => query, 1 => other].prop_map(|(at, changed)| {
        let mut answers = sound();
        answers[at] = changed;
        answers
    })
}

/// Long enough that no answer here comes to it.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// The way to a server of this program.
pub(crate) fn way(port: u16) -> (Outbound, Vec<Allow>) {
    let rule = format!("127.0.0.1:{port} plaintext").parse().expect("rule");
    (Outbound::new(Dialer::system(), TrustStore::new()), vec![rule])
}

/// A session with a server that takes any password.
pub(crate) async fn log_in(port: u16) -> Result<Session, keywheel_target::Error> {
    let (outbound, rules) = way(port);
    let options = ConnectOptions {
        security: Security::Plaintext,
        ..ConnectOptions::new(
            "127.0.0.1",
            port,
            "db",
            "user",
            Some(SecretBytes::copy_of(b"password")),
        )
    };
    Session::open(&outbound, &rules, &options, Deadline::after(DEADLINE)).await
}
