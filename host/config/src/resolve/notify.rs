//! Sinks of notices.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use keywheel_model::SecretName;
use keywheel_model::address::Host;

use super::Resolver;
use crate::document::At;
use crate::raw::notify::{About, Kept, Kind, MailTls, Notify as Raw, Severity};
use crate::sink::{Email, NOTICE_NAMES, Notify, NotifyKind, Route, SEVERITIES, Way, Wording};

const TIMEOUT: Duration = Duration::from_secs(30);

/// The port of mail servers whose TLS begins with the connection (RFC 8314).
const IMPLICIT: u16 = 465;

/// RFC 5321 has no longer ones.
const ADDRESS_BYTES: usize = 320;

impl Resolver {
    pub(super) fn notify(&mut self) -> Vec<Notify> {
        let raw: Vec<Raw> = self.section("/notify").unwrap_or_default();
        let mut names = BTreeSet::new();
        let sinks = raw.into_iter().enumerate();
        sinks
            .map(|(at, sink)| {
                let pointer = format!("/notify/{at}");
                if !names.insert(sink.name.clone()) {
                    let message = format!("there are two sinks with the name {:?}", sink.name);
                    let hint = "give each a name of its own".to_owned();
                    self.report(
                        At::Value(&format!("{pointer}/name")),
                        "config.value",
                        message,
                        Some(hint),
                    );
                }
                self.unused(&pointer, &sink);
                let kind = self.notify_kind(&pointer, &sink);
                let about = sink.about.as_deref().unwrap_or(&[About::Attention]);
                Notify {
                    kind,
                    attention: about.contains(&About::Attention),
                    events: about.contains(&About::Events),
                    started: about.contains(&About::Started),
                    route: route(&sink),
                    wording: self.wording(&pointer, &sink),
                    name: sink.name,
                }
            })
            .collect()
    }

    /// Keys that its kind has no use for.
    fn unused(&mut self, pointer: &str, sink: &Raw) {
        use Kind::{Command, Email, PagerDuty, Slack, Teams, Webhook};
        const CHANNELS: [Kind; 5] = [Slack, Teams, PagerDuty, Webhook, Email];
        let others = [&CHANNELS[..], &[Command]].concat();
        let keys: [(&str, bool, &[Kind]); 15] = [
            ("command", !sink.command.is_empty(), &[Command]),
            ("timeout", sink.timeout.is_some(), &others),
            ("url", sink.url.is_some(), &[Slack, Teams, Webhook]),
            ("key", sink.key.is_some(), &[PagerDuty, Webhook]),
            ("endpoint", sink.endpoint.is_some(), &[PagerDuty]),
            ("server", sink.server.is_some(), &[Email]),
            ("tls", sink.tls.is_some(), &[Email]),
            ("user", sink.user.is_some(), &[Email]),
            ("password", sink.password.is_some(), &[Email]),
            ("from", sink.from.is_some(), &[Email]),
            ("trust", sink.trust.is_some(), &CHANNELS),
            ("title", sink.title.is_some(), &CHANNELS),
            ("text", sink.text.is_some(), &CHANNELS),
            ("link", sink.link.is_some(), &CHANNELS),
            ("to", !sink.to.is_empty(), &[Email]),
        ];
        for (key, _, of) in keys
            .into_iter()
            .filter(|(_, is_there, of)| *is_there && !of.contains(&sink.kind))
        {
            let of: Vec<String> = of.iter().map(|kind| format!("\"{}\"", word(*kind))).collect();
            self.report(
                At::Value(&format!("{pointer}/{key}")),
                "config.value",
                format!("`{key}` is of `kind` {} alone", of.join(", ")),
                None,
            );
        }
    }

    fn notify_kind(&mut self, pointer: &str, sink: &Raw) -> NotifyKind {
        let timeout = self.duration(
            &format!("{pointer}/timeout"),
            sink.timeout.as_deref(),
            TIMEOUT,
            (Duration::from_secs(1), Duration::from_mins(5)),
        );
        let way = match sink.kind {
            Kind::Log => return NotifyKind::Log,
            Kind::Command => return self.command(pointer, sink, timeout),
            Kind::Slack => self
                .kept(pointer, "url", sink.url.as_ref())
                .map(|url| Way::Slack { url }),
            Kind::Teams => self
                .kept(pointer, "url", sink.url.as_ref())
                .map(|url| Way::Teams { url }),
            Kind::PagerDuty => {
                let endpoint = self.endpoint(pointer, sink.endpoint.as_deref());
                let key = self.kept(pointer, "key", sink.key.as_ref());
                key.map(|key| Way::PagerDuty { key, endpoint })
            }
            Kind::Webhook => {
                let url = self.kept(pointer, "url", sink.url.as_ref());
                let key = self.kept(pointer, "key", sink.key.as_ref());
                url.zip(key).map(|(url, key)| Way::Webhook { url, key })
            }
            Kind::Email => self.email(pointer, sink).map(Way::Email),
        };
        self.known_trust(pointer, sink.trust.as_deref());
        // What is wrong was reported: the configuration is not taken.
        way.map_or(NotifyKind::Log, |way| NotifyKind::Channel {
            way,
            trust: sink.trust.clone(),
            timeout,
        })
    }

    fn command(&mut self, pointer: &str, sink: &Raw, timeout: Duration) -> NotifyKind {
        let program = sink.command.first().map(PathBuf::from).unwrap_or_default();
        if !program.is_absolute() {
            let at = if sink.command.is_empty() {
                pointer.to_owned()
            } else {
                format!("{pointer}/command/0")
            };
            self.report(
                At::Value(&at),
                "config.value",
                "`command` begins with no whole path of a program".to_owned(),
                Some("like command = [\"/usr/local/bin/page\", \"--from\", \"keywheel\"]".to_owned()),
            );
        }
        NotifyKind::Command {
            program,
            arguments: sink.command.iter().skip(1).cloned().collect(),
            timeout,
        }
    }

    /// A secret that it cannot be without.
    fn kept(&mut self, pointer: &str, key: &str, kept: Option<&Kept>) -> Option<SecretName> {
        let Some(kept) = kept else {
            self.missing(
                pointer,
                key,
                &format!("like {key} = {{ secret = \"notify/{key}\" }}, the name of a secret in the vault"),
            );
            return None;
        };
        // A name that is none was reported with the structure.
        kept.secret.parse().ok()
    }

    fn missing(&mut self, pointer: &str, key: &str, hint: &str) {
        let message = format!("this kind of sink needs `{key}`");
        self.report(
            At::Key(pointer),
            "config.missing-key",
            message,
            Some(hint.to_owned()),
        );
    }

    fn known_trust(&mut self, pointer: &str, trust: Option<&str>) {
        let Some(trust) = trust else { return };
        let known = self.document.json().pointer("/trust");
        if known.is_none_or(|known| known.get(trust).is_none()) {
            self.report(
                At::Value(&format!("{pointer}/trust")),
                "config.value",
                format!("no trust set has the name {trust:?}"),
                Some(format!("`[trust.{trust}]` with `pem = [...]` makes one")),
            );
        }
    }

    fn endpoint(&mut self, pointer: &str, endpoint: Option<&str>) -> Option<String> {
        let endpoint = endpoint?;
        let place = endpoint.strip_prefix("https://").map(|place| {
            let (host, port) = place.rsplit_once(':').unwrap_or((place, "443"));
            host.parse::<Host>().is_ok() && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if place != Some(true) {
            self.report(
                At::Value(&format!("{pointer}/endpoint")),
                "config.value",
                "it is no https URL of a host alone".to_owned(),
                Some("like endpoint = \"https://events.eu.pagerduty.com\"".to_owned()),
            );
        }
        Some(endpoint.to_owned())
    }

    fn email(&mut self, pointer: &str, sink: &Raw) -> Option<Email> {
        let server = self.server(pointer, sink.server.as_deref());
        let login = match (&sink.user, &sink.password) {
            (Some(user), Some(password)) => password
                .secret
                .parse()
                .ok()
                .map(|password| (user.clone(), password)),
            (None, None) => None,
            _ => {
                let message = "`user` and `password` are there together, or neither is".to_owned();
                self.report(At::Key(pointer), "config.value", message, None);
                None
            }
        };
        let from = sink.from.clone();
        if from.is_none() {
            self.missing(pointer, "from", "like from = \"keywheel@example.com\"");
        }
        if sink.to.is_empty() {
            self.missing(pointer, "to", "like to = [\"ops@example.com\"]");
        }
        let written = from.iter().map(|from| ("from".to_owned(), from));
        let addressed = sink
            .to
            .iter()
            .enumerate()
            .map(|(at, to)| (format!("to/{at}"), to));
        for (key, address) in written.chain(addressed) {
            if !is_address(address) {
                let message = "it is no address of mail".to_owned();
                let hint = "like \"ops@example.com\", or \"Operations <ops@example.com>\"".to_owned();
                self.report(
                    At::Value(&format!("{pointer}/{key}")),
                    "config.value",
                    message,
                    Some(hint),
                );
            }
        }
        let (host, port) = server?;
        Some(Email {
            host,
            port,
            implicit: sink.tls.map_or(port == IMPLICIT, |tls| tls == MailTls::Implicit),
            login,
            from: from?,
            to: sink.to.clone(),
        })
    }

    fn server(&mut self, pointer: &str, server: Option<&str>) -> Option<(Host, u16)> {
        const LIKE: &str = "like server = \"mail.internal:587\"";
        let Some(server) = server else {
            self.missing(pointer, "server", LIKE);
            return None;
        };
        let parsed = server.rsplit_once(':').and_then(|(host, port)| {
            let port = port.parse().ok().filter(|port: &u16| *port > 0)?;
            Some((host.parse::<Host>().ok()?, port))
        });
        if parsed.is_none() {
            let message = "it is no host with a port".to_owned();
            self.report(
                At::Value(&format!("{pointer}/server")),
                "config.value",
                message,
                Some(LIKE.to_owned()),
            );
        }
        parsed
    }

    fn wording(&mut self, pointer: &str, sink: &Raw) -> Wording {
        for (key, text) in [("title", &sink.title), ("text", &sink.text), ("link", &sink.link)] {
            let Some(unknown) = text.as_deref().and_then(unknown_name) else {
                continue;
            };
            let names = NOTICE_NAMES.map(|name| format!("{{{name}}}")).join(", ");
            self.report(
                At::Value(&format!("{pointer}/{key}")),
                "config.value",
                format!("{{{unknown}}} stands for nothing"),
                Some(format!("there are {names}")),
            );
        }
        if let Some(link) = &sink.link
            && !(link.starts_with("https://") || link.starts_with("http://"))
        {
            let message = "it begins with neither https:// nor http://".to_owned();
            self.report(
                At::Value(&format!("{pointer}/link")),
                "config.value",
                message,
                None,
            );
        }
        Wording {
            title: sink.title.clone(),
            text: sink.text.clone(),
            link: sink.link.clone(),
        }
    }
}

/// Of the words in braces the first that stands for nothing.
fn unknown_name(text: &str) -> Option<&str> {
    let names = text.split('{').skip(1);
    let mut names = names.filter_map(|rest| rest.split_once('}').map(|(name, _)| name));
    names.find(|name| !NOTICE_NAMES.contains(name))
}

/// Whether it has the form of one; what is within is the mail server's business.
fn is_address(text: &str) -> bool {
    let bare = text
        .rsplit_once('<')
        .map_or(text, |(_, rest)| rest.trim_end_matches('>'));
    let parts = bare.rsplit_once('@');
    text.len() <= ADDRESS_BYTES
        && !text.chars().any(char::is_control)
        && !bare.contains(char::is_whitespace)
        && parts.is_some_and(|(user, domain)| !user.is_empty() && domain.parse::<Host>().is_ok())
}

fn route(sink: &Raw) -> Route {
    let severities = sink.severities.iter().map(|severity| match severity {
        Severity::Info => SEVERITIES[0],
        Severity::Warning => SEVERITIES[1],
        Severity::Error => SEVERITIES[2],
        Severity::Critical => SEVERITIES[3],
    });
    let labels: BTreeMap<_, _> = sink
        .labels
        .iter()
        .map(|(name, text)| (name.clone(), text.0.clone()))
        .collect();
    Route {
        severities: severities.collect(),
        kinds: sink.kinds.clone(),
        labels,
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Log => "log",
        Kind::Command => "command",
        Kind::Slack => "slack",
        Kind::Teams => "teams",
        Kind::PagerDuty => "pagerduty",
        Kind::Webhook => "webhook",
        Kind::Email => "email",
    }
}
