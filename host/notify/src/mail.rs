//! Mail: a message of plain text, handed to one mail server over TLS.

mod stream;

use std::fmt;
use std::time::{Duration, SystemTime};

use keywheel_model::SecretBytes;
use keywheel_model::address::Host;
use keywheel_target::Deadline;
use keywheel_target::dial::{Allow, Dialer, Transport};
use keywheel_target::tls::{TlsOptions, TrustStore, handshake};
use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::extension::ClientId;
use sha2::{Digest as _, Sha256};

use crate::mail::stream::{Spoken, ask_for_tls};
use crate::shorten::{one_line, plain, shortened};
use crate::words::{self, Nature, Sender};
use crate::{Error, Notice};

const SUBJECT: usize = 200;
const TEXT: usize = 64 * 1024;
const FACT: usize = 4000;

/// Replies that say that nobody is let in with this login (RFC 4954, RFC 3207).
const OF_THE_LOGIN: [u16; 4] = [530, 534, 535, 538];

/// A mail server, and what it is to do.
pub struct Mail {
    /// Its host.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// Whether TLS begins with the connection; otherwise by STARTTLS, and nothing is sent without.
    pub implicit: bool,
    /// The user and the password; none: it asks for none.
    pub login: Option<(String, SecretBytes)>,
    /// Whom it is from.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Mail {
    pub(crate) async fn send(
        &self,
        notice: &Notice,
        sender: &Sender,
        (trust, trusted): (&TrustStore, Option<&str>),
        timeout: Duration,
    ) -> Result<(), Error> {
        let message = self.message(notice, sender)?;
        let hand_over = async {
            let hello = sender.host();
            let stream = self
                .stream((trust, trusted), hello, Deadline::after(timeout))
                .await?;
            self.hand_over(&message, stream, hello).await
        };
        let handed = tokio::time::timeout(timeout, hand_over).await;
        handed.unwrap_or(Err(Error::Silent { timeout }))
    }

    /// A stream that nobody reads but the server, which is the one that is meant.
    async fn stream(
        &self,
        (trust, trusted): (&TrustStore, Option<&str>),
        hello: &str,
        deadline: Deadline,
    ) -> Result<Box<dyn AsyncTokioStream>, Error> {
        let reach = |error| Error::Reach(Box::new(error));
        let name = match &self.host {
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name.clone(),
        };
        let rules = [Allow::host(&self.host, self.port, Transport::Tls)];
        let dialler = Dialer::system();
        let dialled = dialler
            .dial(&rules, &name, self.port, deadline)
            .await
            .map_err(reach)?;
        let mut stream = dialled.stream;
        if !self.implicit {
            ask_for_tls(&mut stream, hello).await?;
        }
        let options = TlsOptions {
            trust: trusted.map(str::to_owned),
            ..TlsOptions::for_name(&name)
        };
        let stream = handshake(stream, &options, trust, deadline)
            .await
            .map_err(reach)?;
        Ok(Box::new(Spoken::new(stream, dialled.address, !self.implicit)))
    }

    async fn hand_over(
        &self,
        message: &Message,
        stream: Box<dyn AsyncTokioStream>,
        hello: &str,
    ) -> Result<(), Error> {
        let hello = ClientId::Domain(hello.to_owned());
        let connection = AsyncSmtpConnection::connect_with_transport(stream, &hello).await;
        let mut connection = connection.map_err(mail)?;
        if let Some((user, password)) = &self.login {
            let password = String::from_utf8_lossy(password.expose().trim_ascii()).into_owned();
            let login = Credentials::new(user.clone(), password);
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            connection.auth(&mechanisms, &login).await.map_err(of_login)?;
        }
        let sent = connection.send(message.envelope(), &message.formatted()).await;
        sent.map_err(mail)?;
        // It has taken it, however it says good-bye.
        let _ = connection.quit().await;
        Ok(())
    }

    /// All that is told of one thing is one thread; the same notice is the same message.
    fn message(&self, notice: &Notice, sender: &Sender) -> Result<Message, Error> {
        let domain = self
            .from
            .rsplit_once('@')
            .map_or("localhost", |(_, domain)| domain);
        let domain = domain.trim_end_matches('>');
        let thread = Sha256::digest(format!("{}/{}", sender.store, notice.key).as_bytes());
        let thread: String = thread.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let thread = format!("<{thread}.keywheel@{domain}>");
        let mut message = Message::builder()
            .from(mailbox(&self.from)?)
            .subject(subject(notice))
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(notice.at))
            .message_id(Some(format!(
                "<{}-{}.keywheel@{domain}>",
                sender.store, notice.id
            )))
            .references(thread.clone())
            .in_reply_to(thread)
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            message = message.to(mailbox(to)?);
        }
        let mut message = message.body(body(notice, sender)).map_err(|error| Error::Mail {
            what: error.to_string(),
        })?;
        // RFC 3834: nobody's holiday is to be told of.
        let name = HeaderName::new_from_ascii_str("Auto-Submitted");
        message
            .headers_mut()
            .insert_raw(HeaderValue::new(name, "auto-generated".to_owned()));
        Ok(message)
    }
}

fn mailbox(text: &str) -> Result<Mailbox, Error> {
    text.parse().map_err(|_| Error::Mail {
        what: format!("\"{}\" is no address", text.escape_debug()),
    })
}

fn subject(notice: &Notice) -> String {
    let words = &notice.words;
    let mark = match words.nature {
        Nature::Raised => format!("[{}] ", notice.severity.as_str()),
        Nature::Resolved | Nature::Happened => String::new(),
    };
    one_line(&format!("{mark}{}", words.title), SUBJECT, plain)
}

fn body(notice: &Notice, sender: &Sender) -> String {
    let words = &notice.words;
    let facts = words.facts.iter();
    let facts: String = facts
        .map(|(name, value)| format!("{name}: {}\n", shortened(value, FACT, plain)))
        .collect();
    let link = words
        .link
        .as_ref()
        .map(|link| format!("\n{link}\n"))
        .unwrap_or_default();
    format!(
        "{}\n\n{}\n\n{facts}{link}\n-- \n{}, {}, notice {}\n",
        words.title,
        shortened(&words.text, TEXT, plain),
        sender.name,
        words::time(notice.at),
        notice.id
    )
}

/// What the server says in words may repeat what it was sent: its code is all that is told.
fn mail(error: smtp::Error) -> Error {
    let Some(status) = error.status().map(u16::from) else {
        let what = if error.is_response() {
            "it has answered what is no reply".to_owned()
        } else {
            causes(&error)
        };
        return Error::Mail { what };
    };
    if error.is_transient() {
        let retry_after = None;
        Error::Busy { status, retry_after }
    } else if OF_THE_LOGIN.contains(&status) {
        Error::Gone { status, word: None }
    } else {
        Error::Refused { status, word: None }
    }
}

/// Whatever it is: without its login no message is taken.
fn of_login(error: smtp::Error) -> Error {
    match mail(error) {
        Error::Refused { status, word } => Error::Gone { status, word },
        other => other,
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
