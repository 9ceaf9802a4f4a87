//! Where notices go: a sink takes one, or says why not; and programs that are asked something, and answer by their exit code. Knows no rotation, no store, and
//! not what any of it is about; who keeps notices until they are taken, and tries again, is another one.

#![forbid(unsafe_code)]

mod channel;
mod command;
mod error;
mod hook;
mod http;
mod mail;
mod pagerduty;
mod program;
mod shorten;
mod slack;
mod teams;
pub mod template;
mod webhook;
mod words;

use serde::Serialize;

pub use channel::{Channel, RoutingKey, Way};
pub use command::Command;
pub use error::{Error, Remedy};
pub use hook::{Answer, Hook};
pub use http::Url;
pub use mail::Mail;
pub use pagerduty::ENDPOINT as PAGERDUTY;
pub use webhook::SigningKey;
pub use words::{Nature, Sender, Severity, Words};

/// Something that somebody is to know. There is no value of a secret in it: it is made of names, codes and words of this host's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Notice {
    /// Its number. The same one may come twice: by it a receiver recognises a repetition.
    pub id: u64,
    /// What kind it is of.
    pub topic: String,
    /// About which thing; what is raised of a thing is resolved under the same one.
    pub key: String,
    /// Whether something is wrong; the others tell that it is not any more, or what has happened.
    pub is_trouble: bool,
    /// How much it matters; of what is over, how much it did.
    pub severity: Severity,
    /// When it was written, milliseconds of Unix time.
    pub at: u64,
    /// What there is to know; its members depend on the topic.
    pub body: serde_json::Value,
    /// The same for people.
    #[serde(skip)]
    pub words: Words,
}

impl Notice {
    /// What it is about.
    fn subject(&self) -> &str {
        self.body["subject"].as_str().unwrap_or(&self.key)
    }

    /// What is the matter with it, in a word that stays.
    fn kind(&self) -> &str {
        self.body["kind"].as_str().unwrap_or(&self.topic)
    }
}

/// Where notices go.
#[derive(Debug)]
pub enum Sink {
    /// The host's own log.
    Log,
    /// A program that gets each on its standard input.
    Command(Command),
    /// Somebody who is reached over the network.
    Channel(Channel),
}

impl Sink {
    /// Hands a notice over. It is taken once this comes back well; it has a deadline.
    ///
    /// # Errors
    /// The sink did not take it.
    pub async fn deliver(&self, notice: &Notice) -> Result<(), Error> {
        match self {
            Self::Log => {
                if notice.is_trouble {
                    tracing::warn!(id = notice.id, topic = %notice.topic, about = %notice.key, body = %notice.body, "notice");
                } else {
                    tracing::info!(id = notice.id, topic = %notice.topic, about = %notice.key, body = %notice.body, "notice");
                }
                Ok(())
            }
            Self::Command(command) => command.run(notice).await,
            Self::Channel(channel) => channel.deliver(notice).await,
        }
    }
}
