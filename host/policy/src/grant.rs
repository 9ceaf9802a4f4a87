use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use keywheel_manifest::reader::{Fields, Problems, join, toml_to_json};
use keywheel_manifest::{Capability, Digest, Shape};
use keywheel_model::{PluginName, RotationName, SecretName};
use serde_json::Value;

use crate::error::Error;
use crate::host::{HostRule, cut};

/// One entry of `secrets`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretRule {
    /// `{secret}`: the rotated secret.
    Own,
    /// `{input:NAME}`: an input of the rotation.
    Input(String),
    /// A name in the vault; `*` stands for any text within one part.
    Vault(String),
}

impl FromStr for SecretRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{}`: expected `{{secret}}`, `{{input:NAME}}`, or a vault name in which `*` stands for any text within one part",
                cut(text)
            )
        };
        if let Some(inside) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            return match inside.split_once(':') {
                None if inside == "secret" => Ok(Self::Own),
                Some(("input", name)) if !name.is_empty() && !name.contains(['{', '}']) => {
                    Ok(Self::Input(name.to_owned()))
                }
                _ => Err(wrong()),
            };
        }
        // What is left when each star stands for one letter must be a name.
        text.replace('*', "x")
            .parse::<SecretName>()
            .map_err(|_| wrong())?;
        Ok(Self::Vault(text.to_owned()))
    }
}

impl fmt::Display for SecretRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("{secret}"),
            Self::Input(name) => write!(f, "{{input:{name}}}"),
            Self::Vault(glob) => f.write_str(glob),
        }
    }
}

impl SecretRule {
    /// Whether a vault name is covered by it.
    pub fn covers(&self, name: &SecretName) -> bool {
        let Self::Vault(glob) = self else { return false };
        let (globs, parts): (Vec<&str>, Vec<&str>) =
            (glob.split('/').collect(), name.as_str().split('/').collect());
        globs.len() == parts.len() && globs.iter().zip(&parts).all(|(glob, part)| part_fits(glob, part))
    }
}

/// `*` stands for any text; greedy from the left is enough, since the last piece is bound to the end.
fn part_fits(glob: &str, part: &str) -> bool {
    let mut pieces = glob.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = part.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for piece in pieces {
        if let Some(before) = last.replace(piece) {
            let Some(at) = rest.find(before) else { return false };
            rest = &rest[at + before.len()..];
        }
    }
    last.map_or(rest.is_empty(), |last: &str| rest.ends_with(last))
}

/// What an operator lets one plugin do, in all rotations or in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The file, as the caller named it.
    pub file: String,
    /// Who may.
    pub plugin: PluginName,
    /// In which rotation; `None` is in each.
    pub rotation: Option<RotationName>,
    /// Packages that it may call.
    pub capabilities: BTreeSet<Capability>,
    /// Where it may connect to.
    pub hosts: Vec<HostRule>,
    /// Which secrets it may use.
    pub secrets: Vec<SecretRule>,
    /// Which declared calls it may make: id and digest.
    pub shapes: BTreeMap<String, Digest>,
    /// Which secrets it may read in the clear.
    pub reveal: BTreeSet<SecretName>,
}

impl Grant {
    /// Reads a grant file. `file` names it in messages.
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
        match read(file, &document, &mut problems) {
            Some(grant) if problems.is_empty() => Ok(grant),
            _ => Err(invalid(problems.into_list(Some(text)))),
        }
    }

    /// The file's text. Comments of a file that was read are not kept.
    pub fn to_toml(&self) -> String {
        let mut lines = vec![format!("plugin = \"{}\"", self.plugin)];
        lines.extend(
            self.rotation
                .as_ref()
                .map(|rotation| format!("rotation = \"{rotation}\"")),
        );
        lines.extend([
            format!("capabilities = [{}]", quoted(self.capabilities.iter())),
            format!("hosts = [{}]", quoted(self.hosts.iter())),
            format!("secrets = [{}]", quoted(self.secrets.iter())),
            format!("reveal = [{}]", quoted(self.reveal.iter())),
            String::new(),
            "[shapes]".to_owned(),
        ]);
        lines.extend(
            self.shapes
                .iter()
                .map(|(id, digest)| format!("{id} = \"{digest}\"")),
        );
        lines.join("\n") + "\n"
    }
}

/// A list's items as TOML.
pub(crate) fn quoted<T: fmt::Display>(items: impl Iterator<Item = T>) -> String {
    items
        .map(|item| toml::Value::String(item.to_string()).to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn read(file: &str, document: &Value, problems: &mut Problems) -> Option<Grant> {
    let mut fields = Fields::of(document, "", problems)?;
    let plugin = fields.required_parsed("plugin", problems);
    let rotation = fields.parsed("rotation", problems);
    let capabilities = fields.parsed_list("capabilities", problems).into_iter().collect();
    let hosts = fields.parsed_list("hosts", problems);
    let secrets = fields.parsed_list("secrets", problems);
    let reveal = fields.parsed_list("reveal", problems).into_iter().collect();
    let mut shapes = BTreeMap::new();
    for (id, value) in fields.table("shapes", problems).into_iter().flatten() {
        if !Shape::is_id(id) {
            problems.add(
                join("shapes", id),
                "no shape has this id: a-z, 0-9 and -, first a letter, at most 63",
            );
            continue;
        }
        match value.as_str().map(str::parse) {
            Some(Ok(digest)) => drop(shapes.insert(id.clone(), digest)),
            _ => problems.add(
                join("shapes", id),
                "expected `sha256:` and 64 lower-case hex digits",
            ),
        }
    }
    fields.finish(problems);
    Some(Grant {
        file: file.to_owned(),
        plugin: plugin?,
        rotation,
        capabilities,
        hosts,
        secrets,
        shapes,
        reveal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_megabyte_is_refused_without_repeating_it() {
        let text = "a ".repeat(1 << 19);
        let host = text.parse::<HostRule>().unwrap_err().to_string();
        let secret = text.parse::<SecretRule>().unwrap_err();
        assert!(host.len() < 500 && secret.len() < 500, "{host} {secret}");
    }

    #[test]
    fn an_id_that_no_shape_has_is_refused_at_its_place() {
        let digest = Digest::of(b"");
        let text = format!("plugin = \"redis\"\n[shapes]\n\"a b\" = \"{digest}\"\n");
        let error = Grant::from_toml("redis.toml", &text).unwrap_err().to_string();
        assert!(
            error.contains("redis.toml:3:1: shapes.\"a b\": no shape has this id"),
            "{error}"
        );
    }
}
