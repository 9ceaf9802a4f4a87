//! Sinks that are reached over the network. Each is what its vendor's documents say; what is common to them is here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keywheel_model::{SecretBytes, Timestamp};
use keywheel_target::tls::TrustStore;

use crate::http::{Post, Url};
use crate::mail::Mail;
use crate::webhook::SigningKey;
use crate::words::Sender;
use crate::{Error, Notice, pagerduty, slack, teams, webhook};

/// What vendors take of JSON.
const JSON: &str = "application/json";

/// Somebody who is reached over the network.
#[derive(Debug)]
pub struct Channel {
    /// How.
    pub way: Way,
    /// Who tells.
    pub sender: Sender,
    /// Whom TLS trusts.
    pub trust: Arc<TrustStore>,
    /// The trust set; none: the operating system's.
    pub trusted: Option<String>,
    /// After this it has not taken it.
    pub timeout: Duration,
    /// When it is reached.
    pub now: Timestamp,
}

/// How somebody is reached.
#[derive(Debug)]
pub enum Way {
    /// An incoming webhook of Slack.
    Slack {
        /// Where.
        url: Url,
    },
    /// A webhook of Microsoft Teams' Workflows.
    Teams {
        /// Where.
        url: Url,
    },
    /// The Events API of PagerDuty.
    PagerDuty {
        /// Where, without a path.
        url: Url,
        /// The integration's.
        key: RoutingKey,
    },
    /// A webhook of one's own.
    Webhook {
        /// Where.
        url: Url,
        /// By which bodies are signed: one signature of each.
        keys: Vec<SigningKey>,
    },
    /// A mail server.
    Mail(Box<Mail>),
}

/// The key of an integration of PagerDuty.
pub struct RoutingKey(SecretBytes);

impl fmt::Debug for RoutingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoutingKey(***)")
    }
}

impl RoutingKey {
    /// Of a value of the vault.
    ///
    /// # Errors
    /// What is wrong with it, in words that go on from the secret's name.
    pub fn parse(value: SecretBytes) -> Result<Self, &'static str> {
        if pagerduty::fits(&value) {
            Ok(Self(value))
        } else {
            Err("is no integration key of PagerDuty: 32 letters and digits")
        }
    }
}

impl Channel {
    pub(crate) async fn deliver(&self, notice: &Notice) -> Result<(), Error> {
        match &self.way {
            Way::Slack { url } => {
                let body = slack::message(notice).to_string().into_bytes();
                slack::judge(&self.post(url, JSON, Vec::new(), body.into()).await?)
            }
            Way::Teams { url } => {
                let body = teams::message(notice);
                self.post(url, JSON, Vec::new(), body.into()).await?.judged()
            }
            Way::PagerDuty { url, key } => {
                let (path, body) = pagerduty::event(notice, &self.sender, &key.0);
                let body = Bytes::from_owner(body);
                pagerduty::judge(&self.post(&url.at(path), JSON, Vec::new(), body).await?)
            }
            Way::Webhook { url, keys } => {
                let body = webhook::event(notice, &self.sender);
                let id = webhook::id_of(notice, &self.sender);
                // Of this delivery, not of the notice: a receiver takes no old ones.
                let seconds = self.now.as_unix_ms() / 1000;
                let headers = webhook::headers(&id, seconds, &body, keys);
                self.post(url, webhook::CONTENT_TYPE, headers, body.into())
                    .await?
                    .judged()
            }
            Way::Mail(mail) => {
                let trust = (&*self.trust, self.trusted.as_deref());
                mail.send(notice, &self.sender, trust, self.timeout).await
            }
        }
    }

    async fn post(
        &self,
        url: &Url,
        content_type: &'static str,
        headers: Vec<(&'static str, String)>,
        body: Bytes,
    ) -> Result<crate::http::Answer, Error> {
        let post = Post {
            url,
            content_type,
            headers,
            body,
            now: self.now,
        };
        post.send(&self.trust, self.trusted.as_deref(), self.timeout)
            .await
    }
}
