//! What decides a request: a grant, or a rule of the host that no grant opens.

use std::net::IpAddr;

use keywheel_config::Rotation;
use keywheel_engine::OFFERED_CAPABILITIES;
use keywheel_manifest::{Capability, Manifest};
use keywheel_model::address::{Class, Host, classify};
use keywheel_policy::rules::{Rule, rule};
use keywheel_policy::{Decision, Denial, Destination, Request, Scope, Source, Transport};

use crate::cmd::policy::request::Words;

/// The answer.
pub(crate) enum Verdict {
    /// These lines allow it.
    Allowed(Vec<Source>),
    /// A grant would allow it, with other lines.
    Denied {
        file: String,
        lines: String,
        /// The code of the rule that refuses it.
        rule: &'static str,
    },
    /// No grant can allow it.
    Never { rule: String, why: String },
    /// The rule by itself, and what a grant can do about it.
    Ruled(&'static Rule),
}

/// What the rotation's plugin is, as far as its manifest can be read.
pub(crate) struct Asked<'a> {
    pub(crate) rotation: &'a Rotation,
    pub(crate) scope: &'a Scope<'a>,
    pub(crate) manifest: Option<&'a Manifest>,
}

impl Verdict {
    /// The code of the rule that refuses it, as the audit trail has it.
    pub(crate) fn rule(&self) -> Option<&str> {
        match self {
            Self::Allowed(_) => None,
            Self::Denied { rule, .. } => Some(rule),
            Self::Never { rule, .. } => Some(rule),
            Self::Ruled(rule) => Some(rule.code),
        }
    }

    fn never(rule: &str, why: impl Into<String>) -> Self {
        Self::Never {
            rule: rule.to_owned(),
            why: why.into(),
        }
    }
}

impl Asked<'_> {
    /// Decides as the host would. `None`: a call or a rule that there is not.
    pub(crate) fn decide(&self, words: &Words) -> Option<Verdict> {
        let above = match words {
            Words::Call(capability) => self.package(*capability),
            // Each of these three reaches a server.
            Words::Connect { .. } => self
                .package(Capability::Http)
                .and_then(|_| self.package(Capability::Net))
                .and_then(|_| self.package(Capability::Sql)),
            Words::Use(name) if *name == self.rotation.secret => {
                rule("vault.rotated").map(|rule| Verdict::never(rule.code, rule.says))
            }
            Words::Use(_) => self.package(Capability::Vault),
            Words::UseInput(input) if !self.rotation.inputs.contains_key(input) => {
                let why = format!("the rotation names no input `{input}`: its `inputs` do that");
                Some(Verdict::never("run.input", why))
            }
            Words::Reveal(_) => self.package(Capability::Plaintext),
            Words::Rule(code) => return rule(code).map(Verdict::Ruled),
            Words::Shape(_) | Words::UseOwn | Words::UseInput(_) => None,
        };
        if above.is_some() {
            return above;
        }
        let decision = words.decide(self.scope, self.manifest)?;
        Some(match (decision, words) {
            (Decision::Allow(permit), Words::Connect { host, address, .. }) => {
                let literal = host.parse().ok();
                let destination = permit.destination.unwrap_or_default();
                address
                    .or(literal)
                    .and_then(|address| self.closed(words, &destination, address))
                    .unwrap_or(Verdict::Allowed(permit.by))
            }
            (Decision::Allow(permit), _) => Verdict::Allowed(permit.by),
            (Decision::Deny(denial), _) => denied(denial, "policy.denied"),
        })
    }

    /// Why a package cannot be called, whatever is granted.
    fn package(&self, capability: Capability) -> Option<Verdict> {
        if !OFFERED_CAPABILITIES.contains(&capability) {
            let why = format!("this host does not offer `keywheel:{capability}`");
            return Some(Verdict::never("host.not-offered", why));
        }
        let manifest = self.manifest?;
        if manifest.capabilities.contains(&capability) {
            return None;
        }
        let why = format!(
            "the manifest of `{}` does not list `{capability}`; its author can add it to `capabilities`",
            manifest.name
        );
        Some(Verdict::never("manifest.capability", why))
    }

    /// Why an address is not dialled although its host is granted.
    fn closed(&self, words: &Words, destination: &Destination, address: IpAddr) -> Option<Verdict> {
        const CODE: &str = "net.forbidden-address";
        if let Class::Never(what) = classify(address) {
            return Some(Verdict::never(
                CODE,
                format!("{address} is closed for ever: {what}"),
            ));
        }
        let Words::Connect {
            host,
            port,
            transport,
            ..
        } = words
        else {
            return None;
        };
        let is_name = matches!(host.parse::<Host>(), Ok(ref host @ Host::Name(_)) if !host.is_localhost());
        if classify(address) == Class::Loopback && is_name {
            let why = format!(
                "a name other than `localhost` never leads to this machine: write {address} itself as the host"
            );
            return Some(Verdict::never(CODE, why));
        }
        if destination.admits(address) {
            return None;
        }
        Some(match self.lines_for(address, *port, *transport) {
            Some(denial) => denied(denial, CODE),
            None => Verdict::never(
                CODE,
                format!(
                    "{address} is granted by itself, and only for names that stand in the rotation's settings"
                ),
            ),
        })
    }

    fn lines_for(&self, address: IpAddr, port: u16, transport: Transport) -> Option<Denial> {
        let host = address.to_string();
        let request = Request::Connect {
            host: &host,
            port,
            transport,
        };
        self.scope.decide(request).into_result().err()
    }
}

fn denied(denial: Denial, refuses: &'static str) -> Verdict {
    let rule = denial.code();
    match denial.lines {
        Ok(lines) => Verdict::Denied {
            file: denial.file,
            lines,
            rule: refuses,
        },
        Err(why) => Verdict::never(rule, why.to_string()),
    }
}
