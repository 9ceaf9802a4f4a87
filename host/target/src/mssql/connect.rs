use std::net::SocketAddr;

use keywheel_model::Effect;
use tokio::net::TcpStream;

use super::STRICT;
use super::failure::most_telling;
use super::in_packets::InPackets;
use super::login::{Encryption, Version, encryption_of, login, prelogin};
use super::packet::{LOGIN, PRELOGIN, Packets, Stream, garbled};
use super::reply::{Answer, Trouble, read};
use crate::dial::{Allow, Dialled};
use crate::postgres::{ConnectOptions, RowLimits};
use crate::tls::{TlsOptions, handshake};
use crate::{Deadline, Error, Outbound};

const LOGGING_IN: &str = "logging in";

/// The stream of a session.
pub(super) type Wire = Box<dyn Stream>;

/// Dials and logs in.
pub(super) async fn connect(
    outbound: &Outbound,
    rules: &[Allow],
    options: &ConnectOptions,
    deadline: Deadline,
) -> Result<(Packets<Wire>, SocketAddr), Error> {
    let dialled = outbound
        .dialer
        .dial(rules, &options.host, options.port, deadline)
        .await?;
    let tls = options.security.of(&dialled, options.port)?;
    let Dialled { stream, address, .. } = dialled;
    let entering = enter(stream, outbound, options, tls, deadline);
    let packets = deadline.run(LOGGING_IN, Effect::None, entering).await??;
    Ok((packets, address))
}

async fn enter(
    stream: TcpStream,
    outbound: &Outbound,
    options: &ConnectOptions,
    tls: Option<TlsOptions>,
    deadline: Deadline,
) -> Result<Packets<Wire>, Error> {
    let (mut packets, version) = match tls {
        Some(tls) if tls.alpn == [STRICT] => (strict(stream, outbound, &tls, deadline).await?, Version::V8),
        Some(tls) => (encrypted(stream, outbound, tls, deadline).await?, Version::V7),
        None => {
            let wire: Wire = Box::new(stream);
            let mut packets = Packets::new(wire);
            if greet(&mut packets, Encryption::NotSupported).await? != Encryption::NotSupported {
                return Err(protocol(
                    "of a server that takes logins without TLS: this one asks for it",
                ));
            }
            (packets, Version::V7)
        }
    };
    log_in(&mut packets, options, version).await?;
    Ok(packets)
}

/// TDS 8.0: TLS first, and it has to be about that.
async fn strict(
    stream: TcpStream,
    outbound: &Outbound,
    tls: &TlsOptions,
    deadline: Deadline,
) -> Result<Packets<Wire>, Error> {
    let stream = handshake(stream, tls, &outbound.trust, deadline).await?;
    if stream.get_ref().1.alpn_protocol() != Some(STRICT) {
        return Err(protocol("TDS 8.0, which `strict` asks for"));
    }
    let wire: Wire = Box::new(stream);
    let mut packets = Packets::new(wire);
    greet(&mut packets, Encryption::On).await?;
    Ok(packets)
}

/// TDS 7.4: the handshake stands in packets, after PRELOGIN, and everything after it is encrypted.
async fn encrypted(
    mut stream: TcpStream,
    outbound: &Outbound,
    mut tls: TlsOptions,
    deadline: Deadline,
) -> Result<Packets<Wire>, Error> {
    match greet(&mut Packets::new(&mut stream), Encryption::On).await? {
        Encryption::On | Encryption::Required => {}
        Encryption::Off | Encryption::NotSupported => {
            return Err(Error::TlsMissing {
                name: tls.server_name,
            });
        }
    }
    // What comes after a handshake of 1.3, its tickets, has no place in the packets; servers have it with TDS 8.0 alone.
    tls.at_most_1_2 = true;
    let mut stream = handshake(InPackets::new(stream), &tls, &outbound.trust, deadline).await?;
    stream.get_mut().0.end();
    let wire: Wire = Box::new(stream);
    Ok(Packets::new(wire))
}

/// PRELOGIN, and what the server says of encryption.
async fn greet<S: Stream>(packets: &mut Packets<S>, encryption: Encryption) -> Result<Encryption, Error> {
    packets
        .write(PRELOGIN, &prelogin(encryption))
        .await
        .map_err(|error| failed(error.into()))?;
    let answer = packets.read().await.map_err(|error| failed(error.into()))?;
    encryption_of(&answer).ok_or_else(|| failed(garbled().into()))
}

async fn log_in(
    packets: &mut Packets<Wire>,
    options: &ConnectOptions,
    version: Version,
) -> Result<(), Error> {
    let message = login(options, version).ok_or_else(|| {
        Error::invalid("a name has more than 128 characters, or the password is no text of at most 128")
    })?;
    packets
        .write(LOGIN, &message)
        .await
        .map_err(|error| failed(error.into()))?;
    let message = packets.read().await.map_err(|error| failed(error.into()))?;
    let answer: Answer = read(&message, RowLimits::default()).map_err(failed)?;
    if let Some(error) = most_telling(answer.errors) {
        return Err(failed(Trouble::Reported(error)));
    }
    if answer.is_sent_on {
        return Err(protocol(
            "of a server that talks to its clients itself: this one sends them to another address (Azure SQL: set the connection policy to Proxy)",
        ));
    }
    if answer.login_taken {
        Ok(())
    } else {
        Err(failed(garbled().into()))
    }
}

fn failed(trouble: Trouble) -> Error {
    trouble.typed(LOGGING_IN, false, Effect::None)
}

fn protocol(expected: &'static str) -> Error {
    Error::Protocol {
        expected,
        effect: Effect::None,
    }
}
