//! `keywheel plugin show`.

use std::path::{Path, PathBuf};

use clap::Args;
use keywheel_manifest::{Digest, Mode, Shape};
use serde::Serialize;

use crate::cmd::plugin::settings::{self, Setting};
use crate::cmd::plugin::{folder, manifest_failure, no_such_plugin};
use crate::cmd::{Context, ours};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::{Style, Table, Text};
use crate::visible;

/// Prints what a plugin asks for.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The plugin's name, or a `.wasm` file
    plugin: String,
    /// Print the JSON Schema of the plugin's settings instead
    #[arg(long)]
    schema: bool,
}

/// A plugin's manifest: `-o json` of `plugin show`.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    name: &'a str,
    version: &'a str,
    summary: &'a str,
    docs: Option<&'a str>,
    file: &'a Path,
    /// `sha256:` and the digest of the file.
    digest: String,
    /// What it may call.
    capabilities: Vec<&'static str>,
    /// Secrets that it takes beside the rotated one.
    inputs: Vec<&'a str>,
    modes: Vec<ShownMode>,
    /// What `[rotation.config]` takes.
    settings: Vec<Setting>,
    /// Every place that a secret may enter.
    shapes: Vec<ShownShape<'a>>,
}

#[derive(Debug, Serialize)]
struct ShownMode {
    /// The settings that choose it: `mode = "role"`; empty where there is only one.
    when: String,
    class: String,
    strategy: serde_json::Value,
    proof: serde_json::Value,
    belief: String,
}

#[derive(Debug, Serialize)]
struct ShownShape<'a> {
    id: &'a str,
    kind: &'static str,
    effect: &'static str,
    secrets: Vec<String>,
    digest: String,
}

/// # Errors
/// There is no such plugin, or its manifest is not valid.
pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let file = find(&arguments.plugin, context)?;
    let bytes = folder::bytes(&file)?;
    let manifest = keywheel_manifest::read(&bytes)
        .map_err(|error| manifest_failure(format!("\"{}\" is no plugin", visible::path(&file)), &error))?;
    if arguments.schema {
        context
            .output
            .raw(format!("{:#}\n", manifest.config_schema).as_bytes())?;
        return Ok(ExitCode::Ok);
    }
    let shown = Shown {
        name: manifest.name.as_str(),
        version: &manifest.version,
        summary: &manifest.summary,
        docs: manifest.docs.as_deref(),
        file: &file,
        digest: Digest::of(&bytes).to_string(),
        capabilities: manifest
            .capabilities
            .iter()
            .map(|capability| capability.as_str())
            .collect(),
        inputs: manifest.inputs.iter().map(String::as_str).collect(),
        modes: manifest.modes().iter().map(mode).collect(),
        settings: settings::of(&manifest.config_schema),
        shapes: manifest.shapes().iter().map(shape).collect(),
    };
    context.output.data(&shown, |style| text(&shown, style))?;
    Ok(ExitCode::Ok)
}

/// A name with a slash or `.wasm` is a file; anything else is looked for in the plugin folder.
fn find(plugin: &str, context: &Context) -> Result<PathBuf, Failure> {
    let path = Path::new(plugin);
    if path.components().count() > 1 || path.extension().is_some_and(|extension| extension == "wasm") {
        return Ok(path.to_owned());
    }
    let dir = ours::draft(context)?.plugins().dir.clone();
    let found = folder::read(&dir)?;
    let known = found.files.iter().find(|(name, _)| name.as_str() == plugin);
    known
        .map(|(_, file)| file.clone())
        .ok_or_else(|| no_such_plugin(plugin, &found, &dir))
}

fn mode(mode: &Mode) -> ShownMode {
    let when = mode.when().map(|(place, value)| {
        let name = place.to_string();
        format!("{} = {value}", name.trim_start_matches('/').replace('/', "."))
    });
    ShownMode {
        when: when.collect::<Vec<_>>().join(", "),
        class: format!("{:?}", mode.class),
        strategy: serde_json::json!(mode.strategy),
        proof: serde_json::json!(mode.proof),
        belief: keywheel_config::show_duration(mode.belief),
    }
}

fn shape(shape: &Shape) -> ShownShape<'_> {
    ShownShape {
        id: shape.id(),
        kind: shape.kind(),
        effect: shape.effect().as_str(),
        secrets: shape.secrets().iter().map(ToString::to_string).collect(),
        digest: shape.digest().to_string(),
    }
}

fn text(shown: &Shown<'_>, style: Style) -> String {
    let list = |items: &[&str]| {
        if items.is_empty() {
            "none".to_owned()
        } else {
            items.join(", ")
        }
    };
    let mut text = Text::default();
    text.line(format_args!(
        "{} {}: {}",
        shown.name, shown.version, shown.summary
    ));
    if let Some(docs) = shown.docs {
        text.fact("manual", docs);
    }
    text.fact("file", format_args!("\"{}\"", visible::path(shown.file)));
    text.fact("digest", &shown.digest);
    text.fact("capabilities", list(&shown.capabilities));
    text.fact("inputs", list(&shown.inputs));
    text.line("");
    let mut modes = Table::new(["MODE", "CLASS", "STRATEGY", "PROOF", "BELIEF"]);
    for mode in &shown.modes {
        let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        modes.row([
            if mode.when.is_empty() {
                "always".to_owned()
            } else {
                mode.when.clone()
            },
            mode.class.clone(),
            word(&mode.strategy),
            word(&mode.proof),
            mode.belief.clone(),
        ]);
    }
    text.lines(&modes.to_text(style));
    text.line("");
    if !shown.settings.is_empty() {
        text.lines(&settings::table(&shown.settings, style));
        text.line("");
    }
    let mut shapes = Table::new(["CALL", "KIND", "EFFECT", "SECRETS"]);
    for shape in &shown.shapes {
        shapes.row([
            shape.id.into(),
            shape.kind.into(),
            shape.effect.into(),
            shape.secrets.join(", "),
        ]);
    }
    text.lines(&shapes.to_text(style));
    text.finish()
}
