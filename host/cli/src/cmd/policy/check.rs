//! `keywheel policy check`.

use serde::Serialize;

use crate::cmd::plugin::folder;
use crate::cmd::policy::grants;
use crate::cmd::{Context, ours};
use crate::errors::{Failure, counted};
use crate::exit_code::ExitCode;

/// `-o json` of `policy check`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Checked {
    /// The grant files.
    files: Vec<String>,
    /// Plugins that ask for more than they are granted: name, and one line for each thing.
    asks_more: Vec<(String, Vec<String>)>,
    /// Grants for plugins that are not there.
    unused: Vec<String>,
}

/// # Errors
/// A grant is not valid.
pub(crate) fn run(context: &Context) -> Result<ExitCode, Failure> {
    let config = ours::config(context)?;
    let policy = grants::read(&config.policies_dir)?;
    let plugins = folder::read(&config.plugins.dir)?;
    let mut checked = Checked {
        files: policy.grants().iter().map(|grant| grant.file.clone()).collect(),
        asks_more: Vec::new(),
        unused: Vec::new(),
    };
    for grant in policy.grants() {
        match plugins.manifests.get(&grant.plugin) {
            Some(manifest) => {
                let difference = keywheel_policy::difference(manifest, Some(grant));
                // A grant for one rotation narrows the plugin's on purpose.
                if difference.asks_more() && grant.rotation.is_none() {
                    let lines = difference.to_string().lines().map(str::to_owned).collect();
                    checked.asks_more.push((grant.plugin.to_string(), lines));
                }
            }
            None => checked.unused.push(grant.file.clone()),
        }
    }
    for (plugin, lines) in &checked.asks_more {
        let lines = lines.join("\n  ");
        context.output.warn(&format!(
            "the plugin `{plugin}` asks for what is not granted:\n  {lines}"
        ));
    }
    for file in &checked.unused {
        context
            .output
            .warn(&format!("\"{file}\" is for a plugin that is not there"));
    }
    context.output.data(&checked, |style| {
        format!(
            "{} {}\n",
            style.good("ok"),
            counted(checked.files.len(), "grant file")
        )
    })?;
    for (plugin, _) in &checked.asks_more {
        context.output.next(&format!("keywheel plugin add {plugin}"));
    }
    Ok(if checked.asks_more.is_empty() {
        ExitCode::Ok
    } else {
        ExitCode::Attention
    })
}
