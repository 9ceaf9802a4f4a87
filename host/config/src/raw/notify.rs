//! Sinks of notices, as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::LabelText;

/// Somebody who is told.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Notify {
    /// A name for it, in messages and metrics.
    #[schemars(extend("format" = "keywheel-name"))]
    pub(crate) name: String,
    /// How it is told: `log`, `command`, `slack`, `teams`, `pagerduty`, `webhook` or `email`.
    pub(crate) kind: Kind,
    /// For `command`: the program by its whole path, then its arguments. It gets each notice as one line of JSON on standard input, and 0 says that it has taken it.
    #[serde(default)]
    pub(crate) command: Vec<String>,
    /// For `slack`, `teams` and `webhook`: where messages are posted, by the name of the secret that is the URL: `{ secret = "notify/slack" }`.
    pub(crate) url: Option<Kept>,
    /// For `pagerduty`: the integration's key. For `webhook`: what bodies are signed with, `whsec_` and base64, or 16 bytes at least as they are. Both by
    /// the name of the secret: `{ secret = "notify/key" }`.
    pub(crate) key: Option<Kept>,
    /// For `pagerduty`: where events go, like `https://events.eu.pagerduty.com`. Default: `https://events.pagerduty.com`.
    pub(crate) endpoint: Option<String>,
    /// For `email`: the mail server with its port, like "mail.internal:587".
    pub(crate) server: Option<String>,
    /// For `email`: how TLS begins. Default: `starttls`; `implicit` where the port is 465.
    pub(crate) tls: Option<MailTls>,
    /// For `email`: whom it asks to be. Default: nobody, and there is no `password`.
    pub(crate) user: Option<String>,
    /// For `email`: that user's password, by the name of the secret: `{ secret = "notify/mail" }`.
    pub(crate) password: Option<Kept>,
    /// For `email`: whom it is from, like "Keywheel <keywheel@example.com>".
    pub(crate) from: Option<String>,
    /// For `email`: who gets it.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub(crate) to: Vec<String>,
    /// For all that go over the network: the trust set that its certificate must be of. Default: the operating system's authorities.
    pub(crate) trust: Option<String>,
    /// For all but `log`: how long one notice may take, 1 s to 5 min. Default: "30s".
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) timeout: Option<String>,
    /// What it is told. Default: `attention`.
    pub(crate) about: Option<Vec<About>>,
    /// Of that, only what matters so much: `info`, `warning`, `error`, `critical`. Default: all.
    #[serde(default)]
    pub(crate) severities: Vec<Severity>,
    /// Of that, only these kinds: `run-failed`, `secret.rotated`; `secret-*` is all that begin so. Default: all.
    #[serde(default)]
    pub(crate) kinds: Vec<String>,
    /// Of that, only what is about rotations that have each of these labels. Default: all, and what is about no rotation.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "keywheel-name" }))]
    pub(crate) labels: BTreeMap<String, LabelText>,
    /// The title of a message, with places like `{title}` and `{subject}`. Default: as it is.
    #[schemars(length(min = 1, max = 500))]
    pub(crate) title: Option<String>,
    /// The text of a message, in the same way. Default: as it is.
    #[schemars(length(min = 1, max = 4000))]
    pub(crate) text: Option<String>,
    /// Where more stands, in the same way: `https://wiki.example.com/keywheel/{kind}`. Default: nothing.
    #[schemars(length(min = 1, max = 1000))]
    pub(crate) link: Option<String>,
}

/// The name of a secret in the vault.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    /// Its name.
    #[schemars(extend("format" = "keywheel-secret-name"))]
    pub(crate) secret: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    // A line in the host's own log.
    Log,
    // A program.
    Command,
    // An incoming webhook of Slack.
    Slack,
    // A webhook of Microsoft Teams' Workflows.
    Teams,
    // The Events API of PagerDuty.
    PagerDuty,
    // A webhook of one's own: CloudEvents, signed.
    Webhook,
    // Mail.
    Email,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MailTls {
    // On a connection that begins without; nothing is sent before.
    Starttls,
    // From the beginning.
    Implicit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Severity {
    Info,
    Warning,
    Error,
    Critical,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum About {
    // What needs a person, and that it does no more.
    Attention,
    // What happened to a run: a new credential is current, a run parked, failed or was taken back, a credential was put on again.
    Events,
    // That a run has begun.
    Started,
}
