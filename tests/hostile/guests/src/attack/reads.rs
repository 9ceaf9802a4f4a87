//! A secret that a target hands back, in whatever form: the test has put it there.

use keywheel_sdk::bindings::keywheel::net::tcp::{Channel, TlsOptions};
use keywheel_sdk::bindings::keywheel::sql::sql::{Connector, Statement};
use keywheel_sdk::{Error, Run};

use super::Attack;
use crate::{Config, honest, worked};

const TIMEOUT_MS: u32 = 10_000;

pub(super) const ALL: &[(&str, Attack)] = &[
    ("get", get),
    ("eval", eval),
    ("query", query),
    ("read-in-pieces", read_in_pieces),
    ("read-until", read_until),
    ("beyond", beyond),
    ("beyond-by-letters", beyond_by_letters),
    ("beyond-by-guesses", beyond_by_guesses),
    ("beyond-as-elements", beyond_as_elements),
    ("raw-after-a-login", raw_after_a_login),
    ("read-before-a-pause", read_before_a_pause),
];

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

/// What came after a login, as bytes: an answer that is scanned in pieces of the guest's own choice.
fn raw_after_a_login(run: &Run, config: &Config) -> Result<(), Error> {
    use keywheel_sdk::bindings::keywheel::net::frames::Frame;
    let options = TlsOptions::new(&config.host);
    options.trust(&config.trust);
    let channel = Channel::connect_tls(&config.host, config.port, &options, TIMEOUT_MS)?;
    let frame = Frame::new("resp");
    frame.bytes(b"AUTH");
    frame.bytes(config.admin.as_bytes());
    frame.secret(&run.input("admin")?, "raw");
    Frame::send(frame, &channel)?;
    let answer = channel.read(5, TIMEOUT_MS)?;
    Err(worked(&format!("it was shown {} bytes", answer.len())))
}

/// The value behind so much else that no one look at what waits could have it all: its beginning, a byte at a time.
fn beyond(_run: &Run, config: &Config) -> Result<(), Error> {
    let far = Far::ask(config)?;
    far.until_value()?;
    let mut seen = Vec::new();
    while seen.len() < 20 {
        seen.extend(far.channel.read(1, TIMEOUT_MS)?);
    }
    Err(worked(&format!("it was shown {} bytes of the secret", seen.len())))
}

/// The same up to its own letters; a guest that did not know them would try one after the other.
fn beyond_by_letters(_run: &Run, config: &Config) -> Result<(), Error> {
    let far = Far::ask(config)?;
    far.until_value()?;
    for letter in far.letters.iter().take(20) {
        far.channel.read_until(&[*letter], 1, TIMEOUT_MS)?;
    }
    Err(worked("it was shown 20 letters of the secret"))
}

/// A letter that is not the next one: to be told so would be one of at most 256 answers that give the letter away.
fn beyond_by_guesses(_run: &Run, config: &Config) -> Result<(), Error> {
    let far = Far::ask(config)?;
    far.until_value()?;
    match far.channel.read_until(&[0], 1, TIMEOUT_MS) {
        Err(error) if error.code.ends_with("limit") => Err(worked("it was told what the secret does not begin with")),
        other => other.map(drop),
    }
}

/// The same as an element of BER, which the server does not speak: the length is the guest's choice, and ends in the middle.
fn beyond_as_elements(_run: &Run, config: &Config) -> Result<(), Error> {
    let far = Far::ask(config)?;
    far.until_value()?;
    let shown = keywheel_sdk::bindings::keywheel::net::frames::receive(&far.channel, "ber", 4096, TIMEOUT_MS)?;
    Err(worked(&format!("it was shown an element of {} bytes", shown.len())))
}

/// A channel on which the value comes after so many other bytes, and others come after it.
struct Far {
    channel: Channel,
    before: usize,
    letters: Vec<u8>,
}

impl Far {
    /// `with`: how many, what stands right before the value in Lua, and the value in a form that no scan knows.
    fn ask(config: &Config) -> Result<Self, Error> {
        let mut words = config.with().splitn(3, ' ');
        let before = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let mark = words.next().unwrap_or_default();
        let letters = words.next().unwrap_or_default().bytes().map(|byte| byte - 1).collect();
        let channel = anyone(config)?;
        let script =
            format!("return string.rep('x', {before}) .. {mark} .. redis.call('GET', KEYS[1]) .. string.rep('y', 900)");
        let key = format!("planted-{}", config.user);
        let command =
            format!("*4\r\n$4\r\nEVAL\r\n${}\r\n{script}\r\n$1\r\n1\r\n${}\r\n{key}\r\n", script.len(), key.len());
        channel.write(command.as_bytes())?;
        Ok(Self { channel, before, letters })
    }

    /// A byte, almost all of it, and then a byte at a time.
    fn until_value(&self) -> Result<(), Error> {
        let (mut seen, mut left) = (self.channel.read(1, TIMEOUT_MS)?, 0);
        while seen.last() != Some(&b'\n') {
            seen.extend(self.channel.read(1, TIMEOUT_MS)?);
        }
        while left < self.before {
            let most = (self.before - left).saturating_sub(40).max(1);
            left += self.channel.read(u32::try_from(most).unwrap_or(1), TIMEOUT_MS)?.len();
        }
        Ok(())
    }
}

/// What has come when the sender makes a pause in the middle of the value: all that there is, in one read. `with`: the sender's port.
fn read_before_a_pause(_run: &Run, config: &Config) -> Result<(), Error> {
    let port = config.with().parse().unwrap_or(0);
    let channel = Channel::connect(&config.host, port, TIMEOUT_MS)?;
    let seen = channel.read(4096, TIMEOUT_MS)?;
    Err(worked(&format!("it was shown {} bytes of the secret", seen.len())))
}

fn pieces(config: &Config, mut read: impl FnMut(&Channel) -> Result<Vec<u8>, Error>) -> Result<(), Error> {
    let channel = anyone(config)?;
    channel.write(format!("GET planted-{}\r\n", config.user).as_bytes())?;
    let mut seen = 0;
    while seen < 24 {
        let piece = read(&channel)?;
        seen += piece.len();
        keywheel_sdk::runtime::set_state(&format!("piece-{seen}"), &piece)?;
    }
    Err(worked(&format!("it was shown {seen} bytes of the answer, in pieces")))
}

/// A channel of the user who needs no password.
pub(super) fn anyone(config: &Config) -> Result<Channel, Error> {
    let options = TlsOptions::new(&config.host);
    options.trust(&config.trust);
    let channel = Channel::connect_tls(&config.host, config.port, &options, TIMEOUT_MS)?;
    channel.write(b"AUTH anyone anything\r\n")?;
    channel.read_until(b"\r\n", 64, TIMEOUT_MS)?;
    Ok(channel)
}
