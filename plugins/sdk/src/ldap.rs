//! LDAP (RFC 4511) over whole frames: one request at a time, whose answer is awaited. Referrals are told and not followed.

mod message;

use serde::Deserialize;

use crate::bindings::keywheel::net::frames::{Frame, receive};
use crate::bindings::keywheel::net::tcp::{Channel, TlsOptions};
use crate::error::{error, missing};
use crate::{Error, ErrorKind, Secret};

use message::Message;
pub use message::{Done, Entry};

const FRAMING: &str = "ldap";
const ANSWER_LIMIT_BYTES: u32 = 64 * 1024;
/// A look at one entry has one, and perhaps references.
const MOST_PARTS: usize = 8;

/// Numbers of messages. One request is awaited before the next, so that those after the login may share one, and a shape can name it.
const START_TLS: u8 = 1;
const BIND: u8 = 2;
const REQUEST: u8 = 3;

/// RFC 4511 4.14, RFC 4532, draft-behera-ldap-password-policy, and OpenLDAP's own: to say what would become of a change, and not to make it.
const START_TLS_OID: &str = "1.3.6.1.4.1.1466.20037";
const WHO_AM_I_OID: &str = "1.3.6.1.4.1.4203.1.11.3";
const PASSWORD_POLICY_OID: &str = "1.3.6.1.4.1.42.2.27.8.5.1";
const NO_OPERATION_OID: &str = "1.3.6.1.4.1.4203.666.5.2";

/// Where a directory is, as a configuration says it: to be flattened into one.
#[derive(Debug, Deserialize)]
pub struct Server {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    transport: Option<Transport>,
    /// A trust set of the host's configuration.
    trust: Option<String>,
}

/// How TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Transport {
    /// With the first byte (`ldaps`).
    Tls,
    /// After a word of the client.
    StartTls,
    /// Not at all.
    Plaintext,
}

impl Server {
    /// Whether connections go without TLS.
    pub fn is_plaintext(&self) -> bool {
        self.transport == Some(Transport::Plaintext)
    }

    fn options(&self) -> TlsOptions {
        let options = TlsOptions::new(&self.host);
        if let Some(trust) = &self.trust {
            options.trust(trust);
        }
        options
    }
}

/// What a modification does with values (RFC 4511 4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Takes them beside those that there are.
    Add,
    /// Takes these away, and no other.
    Delete,
    /// Takes these for all that there are.
    Replace,
    /// The same, to be rid of the others. It does not ask what the password policy says, and so is another message to whoever grants it.
    Keep,
}

impl Change {
    fn number(self) -> u8 {
        match self {
            Self::Add => 0,
            Self::Delete => 1,
            Self::Replace | Self::Keep => 2,
        }
    }
}

/// A value in a request.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// Text without a secret.
    Text(&'a str),
    /// A secret.
    Secret(&'a Secret),
}

/// A connection.
pub struct Session {
    channel: Channel,
    timeout_ms: u32,
}

impl Session {
    /// Connects, with TLS and a verified certificate, unless the configuration says plaintext in words.
    ///
    /// # Errors
    /// The server cannot be reached, is not who it should be, or offers no TLS; the grant does not say `plaintext`.
    pub fn connect(server: &Server, timeout_ms: u32) -> Result<Self, Error> {
        let (host, port) = (server.host.as_str(), server.port);
        let channel = match server.transport {
            Some(Transport::Plaintext | Transport::StartTls) => Channel::connect(host, port, timeout_ms)?,
            Some(Transport::Tls) | None => Channel::connect_tls(host, port, &server.options(), timeout_ms)?,
        };
        let session = Self { channel, timeout_ms };
        if server.transport == Some(Transport::StartTls) {
            let done = session.ask(Request::new(START_TLS).open(0x77).text(0x80, START_TLS_OID).close())?;
            if done.code != 0 {
                let message = format!("{host}:{port} does not start TLS (code {})", done.code);
                return Err(error(ErrorKind::Other, "ldap.start-tls", message));
            }
            session.channel.start_tls(&server.options())?;
        }
        Ok(session)
    }

    /// A simple bind. What the server says of it is an answer.
    ///
    /// # Errors
    /// Of the host; an answer that is none.
    pub fn bind(&self, name: &str, password: &Secret) -> Result<Done, Error> {
        let bind = Request::new(BIND).open(0x60).bytes(0x02, &[3]).text(0x04, name).secret(0x80, password).close();
        self.ask(bind.control(PASSWORD_POLICY_OID, false))
    }

    /// As whom the server takes this session (`dn:…`); none if it does not tell.
    ///
    /// # Errors
    /// As [`Session::bind`].
    pub fn who_am_i(&self) -> Result<Option<String>, Error> {
        let done = self.ask(Request::new(REQUEST).open(0x77).text(0x80, WHO_AM_I_OID).close())?;
        Ok(if done.code == 0 { Some(done.value) } else { None })
    }

    /// Some attributes of an entry; none if there is no such entry, or none that is shown.
    ///
    /// # Errors
    /// As [`Session::bind`]; the server refuses to look.
    pub fn read(&self, name: &str, attributes: &[&str]) -> Result<Option<Entry>, Error> {
        // The entry alone, aliases as they are, two entries and ten seconds at most, with values.
        let mut search = Request::new(REQUEST).open(0x63).text(0x04, name).bytes(0x0a, &[0]).bytes(0x0a, &[0]);
        search = search.bytes(0x02, &[2]).bytes(0x02, &[10]).bytes(0x01, &[0]).text(0x87, "objectClass").open(0x30);
        for attribute in attributes {
            search = search.text(0x04, attribute);
        }
        let mut entries = Vec::new();
        let done = self.collect(search.close().close(), &mut entries)?;
        match done.code {
            0 => Ok(entries.pop()),
            32 => Ok(None),
            _ => Err(done.problem(&format!("looking at {name}"))),
        }
    }

    /// Whether an attribute has exactly this value.
    ///
    /// # Errors
    /// As [`Session::bind`]; the server refuses to compare; there is no such entry.
    pub fn holds(&self, name: &str, attribute: &str, value: Value<'_>) -> Result<bool, Error> {
        let compare = Request::new(REQUEST).open(0x6e).text(0x04, name).open(0x30).text(0x04, attribute);
        let done = self.ask(compare.value(value).close().close())?;
        match done.code {
            6 => Ok(true),
            5 | 16 => Ok(false),
            _ => Err(done.about(name, "comparing a value")),
        }
    }

    /// Changes the values of an attribute, all or nothing. What the server says of it is an answer.
    ///
    /// # Errors
    /// As [`Session::bind`].
    pub fn modify(&self, name: &str, change: Change, attribute: &str, values: &[Value<'_>]) -> Result<Done, Error> {
        let request = modification(name, change, attribute, values);
        self.ask(if change == Change::Keep { request } else { request.control(PASSWORD_POLICY_OID, false) })
    }

    /// What the server would say of a change, which it does not make: [`Done::would_be_done`]. For servers that know OpenLDAP's no-op control.
    ///
    /// # Errors
    /// As [`Session::bind`].
    pub fn would(&self, name: &str, change: Change, attribute: &str, value: &str) -> Result<Done, Error> {
        let modification = modification(name, change, attribute, &[Value::Text(value)]);
        self.ask(modification.control(NO_OPERATION_OID, true))
    }

    fn ask(&self, request: Request) -> Result<Done, Error> {
        self.collect(request, &mut Vec::new())
    }

    fn collect(&self, request: Request, entries: &mut Vec<Entry>) -> Result<Done, Error> {
        let id = request.id;
        Frame::send(request.finish(), &self.channel)?;
        for _ in 0..MOST_PARTS {
            let bytes = receive(&self.channel, FRAMING, ANSWER_LIMIT_BYTES, self.timeout_ms)?;
            match message::read(&bytes) {
                Some((0, _)) => {
                    let message = "the server ended the session with a notice of disconnection";
                    return Err(error(ErrorKind::Unavailable, "ldap.disconnected", message));
                }
                Some((number, Message::Done(done))) if number == id => return Ok(done),
                Some((number, Message::Entry(entry))) if number == id => entries.push(entry),
                Some((number, Message::Reference)) if number == id => {}
                _ => break,
            }
        }
        let message = "what the server sent is no answer of LDAP to what it was asked";
        Err(error(ErrorKind::Other, "ldap.malformed", message))
    }
}

fn modification(name: &str, change: Change, attribute: &str, values: &[Value<'_>]) -> Request {
    let mut request = Request::new(REQUEST).open(0x66).text(0x04, name).open(0x30).open(0x30);
    request = request.bytes(0x0a, &[change.number()]).open(0x30).text(0x04, attribute).open(0x31);
    for value in values {
        request = request.value(*value);
    }
    request.close().close().close().close().close()
}

/// A message that is being written; the host writes the lengths.
struct Request {
    frame: Frame,
    id: u32,
}

impl Request {
    fn new(id: u8) -> Self {
        Self { frame: Frame::new(FRAMING), id: id.into() }.open(0x30).bytes(0x02, &[id])
    }

    fn open(self, tag: u32) -> Self {
        self.frame.open(tag);
        self
    }

    fn close(self) -> Self {
        self.frame.close();
        self
    }

    fn bytes(self, tag: u32, bytes: &[u8]) -> Self {
        self.frame.open(tag);
        self.frame.bytes(bytes);
        self.frame.close();
        self
    }

    fn text(self, tag: u32, text: &str) -> Self {
        self.bytes(tag, text.as_bytes())
    }

    fn secret(self, tag: u32, secret: &Secret) -> Self {
        self.frame.open(tag);
        self.frame.secret(secret, "raw");
        self.frame.close();
        self
    }

    fn value(self, value: Value<'_>) -> Self {
        match value {
            Value::Text(text) => self.text(0x04, text),
            Value::Secret(secret) => self.secret(0x04, secret),
        }
    }

    /// The one control of a message, behind all else. Critical: a server that does not know it does nothing. Shapes are text, so that true is
    /// 1 there and not 255; who is asked for such a thing takes it so.
    fn control(self, oid: &str, critical: bool) -> Self {
        let control = self.open(0xa0).open(0x30).text(0x04, oid);
        let control = if critical { control.bytes(0x01, &[1]) } else { control };
        control.close().close()
    }

    fn finish(self) -> Frame {
        self.close().frame
    }
}

impl Done {
    /// Whether a change that was only asked for ([`Session::would`]) would be made.
    pub fn would_be_done(&self) -> bool {
        self.code == 16654
    }

    /// The same as an error of a step: [`missing`] where there is no such entry.
    pub fn about(&self, name: &str, doing: &str) -> Error {
        if self.code == 32 { missing("the entry", name) } else { self.problem(doing) }
    }

    /// The same as an error of a step.
    pub fn problem(&self, doing: &str) -> Error {
        use ErrorKind::{Denied, Invalid, Other, Unavailable};
        let (kind, code, words) = match self.code {
            8 | 13 => (Denied, "ldap.confidential", "the server wants stronger authentication or TLS for that"),
            10 => (Invalid, "ldap.referral", "the server refers to another one: name the one that takes changes"),
            19 => (Invalid, "ldap.constraint", self.policy_words()),
            50 => (Denied, "ldap.rights", "insufficient rights"),
            51 | 52 => (Unavailable, "ldap.busy", "the server is busy or unavailable"),
            53 => (Other, "ldap.unwilling", "the server is unwilling: is it read-only?"),
            _ => (Other, "ldap.refused", "the server refused it"),
        };
        error(kind, code, format!("{doing}: {words} (code {})", self.code))
    }

    fn policy_words(&self) -> &'static str {
        match self.policy {
            Some(3) => "the password policy lets nobody change the password (pwdAllowUserChange)",
            Some(4) => "the password policy asks for the old password beside the new one (pwdSafeModify)",
            Some(5) => "the password policy finds the password too weak (pwdCheckQuality)",
            Some(6) => "the password policy finds the password too short (pwdMinLength)",
            Some(7) => "the password policy finds the last change too recent (pwdMinAge)",
            Some(8) => "the password policy has the password in its history (pwdInHistory)",
            _ => "a constraint of the server forbids it",
        }
    }
}
