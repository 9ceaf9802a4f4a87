//! One connection, from its first byte to its last.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use crate::login::{Login, Wish, prelogin, utf16, wish};
use crate::policy::{Identity, authenticate};
use crate::rpc;
use crate::server::{Encryption, Session, Shared};
use crate::sql::{Reply, Run};
use crate::tokens::{Problem, Tokens};
use crate::value::Value;
use crate::wire::{self, Wire, garbled};

const TDS_8: u32 = 0x0800_0000;
/// 7.2 to 7.4: the ones of which statements, rows and ends look as they are written here.
const TDS_7: [u32; 4] = [0x7209_0002, 0x730A_0003, 0x730B_0003, 0x7400_0004];

const DONE: u8 = 0xFD;
const DONE_PROCEDURE: u8 = 0xFE;
const DONE_WITHIN: u8 = 0xFF;
const MORE: u16 = 1;
const ERROR: u16 = 2;
const ATTENTION: u16 = 0x20;

/// Serves until the client leaves, breaks the protocol or is refused.
pub(crate) fn serve(stream: TcpStream, shared: &Arc<Shared>, number: i64) {
    let _ = stream.set_nodelay(true);
    if let Err(error) = converse(stream, shared, number)
        && error.kind() == io::ErrorKind::InvalidData
    {
        shared.say(&format!("connection {number}: {error}"));
    }
}

fn converse(stream: TcpStream, shared: &Arc<Shared>, number: i64) -> io::Result<()> {
    let (mut wire, login) = greet(stream, shared)?;
    let mut answer = Tokens::default();
    let session = log_in(&login, shared, &mut answer, number);
    if session.is_none() {
        answer.done(DONE, ERROR, None);
    }
    wire.write_message(wire::ANSWER, &answer.0)?;
    let Some(mut session) = session else { return Ok(()) };
    loop {
        let (kind, message) = wire.read_message()?;
        let answer = answer_to(kind, &message, shared, &mut session)?;
        wire.write_message(wire::ANSWER, &answer.0)?;
    }
}

/// PRELOGIN, what encryption comes of it, and LOGIN7.
fn greet(stream: TcpStream, shared: &Arc<Shared>) -> io::Result<(Wire, Login)> {
    const HANDSHAKE: u8 = 0x16;
    let settings = &shared.settings;
    let mut first = [0];
    stream.peek(&mut first)?;
    let strict = settings.strict.clone().filter(|_| first == [HANDSHAKE]);
    let is_strict = strict.is_some();
    let mut wire = match strict {
        Some(config) => Wire::strict(stream, config)?,
        None if settings.encryption == Encryption::Strict => return Err(garbled("no TDS 8.0")),
        None => Wire::Plain(stream),
    };
    let (kind, message) = wire.read_message()?;
    let wished = wish(&message, is_strict).filter(|_| kind == wire::PRELOGIN);
    let wished = wished.ok_or_else(|| garbled("no PRELOGIN with a word of encryption"))?;
    let mut only_login = false;
    if is_strict {
        wire.write_message(wire::ANSWER, &prelogin(Wish::On))?;
    } else {
        let said = match (wished, settings.encryption, settings.tls.is_some()) {
            (_, _, false) | (_, Encryption::None, _) | (Wish::None, Encryption::Optional, _) => Wish::None,
            (Wish::Off, Encryption::Optional, _) => Wish::Off,
            (Wish::Off | Wish::None, ..) => Wish::Required,
            (Wish::On | Wish::Required, ..) => Wish::On,
        };
        wire.write_message(wire::ANSWER, &prelogin(said))?;
        if said != Wish::None {
            let config = settings.tls.clone().ok_or_else(|| garbled("no certificate"))?;
            wire = wire.upgrade(config)?;
            only_login = said == Wish::Off;
        }
    }
    let (kind, message) = wire.read_message()?;
    let login = Login::read(&message)
        .filter(|_| kind == wire::LOGIN)
        .ok_or_else(|| garbled("no LOGIN7"))?;
    // Some clients say 7.4 within strict TLS, too.
    let is_known = if is_strict {
        login.tds_version == TDS_8 || login.tds_version == TDS_7[3]
    } else {
        TDS_7.contains(&login.tds_version)
    };
    if !is_known {
        return Err(garbled("another version of TDS"));
    }
    Ok((if only_login { wire.downgrade() } else { wire }, login))
}

/// None: refused, as the answer says.
fn log_in(login: &Login, shared: &Arc<Shared>, answer: &mut Tokens, number: i64) -> Option<Session> {
    let mut books = shared.books();
    let azure = shared.settings.azure.as_ref();
    let before = serde_json::to_vec(&*books).ok();
    let entered = match (shared.outage(), azure) {
        (Some(number), _) => Err(vec![outage(number, &login.database)]),
        (None, Some(azure)) => match login.user.rsplit_once('@') {
            Some((_, server)) if server != azure.server => Err(vec![Problem::new(
                40532,
                format!("Cannot open server \"{server}\" requested by the login.  The login failed."),
            )]),
            named => {
                let name = named.map_or(login.user.as_str(), |(name, _)| name);
                authenticate(
                    &mut books,
                    &shared.settings.policy,
                    !azure.cache.is_zero(),
                    (name, &login.password, &login.database),
                )
            }
        },
        (None, None) => authenticate(
            &mut books,
            &shared.settings.policy,
            false,
            (&login.user, &login.password, &login.database),
        ),
    };
    // Wrong passwords are counted.
    let is_durable = serde_json::to_vec(&*books).ok() == before || shared.keep(&books);
    match entered {
        Ok((identity, database)) if is_durable => {
            shared.say(&format!(
                "login {} into {database} by {:?}",
                identity.name, login.program
            ));
            Some(welcome(login, (identity, database), answer, number))
        }
        Ok(_) => None,
        Err(problems) => {
            let log: Vec<_> = problems
                .iter()
                .map(|problem| format!("{} state {}", problem.number, problem.state))
                .collect();
            shared.say(&format!("login {} refused: {}", login.user, log.join(", ")));
            for problem in problems {
                let mut shown = problem.with_state(1);
                shown.class = 14;
                answer.error(&shown);
            }
            None
        }
    }
}

fn outage(number: u32, database: &str) -> Problem {
    let message = match number {
        40613 => format!("Database '{database}' on server 'test' is not currently available.  Please retry the connection later."),
        40615 => "Cannot open server 'test' requested by the login. Client with IP address '127.0.0.1' is not allowed to access the server.".to_owned(),
        _ => "The service has encountered an error processing your request. Please try again.".to_owned(),
    };
    Problem::new(number, message)
}

fn welcome(
    login: &Login,
    (identity, database): (Identity, String),
    answer: &mut Tokens,
    number: i64,
) -> Session {
    answer.change(1, &database, "master");
    answer.info(5701, &format!("Changed database context to '{database}'."));
    answer.collation();
    answer.change(2, "us_english", "");
    answer.info(5703, "Changed language setting to us_english.");
    answer.login_ack(login.tds_version);
    answer.change(
        4,
        &wire::PACKET_BYTES.to_string(),
        &wire::PACKET_BYTES.to_string(),
    );
    answer.done(DONE, 0, None);
    Session {
        number,
        identity,
        database,
        program: login.program.clone(),
        transactions: 0,
    }
}

fn answer_to(kind: u8, message: &[u8], shared: &Arc<Shared>, session: &mut Session) -> io::Result<Tokens> {
    let mut answer = Tokens::default();
    let open = if session.transactions > 0 {
        session.number.unsigned_abs()
    } else {
        0
    };
    if matches!(kind, wire::BATCH | wire::RPC) && rpc::transaction_of(message) != Some(open) {
        answer.error(&Problem::new(
            3989,
            "New request is not allowed to start because it should come with valid transaction descriptor.",
        ));
        answer.done(DONE, ERROR, None);
        return Ok(answer);
    }
    match kind {
        wire::BATCH => {
            let sql = rpc::after_headers(message)
                .and_then(utf16)
                .ok_or_else(|| garbled("a batch that is no text"))?;
            run(&sql, Vec::new(), shared, session, &mut answer, DONE)?;
        }
        wire::RPC => {
            let call = rpc::read(message)
                .ok_or_else(|| garbled("a call of another procedure than sp_executesql"))?;
            let well = run(
                &call.sql,
                call.variables,
                shared,
                session,
                &mut answer,
                DONE_WITHIN,
            )?;
            answer.return_status(i32::from(!well));
            answer.done(DONE_PROCEDURE, if well { 0 } else { ERROR }, None);
        }
        wire::TRANSACTION => {
            transact(message, session, &mut answer).ok_or_else(|| garbled("a request about transactions"))?;
        }
        wire::ATTENTION => answer.done(DONE, ATTENTION, None),
        _ => return Err(garbled("a message of another kind")),
    }
    Ok(answer)
}

/// Whether it went well. The books are durable before the answer is given.
fn run(
    sql: &str,
    variables: Vec<(String, Value)>,
    shared: &Arc<Shared>,
    session: &mut Session,
    answer: &mut Tokens,
    done: u8,
) -> io::Result<bool> {
    shared.say(sql);
    for (name, value) in &variables {
        shared.say(&format!("  {name} = {}", value.text()));
    }
    let (mut replies, now) = (Vec::new(), session.number.unsigned_abs());
    let mut books = shared.books();
    let mut run = Run {
        settings: &shared.settings,
        books: &mut books,
        session,
        variables,
        changed: false,
    };
    let ended = run.batch(sql, &mut |reply| replies.push(reply));
    let changed = run.changed;
    if changed && !shared.keep(&books) {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    drop(books);
    let count = replies.len();
    for (at, reply) in replies.into_iter().enumerate() {
        let is_last = at + 1 == count && ended.is_ok() && done == DONE;
        let mut rows = None;
        match reply {
            Reply::Rows(columns, all) => {
                answer.rows(&columns, &all);
                rows = Some(all.len() as u64);
            }
            Reply::Database(old) => {
                answer.change(1, &session.database, &old);
                answer.info(
                    5701,
                    &format!("Changed database context to '{}'.", session.database),
                );
            }
            Reply::Transaction(kind) => answer.transaction(kind, now),
            Reply::Done => {}
        }
        answer.done(done, if is_last { 0 } else { MORE }, rows);
    }
    if count == 0 && ended.is_ok() && done == DONE {
        answer.done(DONE, 0, None);
    }
    if let Err(problem) = &ended {
        answer.error(problem);
        answer.done(done, if done == DONE { ERROR } else { ERROR | MORE }, None);
    }
    Ok(ended.is_ok())
}

/// Begins, commits or rolls back.
fn transact(message: &[u8], session: &mut Session, answer: &mut Tokens) -> Option<()> {
    let body = rpc::after_headers(message)?;
    let (now, asked) = (
        session.number.unsigned_abs(),
        u16::from_le_bytes(*body.first_chunk()?),
    );
    match asked {
        5 => {
            session.transactions = 1;
            answer.transaction(8, now);
        }
        7 | 8 => {
            answer.transaction(if asked == 7 { 9 } else { 10 }, now);
            session.transactions = 0;
            // Its name, and whether another one begins at once.
            let name = usize::from(*body.get(2)?);
            if body.get(3 + 2 * name).is_some_and(|flags| flags & 1 == 1) {
                session.transactions = 1;
                answer.transaction(8, now);
            }
        }
        _ => return None,
    }
    answer.done(DONE, 0, None);
    Some(())
}
