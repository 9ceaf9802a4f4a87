//! Table tests: what a grant must allow and what it must deny, as rows of a TOML file.
//!
//! ```toml
//! plugin = "redis"
//! rotation = "cache"
//! secret = "cache/app"
//! inputs = { admin = "cache/admin" }
//! configuration = { nodes = [{ host = "r1", port = 6379 }] }
//!
//! [[case]]
//! connect = "r1:6379 tls"      # or call = "net", use = "{input:admin}", shape = "auth", reveal = "cache/app"
//! address = "10.0.0.1"         # for connect: what the name resolved to
//! expect = "allow"
//!
//! [[case]]
//! connect = "r1:6379 plaintext"
//! expect = "deny"
//! lines = 'hosts = ["{/nodes/*/host}:{/nodes/*/port} tls", "r1:6379 plaintext"]'
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;

use keywheel_manifest::reader::{Fields, Problems, join, toml_to_json};
use keywheel_manifest::{Capability, Manifest};
use keywheel_model::{PluginName, RotationName, SecretName};
use serde_json::Value;

use crate::decide::{Binding, Decision, Policy, Request, SecretRef};
use crate::error::Error;
use crate::grant::SecretRule;
use crate::host::Transport;

/// One table: a rotation and its rows.
#[derive(Clone, Debug)]
pub struct Table {
    plugin: PluginName,
    rotation: RotationName,
    secret: SecretName,
    inputs: BTreeMap<String, SecretName>,
    configuration: Value,
    cases: Vec<Case>,
}

#[derive(Clone, Debug)]
struct Case {
    asked: Asked,
    allow: bool,
    lines: Option<String>,
}

#[derive(Clone, Debug)]
enum Asked {
    Call(Capability),
    Connect {
        place: String,
        host: String,
        port: u16,
        transport: Transport,
        address: Option<IpAddr>,
    },
    Shape(String),
    Use(SecretRule, Option<SecretName>),
    Reveal(SecretName),
}

/// How one row ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseResult {
    /// What was asked and what was expected, for people.
    pub case: String,
    /// What came instead; `None` is a row that holds.
    pub failure: Option<String>,
}

impl Table {
    /// Reads a table. `file` names it in messages.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every problem and its place.
    pub fn from_toml(file: &str, text: &str) -> Result<Self, Error> {
        let invalid = |problems| Error::Invalid {
            file: file.to_owned(),
            problems,
        };
        let document = toml_to_json(text).map_err(invalid)?;
        let mut problems = Problems::default();
        match read(&document, &mut problems) {
            Some(table) if problems.is_empty() => Ok(table),
            _ => Err(invalid(problems.into_list(Some(text)))),
        }
    }

    /// The plugin that it is about.
    pub fn plugin(&self) -> &PluginName {
        &self.plugin
    }

    /// Asks the policy each row. Shapes are those of `manifest`, as the plugin has them now.
    pub fn run(&self, policy: &Policy, manifest: &Manifest) -> Vec<CaseResult> {
        let binding = Binding {
            plugin: &self.plugin,
            rotation: &self.rotation,
            configuration: &self.configuration,
            secret: &self.secret,
            inputs: &self.inputs,
        };
        self.cases
            .iter()
            .map(|case| case.run(policy, binding, manifest))
            .collect()
    }
}

impl Case {
    fn run(&self, policy: &Policy, binding: Binding<'_>, manifest: &Manifest) -> CaseResult {
        let (what, request) = match &self.asked {
            Asked::Call(capability) => (format!("call {capability}"), Some(Request::Call(*capability))),
            Asked::Connect {
                place,
                host,
                port,
                transport,
                address,
            } => {
                let address = address
                    .map(|address| format!(" at {address}"))
                    .unwrap_or_default();
                (
                    format!("connect {place}{address}"),
                    Some(Request::Connect {
                        host,
                        port: *port,
                        transport: *transport,
                    }),
                )
            }
            Asked::Shape(id) => (format!("shape {id}"), manifest.shape(id).map(Request::Shape)),
            Asked::Use(SecretRule::Own, _) => ("use {secret}".to_owned(), Some(Request::Use(SecretRef::Own))),
            Asked::Use(rule @ SecretRule::Input(name), _) => {
                (format!("use {rule}"), Some(Request::Use(SecretRef::Input(name))))
            }
            Asked::Use(rule, name) => (
                format!("use {rule}"),
                name.as_ref().map(|name| Request::Use(SecretRef::Vault(name))),
            ),
            Asked::Reveal(name) => (format!("reveal {name}"), Some(Request::Reveal(name))),
        };
        let case = format!("{what}: {}", if self.allow { "allow" } else { "deny" });
        let failure = match request {
            None => Some("the plugin's manifest has no such shape".to_owned()),
            Some(request) => self.compare(policy.decide(binding, request)),
        };
        CaseResult { case, failure }
    }

    fn compare(&self, decision: Decision) -> Option<String> {
        let address = if let Asked::Connect { address, .. } = &self.asked {
            *address
        } else {
            None
        };
        match decision {
            Decision::Allow(permit) => {
                let refused = address.filter(|address| {
                    !permit
                        .destination
                        .is_some_and(|destination| destination.admits(*address))
                });
                match (self.allow, refused) {
                    (true, Some(address)) => Some(format!("the place is allowed, {address} is not")),
                    (false, None) => {
                        let by: Vec<String> = permit.by.iter().map(ToString::to_string).collect();
                        Some(format!("allowed by {}", by.join(" and ")))
                    }
                    _ => None,
                }
            }
            Decision::Deny(denial) if self.allow => Some(denial.to_string()),
            Decision::Deny(denial) => {
                let printed = denial.lines.unwrap_or_else(|why| format!("none: {why}"));
                match &self.lines {
                    Some(lines) if lines.trim() == printed.trim() => None,
                    Some(_) => Some(format!("denied, with other lines:\n{printed}")),
                    None => Some(format!("denied; write the lines into the table:\n{printed}")),
                }
            }
        }
    }
}

fn read(document: &Value, problems: &mut Problems) -> Option<Table> {
    let mut fields = Fields::of(document, "", problems)?;
    let plugin = fields.required_parsed("plugin", problems);
    let rotation = fields.required_parsed("rotation", problems);
    let secret = fields.required_parsed("secret", problems);
    let mut inputs = BTreeMap::new();
    for (input, name) in fields.table("inputs", problems).into_iter().flatten() {
        match name.as_str().map(str::parse) {
            Some(Ok(name)) => drop(inputs.insert(input.clone(), name)),
            _ => problems.add(join("inputs", input), "expected the name of a secret"),
        }
    }
    let configuration = fields.required("configuration", problems).cloned();
    let mut cases = Vec::new();
    for (at, value) in fields.list("case", problems).iter().enumerate() {
        cases.extend(read_case(value, format!("case[{at}]"), problems));
    }
    fields.finish(problems);
    Some(Table {
        plugin: plugin?,
        rotation: rotation?,
        secret: secret?,
        inputs,
        configuration: configuration?,
        cases,
    })
}

fn read_case(value: &Value, path: String, problems: &mut Problems) -> Option<Case> {
    let mut fields = Fields::of(value, path.clone(), problems)?;
    let mut asked = Vec::new();
    asked.extend(fields.parsed("call", problems).map(Asked::Call));
    let address = fields.parsed("address", problems);
    let place = fields.text("connect", problems);
    asked.extend(place.and_then(|place| {
        let connect = read_place(place, address);
        if connect.is_none() {
            problems.add(fields.path("connect"), "expected such as `db:5432 tls`");
        }
        connect
    }));
    asked.extend(
        fields
            .text("shape", problems)
            .map(|id| Asked::Shape(id.to_owned())),
    );
    let used: Option<SecretRule> = fields.parsed("use", problems);
    asked.extend(used.map(|rule| {
        let name = if let SecretRule::Vault(name) = &rule {
            name.parse().ok()
        } else {
            None
        };
        Asked::Use(rule, name)
    }));
    asked.extend(fields.parsed("reveal", problems).map(Asked::Reveal));
    let allow = match fields.required_text("expect", problems) {
        Some("allow") => Some(true),
        Some("deny") => Some(false),
        Some(_) => {
            problems.add(fields.path("expect"), "expected `allow` or `deny`");
            None
        }
        None => None,
    };
    let lines = fields.text("lines", problems).map(str::to_owned);
    fields.finish(problems);
    if asked.len() != 1 {
        problems.add(
            path,
            "a case asks for one of `call`, `connect`, `use`, `shape`, `reveal`",
        );
    }
    Some(Case {
        asked: asked.pop()?,
        allow: allow?,
        lines,
    })
}

fn read_place(place: &str, address: Option<IpAddr>) -> Option<Asked> {
    let (host_port, word) = place.rsplit_once(' ')?;
    let (host, port) = host_port.rsplit_once(':')?;
    let transport = Transport::of_word(word)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Some(Asked::Connect {
        place: place.to_owned(),
        host,
        port: port.parse().ok()?,
        transport,
        address,
    })
}
