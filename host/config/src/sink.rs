use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use keywheel_model::SecretName;
use keywheel_model::address::Host;

/// Somebody who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Its name.
    pub name: String,
    /// How it is told.
    pub kind: NotifyKind,
    /// Whether it is told what needs a person.
    pub attention: bool,
    /// Whether it is told what happened to runs.
    pub events: bool,
    /// Whether it is told that runs begin.
    pub started: bool,
    /// Which of that.
    pub route: Route,
    /// How that is worded.
    pub wording: Wording,
}

/// Which notices a sink is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Of these severities; none: of all.
    pub severities: Vec<&'static str>,
    /// Of these kinds, each a word or what words begin with and `*`; none: of all.
    pub kinds: Vec<String>,
    /// Of rotations that have each of these labels; none: of all, and of whatever is no rotation.
    pub labels: BTreeMap<String, String>,
}

/// How notices are worded, where it is not as they are. [`NOTICE_NAMES`] in braces stand for what is called so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wording {
    /// The title.
    pub title: Option<String>,
    /// The text.
    pub text: Option<String>,
    /// Where more stands: a URL.
    pub link: Option<String>,
}

/// What the texts of a [`Wording`] may name.
pub const NOTICE_NAMES: [&str; 12] = [
    "title", "text", "severity", "kind", "topic", "subject", "key", "rotation", "secret", "run", "notice",
    "host",
];

/// The words for how much a notice matters, the least first.
pub const SEVERITIES: [&str; 4] = ["info", "warning", "error", "critical"];

/// How somebody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotifyKind {
    /// By the host's own log.
    Log,
    /// By a program.
    Command {
        /// Its whole path.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
        /// How long it may take.
        timeout: Duration,
    },
    /// Over the network.
    Channel {
        /// How.
        way: Way,
        /// The trust set that its certificate must be of; none: the operating system's authorities.
        trust: Option<String>,
        /// How long it may take.
        timeout: Duration,
    },
}

/// How somebody is reached over the network. What opens the way is in the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// An incoming webhook of Slack.
    Slack {
        /// The secret that is its URL.
        url: SecretName,
    },
    /// A webhook of Microsoft Teams' Workflows.
    Teams {
        /// The secret that is its URL.
        url: SecretName,
    },
    /// PagerDuty.
    PagerDuty {
        /// The secret that is the integration's key.
        key: SecretName,
        /// Where events go; none: PagerDuty's own.
        endpoint: Option<String>,
    },
    /// A webhook of one's own.
    Webhook {
        /// The secret that is its URL.
        url: SecretName,
        /// The secret that bodies are signed with.
        key: SecretName,
    },
    /// Mail.
    Email(Email),
}

/// A mail server, and what it is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// Its host.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// Whether TLS begins with the connection; otherwise by STARTTLS.
    pub implicit: bool,
    /// The user, and the secret that is the password; none: it asks for none.
    pub login: Option<(String, SecretName)>,
    /// Whom it is from.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
}

impl NotifyKind {
    /// The word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Command { .. } => "command",
            Self::Channel { way, .. } => match way {
                Way::Slack { .. } => "slack",
                Way::Teams { .. } => "teams",
                Way::PagerDuty { .. } => "pagerduty",
                Way::Webhook { .. } => "webhook",
                Way::Email(_) => "email",
            },
        }
    }
}

impl Notify {
    /// Whether it is told all that it wants to hear about, whatever it is of.
    pub fn is_told_all(&self) -> bool {
        self.route == Route::default()
    }

    /// The secrets by which it is reached.
    pub fn secrets(&self) -> Vec<&SecretName> {
        let NotifyKind::Channel { way, .. } = &self.kind else {
            return Vec::new();
        };
        match way {
            Way::Slack { url } | Way::Teams { url } => vec![url],
            Way::PagerDuty { key, .. } => vec![key],
            Way::Webhook { url, key } => vec![url, key],
            Way::Email(email) => email.login.iter().map(|(_, password)| password).collect(),
        }
    }
}
