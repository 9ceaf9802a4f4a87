mod read;
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

use jsonschema::Validator;
use keywheel_model::{PluginName, Proof, SlotClass, Strategy};
use serde_json::Value;

use crate::address;
use crate::call::{Call, SecretRole};
use crate::canonical::canonical_json;
use crate::error::Error;
use crate::pointer::{Pointer, expand};
use crate::reader::{Problem, Problems, toml_to_json};
use crate::refusal::Refusal;
use crate::shape::Shape;

pub use schema::{HOST_FORMAT, HOST_OR_SOCKET_FORMAT};

/// The newest format that this host reads.
pub const FORMAT: i64 = 1;

/// A WIT package that a plugin may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// `keywheel:core`: secrets, composing, deriving, state, logging.
    Core,
    /// `keywheel:vault`: other secrets.
    Vault,
    /// `keywheel:http`.
    Http,
    /// `keywheel:sql`.
    Sql,
    /// `keywheel:net`: byte channels and frames.
    Net,
    /// `keywheel:keys`: keys and certificates.
    Keys,
    /// `keywheel:notify`.
    Notify,
    /// `keywheel:challenge`.
    Challenge,
    /// `keywheel:plaintext`: reveal.
    Plaintext,
}

impl Capability {
    /// Every capability.
    pub const ALL: [Self; 9] = [
        Self::Core,
        Self::Vault,
        Self::Http,
        Self::Sql,
        Self::Net,
        Self::Keys,
        Self::Notify,
        Self::Challenge,
        Self::Plaintext,
    ];

    /// The package's name without `keywheel:`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Vault => "vault",
            Self::Http => "http",
            Self::Sql => "sql",
            Self::Net => "net",
            Self::Keys => "keys",
            Self::Notify => "notify",
            Self::Challenge => "challenge",
            Self::Plaintext => "plaintext",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Capability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|capability| capability.as_str() == text)
            .ok_or_else(|| {
                let all = Self::ALL.map(Self::as_str).join(", ");
                format!(
                    "`{}` is no capability; expected one of {all}",
                    text.escape_debug()
                )
            })
    }
}

/// One way in which a plugin rotates, chosen by the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Mode {
    when: BTreeMap<Pointer, Value>,
    /// Slot class of the target in this mode.
    pub class: SlotClass,
    /// How consumers are kept going.
    pub strategy: Strategy,
    /// What `test` is.
    pub proof: Proof,
    /// How long the target may refuse what it will accept (rule P9).
    pub belief: Duration,
    /// Whether the target by itself never locks an account after failed logins (`lockout = "none"`): then more of them may be spent
    /// on proofs (rule P14). Left out, it may lock.
    pub never_locks: bool,
    account: Option<Vec<Pointer>>,
    inputs: Option<BTreeSet<String>>,
}

impl Mode {
    /// The settings that choose this mode, and their values. None: the mode is always the one.
    pub fn when(&self) -> impl Iterator<Item = (&Pointer, &Value)> {
        self.when.iter()
    }
}

/// Whom a rotation changes, where: what rule P12 locks. Equal for two configurations that name the same account of one target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    /// The plugin and its target values, as canonical JSON; hosts and ports in one spelling, whatever the configuration's is.
    pub target: String,
    /// The account values as the configuration writes them, as canonical JSON.
    pub account: String,
}

/// A plugin's static facts.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Name of the plugin.
    pub name: PluginName,
    /// Its version, as its author writes it.
    pub version: String,
    /// One line on what it rotates.
    pub summary: String,
    /// Where its manual is.
    pub docs: Option<String>,
    /// JSON Schema 2020-12 of its configuration.
    pub config_schema: Value,
    /// What it may call.
    pub capabilities: BTreeSet<Capability>,
    /// Names of the secrets besides the rotated one.
    pub inputs: BTreeSet<String>,
    pub(crate) target: Vec<Pointer>,
    pub(crate) account: Vec<Pointer>,
    pub(crate) replicas: Vec<Pointer>,
    pub(crate) modes: Vec<Mode>,
    pub(crate) shapes: Vec<Shape>,
    document: Value,
    /// Made when it is asked for first: it takes longer than whatever it then checks.
    validator: OnceLock<Result<Validator, String>>,
}

/// What is known of the schema in a manifest. To check one takes longer than everything else about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schema {
    New,
    /// These very bytes were read before.
    Checked,
}

impl Manifest {
    /// Reads `manifest.toml`. `config_schema` is the text of the file that its key `config-schema` names.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every problem and its place, [`Error::Newer`].
    pub fn from_toml(text: &str, config_schema: &str) -> Result<Self, Error> {
        let mut document = toml_to_json(text).map_err(Error::Invalid)?;
        let schema = serde_json::from_str(config_schema).map_err(|error| {
            let at = Some((error.line(), error.column()));
            Error::Invalid(vec![Problem {
                path: "config-schema".into(),
                at,
                message: format!("the schema file is no JSON: {error}"),
            }])
        })?;
        if let Some(map) = document.as_object_mut()
            && map.get("config-schema").is_some_and(Value::is_string)
        {
            map.insert("config-schema".into(), schema);
        }
        Self::from_document(&document, Some(text), Schema::New)
    }

    /// The name of the schema file that a `manifest.toml` names, for the caller who opens it.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the text is no TOML, or the key is missing or leads out of the manifest's folder.
    pub fn schema_file(text: &str) -> Result<String, Error> {
        let document = toml_to_json(text).map_err(Error::Invalid)?;
        let name = document
            .get("config-schema")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
            let mut problems = Problems::default();
            problems.add(
                "config-schema",
                "expected the name of a JSON Schema file beside the manifest",
            );
            return Err(Error::Invalid(problems.into_list(Some(text))));
        }
        Ok(name.to_owned())
    }

    /// Reads the canonical form, as the custom section holds it.
    ///
    /// # Errors
    /// [`Error::NotJson`], [`Error::NotCanonical`], [`Error::Invalid`], [`Error::Newer`].
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, Error> {
        Self::canonical(bytes, Schema::New)
    }

    pub(crate) fn canonical(bytes: &[u8], schema: Schema) -> Result<Self, Error> {
        let document: Value = serde_json::from_slice(bytes).map_err(Error::NotJson)?;
        if canonical_json(&document).as_bytes() != bytes {
            return Err(Error::NotCanonical);
        }
        Self::from_document(&document, None, schema)
    }

    /// Canonical JSON of the whole, the schema inside.
    pub fn to_canonical(&self) -> Vec<u8> {
        canonical_json(&self.document).into_bytes()
    }

    fn from_document(document: &Value, text: Option<&str>, schema: Schema) -> Result<Self, Error> {
        if let Some(found) = document
            .get("format")
            .and_then(Value::as_i64)
            .filter(|found| *found > FORMAT)
        {
            return Err(Error::Newer {
                found,
                newest: FORMAT,
            });
        }
        let mut problems = Problems::default();
        let read = read::document(document, &mut problems);
        if let (Schema::New, Some(found)) = (schema, document.get("config-schema")) {
            schema::check(found, "config-schema", &mut problems);
        }
        match read {
            Some(manifest) if problems.is_empty() => Ok(manifest),
            _ => Err(Error::Invalid(problems.into_list(text))),
        }
    }

    /// Its shapes, in the order of the manifest by kind.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// The shape with an id.
    pub fn shape(&self, id: &str) -> Option<&Shape> {
        self.shapes.iter().find(|shape| shape.id() == id)
    }

    /// The parts of the rotated secret that its calls use, as JSON pointers: what a rotation makes anew in a document.
    pub fn rotated_parts(&self) -> BTreeSet<&str> {
        let patterns = self.shapes.iter().flat_map(Shape::patterns);
        let of_run = patterns.filter(|pattern| matches!(pattern.role, SecretRole::Run(_)));
        of_run
            .filter_map(|pattern| pattern.part.as_ref())
            .map(Pointer::as_str)
            .collect()
    }

    /// The first mode that fits a configuration.
    pub fn mode(&self, configuration: &Value) -> Option<&Mode> {
        let holds = |(pointer, wanted): (&Pointer, &Value)| pointer.values(configuration).contains(&wanted);
        self.modes.iter().find(|mode| mode.when.iter().all(holds))
    }

    /// The secrets that a rotation with this configuration needs besides its own: those of its mode, where that says them.
    pub fn inputs_of(&self, configuration: &Value) -> &BTreeSet<String> {
        let mode = self.mode(configuration);
        mode.and_then(|mode| mode.inputs.as_ref()).unwrap_or(&self.inputs)
    }

    /// All modes.
    pub fn modes(&self) -> &[Mode] {
        &self.modes
    }

    /// Whom a rotation with this configuration changes: one for each node and each of several accounts. Empty when the
    /// configuration lacks a value that the manifest points to.
    pub fn principals(&self, configuration: &Value) -> BTreeSet<Principal> {
        self.principals_at(&self.target, configuration)
    }

    /// The same accounts on the servers that copy them from the target: nobody else may rotate them there either.
    pub fn copies(&self, configuration: &Value) -> BTreeSet<Principal> {
        self.principals_at(&self.replicas, configuration)
    }

    fn principals_at(&self, servers: &[Pointer], configuration: &Value) -> BTreeSet<Principal> {
        let account = self
            .mode(configuration)
            .and_then(|mode| mode.account.as_ref())
            .unwrap_or(&self.account);
        let text = |row: Vec<String>| canonical_json(&row.into());
        let accounts: Vec<String> = expand(account, configuration).into_iter().map(text).collect();
        let mut principals = BTreeSet::new();
        for row in rows(servers, configuration) {
            let row = row.iter().map(|value| address::canonical(value)).collect();
            let target = format!("{}{}", self.name, text(row));
            principals.extend(accounts.iter().map(|account| Principal {
                target: target.clone(),
                account: account.clone(),
            }));
        }
        principals
    }

    /// Whether a rotation with this configuration changes the user that clients log in as: several accounts on one target are used in turn.
    pub fn changes_user(&self, configuration: &Value) -> bool {
        let principals = self.principals(configuration);
        let targets: BTreeSet<&str> = principals
            .iter()
            .map(|principal| principal.target.as_str())
            .collect();
        targets.len() < principals.len()
    }

    /// The servers that hold the credential, `host:port` in the one spelling of [`canonical_address`](crate::canonical_address): a verdict that leaves
    /// one of them out is none (rule H7). Empty where the target is not told by hosts and ports.
    pub fn nodes(&self, configuration: &Value) -> BTreeSet<String> {
        addresses(&self.target, configuration)
    }

    /// The servers that have the credential by copying it from the target, in the same spelling: no verdict `accepted` leaves one of them out.
    pub fn replicas(&self, configuration: &Value) -> BTreeSet<String> {
        addresses(&self.replicas, configuration)
    }

    /// What a configuration is checked with: no reference leads out of the schema, and patterns are matched in linear time, since the
    /// schema is a stranger's. An error: the schema is not usable, and why.
    pub fn validator(&self) -> &Result<Validator, String> {
        self.validator
            .get_or_init(|| schema::compile(&self.config_schema))
    }

    /// Problems of a configuration against the plugin's schema: JSON pointer and message.
    pub fn check_configuration(&self, configuration: &Value) -> Vec<(String, String)> {
        match self.validator() {
            Ok(validator) => validator
                .iter_errors(configuration)
                .map(|error| (error.instance_path().to_string(), error.to_string()))
                .collect(),
            Err(message) => vec![(String::new(), message.clone())],
        }
    }

    /// The one declared shape that a call is. `None`: no shape, and the call carries no secret; it then counts as
    /// [`crate::ShapeEffect::Set`] where it could write.
    ///
    /// # Errors
    /// A call with a secret that is no shape, or several; the refusal holds the lines to add.
    pub fn find_shape(&self, call: &Call, configuration: &Value) -> Result<Option<&Shape>, Refusal> {
        crate::matcher::find(self, call, configuration)
    }

    /// The same where a shape is needed in any case: on a channel that carried a secret every frame is a declared one.
    ///
    /// # Errors
    /// No shape fits, or several.
    pub fn require_shape(&self, call: &Call, configuration: &Value) -> Result<&Shape, Refusal> {
        crate::matcher::require(self, call, configuration)
    }
}

fn rows(servers: &[Pointer], configuration: &Value) -> Vec<Vec<String>> {
    if servers.is_empty() {
        // One row of nothing, otherwise.
        return Vec::new();
    }
    expand(servers, configuration)
}

fn addresses(servers: &[Pointer], configuration: &Value) -> BTreeSet<String> {
    let node = |row: Vec<String>| match row.as_slice() {
        [host, port] if port.parse::<u16>().is_ok() => {
            // Without brackets the colons of an IPv6 address would run into the port's.
            let host = address::canonical(host);
            Some(if host.contains(':') {
                format!("[{host}]:{port}")
            } else {
                format!("{host}:{port}")
            })
        }
        _ => None,
    };
    rows(servers, configuration)
        .into_iter()
        .filter_map(node)
        .map(|node| address::canonical(&node))
        .collect()
}
