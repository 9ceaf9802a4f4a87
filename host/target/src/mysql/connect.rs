use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use keywheel_model::Effect;
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::auth::Method;
use super::greeting::Greeting;
use super::packet::{Packets, Stream, garbled};
use super::reply::{Fields, Trouble, next};
use super::rsa;
use crate::dial::{Allow, Dialled};
use crate::postgres::ConnectOptions;
use crate::statement::Dialect;
use crate::tls::{TlsOptions, handshake};
use crate::{Deadline, Error, Outbound};

const LOGGING_IN: &str = "logging in";

/// A server speaks first; one that looks up names by a resolver that is gone takes its time.
const GREETS_WITHIN: Duration = Duration::from_secs(30);

/// A server may ask for one method after the other: MariaDB for each alternative of an account.
const QUESTIONS: usize = 16;

/// The stream of a session.
pub(super) type Wire = Box<dyn Stream>;

/// A logged-in connection, before its settings are pinned.
pub(super) struct Connected {
    pub(super) packets: Packets<Wire>,
    pub(super) dialect: Dialect,
    pub(super) address: SocketAddr,
}

/// Dials and logs in.
pub(super) async fn connect(
    outbound: &Outbound,
    rules: &[Allow],
    options: &ConnectOptions,
    deadline: Deadline,
) -> Result<Connected, Error> {
    let dialled = outbound
        .dialer
        .dial(rules, &options.host, options.port, deadline)
        .await?;
    let tls = options.security.of(&dialled, options.port)?;
    let Dialled { stream, address, .. } = dialled;
    let entering = enter(stream, outbound, options, tls, deadline);
    let (packets, dialect) = deadline.run(LOGGING_IN, Effect::None, entering).await??;
    Ok(Connected {
        packets,
        dialect,
        address,
    })
}

async fn enter(
    stream: TcpStream,
    outbound: &Outbound,
    options: &ConnectOptions,
    tls: Option<TlsOptions>,
    deadline: Deadline,
) -> Result<(Packets<Wire>, Dialect), Error> {
    let failed = |trouble: Trouble| trouble.typed(LOGGING_IN, false, Effect::None);
    let mut packets = Packets::new(stream);
    let greeting = tokio::time::timeout(GREETS_WITHIN, next(&mut packets)).await;
    let greeting = greeting.map_err(|_| Error::OtherServer {
        name: options.host.clone(),
        wanted: "MySQL or MariaDB",
        does: "waits for its client to speak first",
    })?;
    let greeting = greeting.map_err(failed)?;
    let greeting = Greeting::read(&greeting).ok_or_else(|| failed(garbled().into()))?;
    let is_tls = tls.is_some();
    if let Some(tls) = &tls {
        if !greeting.offers_tls() {
            return Err(Error::TlsMissing {
                name: tls.server_name.clone(),
            });
        }
        let asked = packets.write(&greeting.tls_request()).await;
        asked.map_err(|error| failed(error.into()))?;
    }
    let (stream, number) = packets.apart();
    let wire: Wire = match tls {
        Some(tls) => Box::new(handshake(stream, &tls, &outbound.trust, deadline).await?),
        None => Box::new(stream),
    };
    let mut packets = Packets::from(wire, number);
    log_in(&mut packets, &greeting, options, is_tls).await?;
    Ok((packets, greeting.dialect))
}

/// Answers what the server asks until it lets us in.
async fn log_in(
    packets: &mut Packets<Wire>,
    greeting: &Greeting,
    options: &ConnectOptions,
    is_tls: bool,
) -> Result<(), Error> {
    let failed = |trouble: Trouble| trouble.typed(LOGGING_IN, false, Effect::None);
    let lost = |error: io::Error| failed(error.into());
    let password = options
        .password
        .as_ref()
        .map_or(&[][..], |password| password.expose());
    // That one is for the server to ask for.
    let proposed = greeting.method.filter(|method| *method != Method::Sha256);
    let mut method = proposed.unwrap_or(Method::Native);
    let mut nonce = greeting.nonce.clone();
    let answer = method.answer(password, &nonce).unwrap_or_default();
    let response = greeting.response(is_tls, &options.user, method, &answer, &options.application_name);
    packets.write(&response).await.map_err(lost)?;
    for _ in 0..QUESTIONS {
        let packet = next(packets).await.map_err(failed)?;
        match packet.as_slice() {
            [0x00, ..] => return Ok(()),
            [0xFE, asked @ ..] => {
                let (asked, new_nonce) = switched(asked).ok_or_else(unknown_method)?;
                (method, nonce) = (asked, new_nonce.to_vec());
                let answer = if method == Method::Sha256 {
                    whole(password, method, is_tls)
                } else {
                    method.answer(password, &nonce).map(Zeroizing::new)
                };
                let answer = answer.ok_or_else(|| lost(garbled()))?;
                packets.write(&answer).await.map_err(lost)?;
            }
            // The server has the password in its cache: the next packet lets us in.
            [0x01, 0x03] if method == Method::CachingSha2 => {}
            // It has not: it wants the password itself.
            [0x01, 0x04] if method == Method::CachingSha2 => {
                let answer = whole(password, method, is_tls).ok_or_else(|| lost(garbled()))?;
                packets.write(&answer).await.map_err(lost)?;
            }
            [0x01, key @ ..] if method.key_request().is_some() && !is_tls => {
                let encrypted = rsa::encrypt(key, password, &nonce, rand::random());
                let encrypted = encrypted.ok_or_else(unusable_key)?;
                packets.write(&encrypted).await.map_err(lost)?;
            }
            _ => return Err(lost(garbled())),
        }
    }
    Err(lost(garbled()))
}

/// The password itself over TLS; without it the request for the key that hides it.
fn whole(password: &[u8], method: Method, is_tls: bool) -> Option<Zeroizing<Vec<u8>>> {
    let request = method.key_request()?;
    let bytes = if is_tls {
        [password, &[0]].concat()
    } else {
        vec![request]
    };
    Some(Zeroizing::new(bytes))
}

/// The method that the server wants instead, and its nonce.
fn switched(asked: &[u8]) -> Option<(Method, &[u8])> {
    let mut fields = Fields::of(asked);
    let method = Method::of(fields.until_nul()?)?;
    let nonce = fields.rest();
    Some((
        method,
        nonce
            .strip_suffix(&[0])
            .filter(|cut| cut.len() != 31)
            .unwrap_or(nonce),
    ))
}

fn unusable_key() -> Error {
    Error::Protocol {
        expected: "an RSA key of at least 2048 bits for a password without TLS",
        effect: Effect::None,
    }
}

fn unknown_method() -> Error {
    Error::Protocol {
        expected: "a login that this host can do (mysql_native_password, caching_sha2_password, sha256_password, client_ed25519)",
        effect: Effect::None,
    }
}
