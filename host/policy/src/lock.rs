use std::collections::BTreeMap;

use keywheel_manifest::Digest;
use keywheel_manifest::reader::{Fields, Problems, join, toml_to_json};
use keywheel_model::PluginName;
use serde_json::Value;

use crate::error::Error;

/// The newest format of `plugins.lock` that this host reads.
const FORMAT: i64 = 1;

/// One plugin's pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedPlugin {
    /// Its version, as its manifest has it.
    pub version: String,
    /// Of the file's bytes.
    pub sha256: Digest,
    /// The publisher's public key, where the file is signed.
    pub publisher: Option<String>,
}

/// `plugins.lock`: which bytes each plugin name stands for. Written by `keywheel plugin add`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Lock {
    /// By name.
    pub plugins: BTreeMap<PluginName, LockedPlugin>,
}

impl Lock {
    /// Reads the file. `file` names it in messages.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every problem and its place; a newer format is one.
    pub fn from_toml(file: &str, text: &str) -> Result<Self, Error> {
        let invalid = |problems| Error::Invalid {
            file: file.to_owned(),
            problems,
        };
        let document = toml_to_json(text).map_err(invalid)?;
        let mut problems = Problems::default();
        match read(&document, &mut problems) {
            Some(lock) if problems.is_empty() => Ok(lock),
            _ => Err(invalid(problems.into_list(Some(text)))),
        }
    }

    /// The file's text; the same pins give the same text.
    pub fn to_toml(&self) -> String {
        let mut lines = vec![
            "# Written by `keywheel plugin add`.".to_owned(),
            format!("format = {FORMAT}"),
        ];
        let quoted = |value: &str| toml::Value::String(value.to_owned()).to_string();
        for (name, plugin) in &self.plugins {
            lines.extend([
                String::new(),
                format!("[plugin.{name}]"),
                format!("version = {}", quoted(&plugin.version)),
                format!("sha256 = \"{}\"", plugin.sha256),
            ]);
            lines.extend(
                plugin
                    .publisher
                    .iter()
                    .map(|publisher| format!("publisher = {}", quoted(publisher))),
            );
        }
        lines.join("\n") + "\n"
    }
}

fn read(document: &Value, problems: &mut Problems) -> Option<Lock> {
    let mut fields = Fields::of(document, "", problems)?;
    match fields.required("format", problems).map(Value::as_i64) {
        Some(Some(format)) if format > FORMAT => {
            problems.add(
                "format",
                format!("written by a later host: this one reads up to {FORMAT}; upgrade it"),
            );
            return None;
        }
        Some(format) if format != Some(FORMAT) => problems.add("format", format!("expected {FORMAT}")),
        _ => {}
    }
    let mut plugins = BTreeMap::new();
    for (name, value) in fields.table("plugin", problems).into_iter().flatten() {
        let path = join("plugin", name);
        let Some(mut plugin) = Fields::of(value, path.clone(), problems) else {
            continue;
        };
        let version = plugin.required_text("version", problems).map(str::to_owned);
        let sha256 = plugin.required_parsed("sha256", problems);
        let publisher = plugin.text("publisher", problems).map(str::to_owned);
        plugin.finish(problems);
        match name.parse::<PluginName>() {
            Ok(name) => {
                if let (Some(version), Some(sha256)) = (version, sha256) {
                    plugins.insert(
                        name,
                        LockedPlugin {
                            version,
                            sha256,
                            publisher,
                        },
                    );
                }
            }
            Err(error) => problems.add(path, error.to_string()),
        }
    }
    fields.finish(problems);
    Some(Lock { plugins })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_the_same() {
        let pin = |publisher: Option<&str>| LockedPlugin {
            version: "0.1.0".into(),
            sha256: Digest::of(b"bytes"),
            publisher: publisher.map(str::to_owned),
        };
        let lock = Lock {
            plugins: BTreeMap::from([
                ("redis".parse().unwrap(), pin(None)),
                ("postgres".parse().unwrap(), pin(Some("RWQ\"x"))),
            ]),
        };
        assert_eq!(Lock::from_toml("plugins.lock", &lock.to_toml()).unwrap(), lock);
    }

    #[test]
    fn a_newer_format_and_wrong_keys_are_refused_with_their_place() {
        let newer = Lock::from_toml("plugins.lock", "format = 2\n").unwrap_err();
        assert!(
            newer
                .to_string()
                .contains("plugins.lock:1:1: format: written by a later host"),
            "{newer}"
        );
        let wrong = Lock::from_toml(
            "plugins.lock",
            "format = 1\n[plugin.redis]\nversion = \"1\"\nsha256 = \"abc\"\nsig = 1\n",
        )
        .unwrap_err();
        assert!(
            wrong.to_string().contains(":4:1: plugin.redis.sha256")
                && wrong.to_string().contains(":5:1: plugin.redis.sig"),
            "{wrong}"
        );
    }
}
