//! `keywheel plugin list` and `plugin verify`.

use clap::Args;
use keywheel_engine::view::PluginView;
use keywheel_model::PluginName;

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::{Style, Table, Text};
use crate::visible;

/// Verifies.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// One plugin only
    plugin: Option<PluginName>,
}

/// # Errors
/// The state cannot be opened.
pub(crate) async fn run(context: &Context) -> Result<ExitCode, Failure> {
    let plugins = host::open(context).await?.plugins();
    context.output.data(&plugins, |style| table(&plugins, style))?;
    for name in plugins
        .iter()
        .filter(|plugin| matches!(plugin.status, "new" | "held"))
        .filter_map(|p| p.name.as_ref())
    {
        context.output.next(&format!("keywheel plugin add {name}"));
    }
    Ok(ExitCode::Ok)
}

/// Every pinned plugin has the bytes that were pinned, and could run.
///
/// # Errors
/// There is no such plugin, or the state cannot be opened.
pub(crate) async fn verify(arguments: &Verify, context: &Context) -> Result<ExitCode, Failure> {
    let mut plugins = host::open(context).await?.plugins();
    if let Some(name) = &arguments.plugin {
        plugins.retain(|plugin| plugin.name.as_ref() == Some(name));
        if plugins.is_empty() {
            return Err(Failure::new(
                ExitCode::NotFound,
                "plugin.not-found",
                format!("there is no plugin `{name}`"),
            )
            .hint("`keywheel plugin list` shows what is there"));
        }
    }
    context.output.data(&plugins, |style| table(&plugins, style))?;
    let good = plugins
        .iter()
        .all(|plugin| matches!(plugin.status, "pinned" | "new" | "held"));
    Ok(if good {
        ExitCode::Ok
    } else {
        ExitCode::VerifyFailed
    })
}

fn table(plugins: &[PluginView], style: Style) -> String {
    if plugins.is_empty() {
        return "no plugins; put a `.wasm` file into the plugin folder\n".to_owned();
    }
    let mut table = Table::new(["PLUGIN", "VERSION", "STATUS", "DIGEST", "FILE"]);
    for plugin in plugins {
        let digest: String = plugin.digest.as_deref().unwrap_or("-").chars().take(19).collect();
        table.row([
            plugin
                .name
                .as_ref()
                .map_or_else(|| "-".to_owned(), ToString::to_string),
            plugin.version.clone().unwrap_or_else(|| "-".to_owned()),
            plugin.status.to_owned(),
            digest,
            visible::path(&plugin.file),
        ]);
    }
    let mut text = Text::default();
    text.lines(&table.to_text(style));
    for plugin in plugins.iter().filter(|plugin| !plugin.detail.is_empty()) {
        let name = plugin
            .name
            .as_ref()
            .map_or_else(|| visible::path(&plugin.file), ToString::to_string);
        text.line(format_args!("{name}: {}", plugin.detail));
    }
    text.finish()
}
