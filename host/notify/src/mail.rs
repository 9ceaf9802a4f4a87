//! Mail: a message of plain text, handed to one mail server over TLS.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use keywheel_model::SecretBytes;
use keywheel_model::address::Host;
use keywheel_target::Deadline;
use keywheel_target::dial::{Allow, Dialer, Transport};
use lettre::Message;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::Mailbox;
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters, TlsParametersBuilder,
};
use lettre::transport::smtp::extension::ClientId;
use sha2::{Digest as _, Sha256};

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
    /// Certificates in PEM that its own must be signed by; none: the operating system's.
    pub roots: Option<Vec<Vec<u8>>>,
    /// The user and the password; none: it asks for none.
    pub login: Option<(String, SecretBytes)>,
    /// Whom it is from.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Mail {
    pub(crate) async fn send(&self, notice: &Notice, sender: &Sender, timeout: Duration) -> Result<(), Error> {
        let message = self.message(notice, sender)?;
        let handed = tokio::time::timeout(timeout, self.hand_over(&message, sender, timeout));
        handed.await.unwrap_or(Err(Error::Silent { timeout }))
    }

    async fn hand_over(&self, message: &Message, sender: &Sender, timeout: Duration) -> Result<(), Error> {
        let (name, address) = self.address(timeout).await?;
        let tls = self.tls(&name).map_err(mail)?;
        let hello = ClientId::Domain(sender.host().to_owned());
        let at_once = self.implicit.then(|| tls.clone());
        let mut connection = AsyncSmtpConnection::connect_tokio1(address, Some(timeout), &hello, at_once, None)
            .await
            .map_err(mail)?;
        if !self.implicit {
            // It is an error where the server does not offer it.
            connection.starttls(tls, &hello).await.map_err(mail)?;
        }
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

    /// The name that its certificate is for, and the first address that may be dialled.
    async fn address(&self, timeout: Duration) -> Result<(String, SocketAddr), Error> {
        let name = match &self.host {
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name.clone(),
        };
        let rule = Allow::host(&self.host, self.port, Transport::Tls);
        let deadline = Deadline::after(timeout);
        let addresses = Dialer::system().addresses(&[rule], &name, self.port, deadline).await;
        let addresses = addresses.map_err(|error| Error::Reach(Box::new(error)))?;
        let first = addresses.first().copied().ok_or_else(|| Error::Mail {
            what: "its name has no address".to_owned(),
        })?;
        Ok((name, first))
    }

    fn tls(&self, name: &str) -> Result<TlsParameters, smtp::Error> {
        let mut builder: TlsParametersBuilder = TlsParameters::builder(name.to_owned());
        if let Some(roots) = &self.roots {
            builder = builder.certificate_store(CertificateStore::None);
            for pem in roots {
                builder = builder.add_root_certificate(Certificate::from_pem(pem)?);
            }
        }
        builder.build_rustls()
    }

    /// All that is told of one thing is one thread; the same notice is the same message.
    fn message(&self, notice: &Notice, sender: &Sender) -> Result<Message, Error> {
        let domain = self.from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
        let domain = domain.trim_end_matches('>');
        let thread = Sha256::digest(format!("{}/{}", sender.store, notice.key).as_bytes());
        let thread: String = thread.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let thread = format!("<{thread}.keywheel@{domain}>");
        let mut message = Message::builder()
            .from(mailbox(&self.from)?)
            .subject(subject(notice))
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(notice.at))
            .message_id(Some(format!("<{}-{}.keywheel@{domain}>", sender.store, notice.id)))
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
        Nature::Resolved => "[resolved] ".to_owned(),
        Nature::Happened => String::new(),
    };
    one_line(&format!("{mark}{}", words.title), SUBJECT, plain)
}

fn body(notice: &Notice, sender: &Sender) -> String {
    let words = &notice.words;
    let mut body = format!("{}\n\n{}\n\n", words.title, shortened(&words.text, TEXT, plain));
    for (name, value) in &words.facts {
        body.push_str(&format!("{name}: {}\n", shortened(value, FACT, plain)));
    }
    if let Some(link) = &words.link {
        body.push_str(&format!("\n{link}\n"));
    }
    body.push_str(&format!(
        "\n-- \n{}, {}, notice {}\n",
        sender.name,
        words::time(notice.at),
        notice.id
    ));
    body
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
