//! Where notices go: a sink takes one, or says why not; and programs that are asked something, and answer by their exit code. Knows no rotation, no store, and
//! not what any of it is about; who keeps notices until they are taken, and tries again, is another one.

#![forbid(unsafe_code)]

mod command;
mod error;
mod hook;
mod program;

use serde::Serialize;

pub use command::Command;
pub use error::Error;
pub use hook::{Answer, Hook};

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
    /// When it was written, milliseconds of Unix time.
    pub at: u64,
    /// What there is to know; its members depend on the topic.
    pub body: serde_json::Value,
}

/// Where notices go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// The host's own log.
    Log,
    /// A program that gets each on its standard input.
    Command(Command),
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
        }
    }
}
