//! A sink as it is reached now: what the configuration says of it, and what opens the way from the vault.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use keywheel_config::{Email, Notify, NotifyKind, Way as Configured};
use keywheel_model::{SecretBytes, SecretName, VersionId};
use keywheel_notify::{
    Channel, Command, Error, Mail, PAGERDUTY, RoutingKey, Sender, SigningKey, Sink, Url, Way,
};
use keywheel_vault::{Head, Vault as _};

use crate::capabilities;
use crate::engine::Inner;

/// Where the kernel says how this machine is called.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// A sink, and what it is reached by.
pub(super) struct Reached {
    pub(super) sink: Sink,
    /// The versions of its secrets that were read.
    pub(super) versions: Versions,
}

/// Versions of secrets, by their names.
pub(crate) type Versions = Vec<(SecretName, VersionId)>;

/// Who tells.
pub(super) fn sender(inner: &Inner) -> Sender {
    let host = fs::read_to_string(HOST_NAME).unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "localhost" } else { host };
    Sender {
        name: format!("keywheel@{host}"),
        store: inner.store.id().to_owned(),
    }
}

impl Inner {
    /// The sink, with what opens the way to it.
    pub(super) async fn reach(&self, sink: &Notify) -> Result<Reached, Error> {
        let mut held = Held {
            inner: self,
            versions: Versions::new(),
        };
        let reached = match &sink.kind {
            NotifyKind::Log => Sink::Log,
            NotifyKind::Command {
                program,
                arguments,
                timeout,
            } => Sink::Command(Command {
                program: program.clone(),
                arguments: arguments.clone(),
                timeout: *timeout,
            }),
            NotifyKind::Channel { way, trust, timeout } => {
                Sink::Channel(self.channel(&mut held, way, trust.as_deref(), *timeout).await?)
            }
        };
        Ok(Reached {
            sink: reached,
            versions: held.versions,
        })
    }

    async fn channel(
        &self,
        held: &mut Held<'_>,
        way: &Configured,
        trust: Option<&str>,
        timeout: Duration,
    ) -> Result<Channel, Error> {
        let way = match way {
            Configured::Slack { url } => Way::Slack {
                url: held.url(url).await?,
            },
            Configured::Teams { url } => Way::Teams {
                url: held.url(url).await?,
            },
            Configured::PagerDuty { key, endpoint } => Way::PagerDuty {
                url: endpoint_of(endpoint.as_deref(), key)?,
                key: held
                    .current(key)
                    .await
                    .and_then(|value| fits(key, RoutingKey::parse(value)))?,
            },
            Configured::Webhook { url, key } => Way::Webhook {
                url: held.url(url).await?,
                keys: held.signing_keys(key).await?,
            },
            Configured::Email(email) => Way::Mail(Box::new(held.mail(email).await?)),
        };
        Ok(Channel {
            way,
            sender: sender(self),
            trust: Arc::new(capabilities::roots(&self.config)),
            trusted: trust.map(str::to_owned),
            timeout,
            now: self.clock.now(),
        })
    }

    /// The versions of a sink's secrets that are there now.
    pub(crate) async fn versions_of(&self, sink: &Notify) -> Versions {
        let mut versions = Versions::new();
        for name in sink.secrets() {
            if let Ok(head) = self.vault.live(name, &[]).await {
                versions.extend(head.current().map(|version| (name.clone(), version.id.clone())));
            }
        }
        versions
    }
}

fn endpoint_of(endpoint: Option<&str>, key: &SecretName) -> Result<Url, Error> {
    let text = endpoint.unwrap_or(PAGERDUTY);
    fits(key, Url::parse(&SecretBytes::copy_of(text.as_bytes())))
}

fn fits<T>(secret: &SecretName, parsed: Result<T, &'static str>) -> Result<T, Error> {
    parsed.map_err(|what| Error::Unfit {
        secret: secret.to_string(),
        what,
    })
}

/// What is read from the vault for one sink.
struct Held<'i> {
    inner: &'i Inner,
    versions: Versions,
}

impl Held<'_> {
    async fn mail(&mut self, email: &Email) -> Result<Mail, Error> {
        let login = match &email.login {
            Some((user, password)) => Some((user.clone(), self.current(password).await?)),
            None => None,
        };
        Ok(Mail {
            host: email.host.clone(),
            port: email.port,
            implicit: email.implicit,
            login,
            from: email.from.clone(),
            to: email.to.clone(),
        })
    }

    async fn url(&mut self, secret: &SecretName) -> Result<Url, Error> {
        let value = self.current(secret).await?;
        fits(secret, Url::parse(&value))
    }

    /// Of the current version, and of the one before as long as that is kept: a receiver that has not been told of the new key yet goes by the old one.
    async fn signing_keys(&mut self, secret: &SecretName) -> Result<Vec<SigningKey>, Error> {
        let head = self.head(secret).await?;
        let current = self.current_of(secret, &head).await?;
        let mut keys = vec![fits(secret, SigningKey::parse(&current))?];
        if let Some(previous) = head.previous() {
            let value = self.value(secret, &previous.id).await?;
            keys.extend(SigningKey::parse(&value).ok());
        }
        Ok(keys)
    }

    async fn current(&mut self, secret: &SecretName) -> Result<SecretBytes, Error> {
        let head = self.head(secret).await?;
        self.current_of(secret, &head).await
    }

    async fn head(&self, secret: &SecretName) -> Result<Head, Error> {
        let secret_name = secret.to_string();
        if self.inner.vault.is_sealed() {
            return Err(Error::Sealed { secret: secret_name });
        }
        let head = self.inner.vault.live(secret, &[]).await;
        head.map_err(|error| Error::Unreadable {
            secret: secret_name,
            code: error.code().to_owned(),
        })
    }

    async fn current_of(&mut self, secret: &SecretName, head: &Head) -> Result<SecretBytes, Error> {
        let Some(current) = head.current() else {
            return Err(Error::NoSecret {
                secret: secret.to_string(),
            });
        };
        self.value(secret, &current.id).await
    }

    async fn value(&mut self, secret: &SecretName, version: &VersionId) -> Result<SecretBytes, Error> {
        let value = self.inner.vault.read(secret, version).await;
        let value = value.map_err(|error| Error::Unreadable {
            secret: secret.to_string(),
            code: error.code().to_owned(),
        })?;
        self.versions.push((secret.clone(), version.clone()));
        Ok(value)
    }
}
