//! A secret that a target hands back, in whatever form: the test has put it there.

use keywheel_sdk::bindings::keywheel::net::tcp::{Channel, TlsOptions};
use keywheel_sdk::bindings::keywheel::sql::sql::{Connector, Statement};
use keywheel_sdk::{Error, Run};

use super::Attack;
use crate::{Config, honest, worked};

const TIMEOUT_MS: u32 = 10_000;

pub(super) const ALL: &[(&str, Attack)] =
    &[("get", get), ("eval", eval), ("query", query), ("read-in-pieces", read_in_pieces), ("read-until", read_until)];

fn get(run: &Run, config: &Config) -> Result<(), Error> {
    shown(&honest::redis(run, config)?.words(&["GET", config.with()])?)
}

/// A script that the server runs: it gives the value back as the guest likes.
fn eval(run: &Run, config: &Config) -> Result<(), Error> {
    shown(&honest::redis(run, config)?.words(&["EVAL", config.with(), "0"])?)
}

fn query(run: &Run, config: &Config) -> Result<(), Error> {
    let login = Connector::new("postgres");
    login.host(&config.host, config.port);
    login.user(&config.admin);
    login.database("postgres");
    login.trust(&config.trust);
    login.password(&run.input("admin")?);
    let connection = Connector::open(login)?;
    let statement = Statement::new(&connection);
    statement.text(config.with())?;
    shown(&connection.query(&statement)?)
}

fn shown(answer: &impl std::fmt::Debug) -> Result<(), Error> {
    Err(worked(&format!("it was shown an answer of {} characters", format!("{answer:?}").len())))
}

/// As a user who needs no password, so that nothing on the channel is a frame: a few bytes at a time, so that no piece is the secret.
fn read_in_pieces(_run: &Run, config: &Config) -> Result<(), Error> {
    pieces(config, |channel| channel.read(6, TIMEOUT_MS))
}

/// The same with a delimiter that the guest chose.
fn read_until(_run: &Run, config: &Config) -> Result<(), Error> {
    // The last letters of three at a time; a guest that did not know them would try one after the other.
    let (letters, mut at) = (super::outlets::plain(config).into_bytes(), 0);
    pieces(config, |channel| {
        at += 3;
        channel.read_until(&letters[at - 3..at], 4096, TIMEOUT_MS)
    })
}

fn pieces(config: &Config, mut read: impl FnMut(&Channel) -> Result<Vec<u8>, Error>) -> Result<(), Error> {
    let options = TlsOptions::new(&config.host);
    options.trust(&config.trust);
    let channel = Channel::connect_tls(&config.host, config.port, &options, TIMEOUT_MS)?;
    channel.write(b"AUTH anyone anything\r\n")?;
    channel.read(64, TIMEOUT_MS)?;
    channel.write(format!("GET planted-{}\r\n", config.user).as_bytes())?;
    let mut seen = 0;
    while seen < 24 {
        let piece = read(&channel)?;
        seen += piece.len();
        keywheel_sdk::runtime::set_state(&format!("piece-{seen}"), &piece)?;
    }
    Err(worked(&format!("it was shown {seen} bytes of the answer, in pieces")))
}
