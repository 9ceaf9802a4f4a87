mod line;

use std::collections::BTreeMap;
use std::fmt;

use keywheel_manifest::{Capability, Shape};
use keywheel_model::{PluginName, RotationName, SecretName};
use serde_json::Value;

use crate::error::Error;
use crate::grant::{Grant, SecretRule, quoted};
use crate::host::{Destination, HostRule, ParseHostRuleError, Place, Transport};

/// All grants.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    grants: Vec<Grant>,
}

/// The rotation in which a plugin runs, as its configuration has it.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The plugin.
    pub plugin: &'a PluginName,
    /// The rotation.
    pub rotation: &'a RotationName,
    /// The plugin's configuration.
    pub configuration: &'a Value,
    /// The rotated secret.
    pub secret: &'a SecretName,
    /// The other secrets, by the name of the input.
    pub inputs: &'a BTreeMap<String, SecretName>,
}

/// A secret that a plugin wants to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretRef<'a> {
    /// A version of the rotated one.
    Own,
    /// An input.
    Input(&'a str),
    /// Another, by its name in the vault.
    Vault(&'a SecretName),
}

/// What a plugin wants.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// To call a package.
    Call(Capability),
    /// To connect. Asked before the name is looked up; the answer says which addresses may be dialled.
    Connect {
        /// Name or address.
        host: &'a str,
        /// Port.
        port: u16,
        /// How.
        transport: Transport,
    },
    /// To make a declared call.
    Shape(&'a Shape),
    /// To use a secret.
    Use(SecretRef<'a>),
    /// To read a secret in the clear.
    Reveal(&'a SecretName),
}

impl Request<'_> {
    /// As `keywheel policy explain` takes it. What no host may be called is escaped, and stays what no host may be called.
    pub fn words(&self) -> String {
        match self {
            Self::Call(capability) => format!("call {capability}"),
            Self::Connect {
                host,
                port,
                transport,
            } => format!(
                "connect {}:{port} {transport}",
                bracketed(&host.escape_debug().to_string())
            ),
            Self::Shape(shape) => format!("shape {}", shape.id()),
            Self::Use(SecretRef::Own) => "use {secret}".to_owned(),
            Self::Use(SecretRef::Input(input)) => format!("use {{input:{input}}}"),
            Self::Use(SecretRef::Vault(name)) => format!("use {name}"),
            Self::Reveal(name) => format!("reveal {name}"),
        }
    }
}

/// A host as it stands before a port.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow(Permit),
    /// No, and what would change that.
    Deny(Denial),
}

/// A yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// What allows it, of each grant that counts; all of them do.
    pub by: Vec<Source>,
    /// For [`Request::Connect`]: the addresses that may be dialled.
    pub destination: Option<Destination>,
}

/// A line of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub file: String,
    /// The line, with the entry alone that allows it, like `hosts = ["db.internal:5432 tls"]`.
    pub line: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.line)
    }
}

/// A no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// What was asked.
    pub what: String,
    /// The file to change.
    pub file: String,
    /// The lines as they should read there; or why no line can allow it.
    pub lines: Result<String, ParseHostRuleError>,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.lines {
            Ok(lines) => write!(
                f,
                "{} is not granted; to allow it, write in {}:\n{lines}",
                self.what, self.file
            ),
            Err(why) => write!(
                f,
                "{} is not granted, and no grant can allow it: {why}",
                self.what
            ),
        }
    }
}

impl std::error::Error for Denial {}

impl Denial {
    /// Stable, dotted, lower case.
    pub fn code(&self) -> &'static str {
        "policy.denied"
    }

    /// The way out.
    pub fn hint(&self) -> String {
        match &self.lines {
            Ok(lines) => format!("write in {}:\n{lines}", self.file),
            Err(_) => "correct the host or the port in the rotation's settings".to_owned(),
        }
    }
}

impl Decision {
    /// As a result.
    ///
    /// # Errors
    /// The denial.
    pub fn into_result(self) -> Result<Permit, Denial> {
        match self {
            Self::Allow(permit) => Ok(permit),
            Self::Deny(denial) => Err(denial),
        }
    }
}

impl Policy {
    /// Reads grant files: (name for messages, text).
    ///
    /// # Errors
    /// The first file with problems, with all of them; or two files for the same plugin and rotation.
    pub fn load<'t>(files: impl IntoIterator<Item = (&'t str, &'t str)>) -> Result<Self, Error> {
        let grants = files
            .into_iter()
            .map(|(file, text)| Grant::from_toml(file, text))
            .collect::<Result<Vec<_>, _>>()?;
        Self::of(grants)
    }

    /// Of grants that are already read.
    ///
    /// # Errors
    /// Two for the same plugin and rotation.
    pub fn of(grants: Vec<Grant>) -> Result<Self, Error> {
        for (at, grant) in grants.iter().enumerate() {
            let twin = grants[..at]
                .iter()
                .find(|before| before.plugin == grant.plugin && before.rotation == grant.rotation);
            if let Some(twin) = twin {
                return Err(Error::Twice {
                    first: twin.file.clone(),
                    second: grant.file.clone(),
                    plugin: grant.plugin.clone(),
                    rotation: grant.rotation.clone(),
                });
            }
        }
        Ok(Self { grants })
    }

    /// All grants.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// The grant of a plugin for all rotations.
    pub fn grant(&self, plugin: &PluginName) -> Option<&Grant> {
        self.grants
            .iter()
            .find(|grant| &grant.plugin == plugin && grant.rotation.is_none())
    }

    /// The grants that count for one rotation. Where there is one for the plugin and one for the rotation, both must allow:
    /// the narrower one only takes away.
    pub fn scope<'a>(&'a self, binding: Binding<'a>) -> Scope<'a> {
        let counts = |grant: &&Grant| {
            &grant.plugin == binding.plugin
                && grant
                    .rotation
                    .as_ref()
                    .is_none_or(|rotation| rotation == binding.rotation)
        };
        Scope {
            grants: self.grants.iter().filter(counts).collect(),
            binding,
        }
    }

    /// Shorthand for [`Policy::scope`] and [`Scope::decide`].
    pub fn decide(&self, binding: Binding<'_>, request: Request<'_>) -> Decision {
        self.scope(binding).decide(request)
    }
}

/// The grants that count for one rotation: none, one, or one for the plugin and one for the rotation.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    grants: Vec<&'a Grant>,
    binding: Binding<'a>,
}

impl Scope<'_> {
    /// Whether no grant counts: nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    /// Whether one of them is for this rotation alone.
    pub fn is_narrowed(&self) -> bool {
        self.grants.iter().any(|grant| grant.rotation.is_some())
    }

    /// Decides. Nothing is allowed that no grant names.
    pub fn decide(&self, request: Request<'_>) -> Decision {
        if self.grants.is_empty() {
            let file = format!("policies/{}.toml", self.binding.plugin);
            let lines = Self::lines(None, request)
                .map(|lines| format!("plugin = \"{}\"\n{lines}", self.binding.plugin));
            return Decision::Deny(Denial {
                what: describe(request),
                file,
                lines,
            });
        }
        let mut by = Vec::new();
        for grant in &self.grants {
            let Some(line) = line::allowing(grant, &self.binding, request) else {
                return Decision::Deny(Denial {
                    what: describe(request),
                    file: grant.file.clone(),
                    lines: Self::lines(Some(grant), request),
                });
            };
            by.push(Source {
                file: grant.file.clone(),
                line,
            });
        }
        let Request::Connect {
            host,
            port,
            transport,
        } = request
        else {
            return Decision::Allow(Permit {
                by,
                destination: None,
            });
        };
        let place = Place {
            host,
            port,
            transport,
            configuration: self.binding.configuration,
        };
        let more = self.grants.get(1).map(|grant| grant.hosts.as_slice());
        let destination = Destination::both(&self.grants[0].hosts, more, &place);
        if destination.is_open() {
            return Decision::Allow(Permit {
                by,
                destination: Some(destination),
            });
        }
        // Each grant opens the place, but they have no address in common.
        let last = self.grants[self.grants.len() - 1];
        Decision::Deny(Denial {
            what: describe(request),
            file: last.file.clone(),
            lines: Self::lines(Some(last), request),
        })
    }

    fn lines(grant: Option<&Grant>, request: Request<'_>) -> Result<String, ParseHostRuleError> {
        let list = |key: &str, before: String, more: &str| {
            let more = quoted(std::iter::once(more));
            if before.is_empty() {
                format!("{key} = [{more}]")
            } else {
                format!("{key} = [{before}, {more}]")
            }
        };
        Ok(match request {
            Request::Call(capability) => list(
                "capabilities",
                grant
                    .map(|grant| quoted(grant.capabilities.iter()))
                    .unwrap_or_default(),
                capability.as_str(),
            ),
            Request::Connect {
                host,
                port,
                transport,
            } => {
                let rule = format!("{}:{port} {transport}", bracketed(host));
                let _: HostRule = rule.parse()?;
                list(
                    "hosts",
                    grant.map(|grant| quoted(grant.hosts.iter())).unwrap_or_default(),
                    &rule,
                )
            }
            Request::Shape(shape) => format!("[shapes]\n{} = \"{}\"", shape.id(), shape.digest()),
            Request::Use(secret) => {
                let rule = match secret {
                    SecretRef::Own => SecretRule::Own,
                    SecretRef::Input(input) => SecretRule::Input(input.to_owned()),
                    SecretRef::Vault(name) => SecretRule::Vault(name.to_string()),
                };
                list(
                    "secrets",
                    grant
                        .map(|grant| quoted(grant.secrets.iter()))
                        .unwrap_or_default(),
                    &rule.to_string(),
                )
            }
            Request::Reveal(name) => list(
                "reveal",
                grant.map(|grant| quoted(grant.reveal.iter())).unwrap_or_default(),
                name.as_str(),
            ),
        })
    }

    /// What is allowed in this rotation, for people: one line each, the configuration's values filled in.
    pub fn explain(&self) -> Vec<String> {
        let binding = &self.binding;
        let mut lines = vec![format!(
            "plugin {} in rotation {}:",
            binding.plugin, binding.rotation
        )];
        if self.grants.is_empty() {
            lines.push("  nothing: no grant names it".to_owned());
        }
        if self.grants.len() > 1 {
            lines.push("  what both of these files allow:".to_owned());
        }
        for grant in &self.grants {
            lines.push(format!("  {}:", grant.file));
            let mut entry = |what: &str, items: Vec<String>| {
                lines.push(format!(
                    "    {what}: {}",
                    if items.is_empty() {
                        "none".to_owned()
                    } else {
                        items.join(", ")
                    }
                ));
            };
            entry(
                "calls",
                grant.capabilities.iter().map(ToString::to_string).collect(),
            );
            entry(
                "connects to",
                grant
                    .hosts
                    .iter()
                    .flat_map(|rule| rule.explain(binding.configuration))
                    .collect(),
            );
            let secret = |rule: &SecretRule| match rule {
                SecretRule::Own => format!("{} (the rotated one)", binding.secret),
                SecretRule::Input(input) => match binding.inputs.get(input) {
                    Some(name) => format!("{name} (input {input})"),
                    None => format!("input {input} (not configured)"),
                },
                SecretRule::Vault(glob) => glob.clone(),
            };
            entry("uses", grant.secrets.iter().map(secret).collect());
            entry("makes the calls", grant.shapes.keys().cloned().collect());
            entry(
                "reads in the clear",
                grant.reveal.iter().map(ToString::to_string).collect(),
            );
        }
        lines
    }
}

fn describe(request: Request<'_>) -> String {
    match request {
        Request::Call(capability) => format!("calling `keywheel:{capability}`"),
        Request::Connect {
            host,
            port,
            transport,
        } => format!("connecting to {}:{port} with {transport}", host.escape_debug()),
        Request::Shape(shape) => format!(
            "the call `{}` ({}) as the plugin declares it now",
            shape.id(),
            shape.kind()
        ),
        Request::Use(SecretRef::Own) => "using the rotated secret".to_owned(),
        Request::Use(SecretRef::Input(input)) => format!("using the input `{}`", input.escape_debug()),
        Request::Use(SecretRef::Vault(name)) => format!("using the secret {name}"),
        Request::Reveal(name) => format!("reading {name} in the clear"),
    }
}
