//! `keywheel plugin add`.

use clap::Args;
use keywheel_config::Config;
use keywheel_engine::{Addition, wants_plaintext};
use keywheel_manifest::{Manifest, Shape};
use keywheel_model::{PluginName, RotationName};
use keywheel_policy::HostRule;
use serde::Serialize;

use crate::cmd::plugin::{folder, no_such_plugin};
use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::{Style, Table, Text};

/// Pins a plugin.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The plugin's name
    plugin: PluginName,
    /// Where it may connect to, if it has no grant yet, like "{/host}:{/port} tls"; left out, to its target, and what copies that, with TLS
    #[arg(long = "host", value_name = "RULE", value_parser = parse_host)]
    hosts: Vec<HostRule>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

fn parse_host(text: &str) -> Result<HostRule, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// `-o json` of `plugin add`.
#[derive(Debug, Serialize)]
struct Added {
    name: PluginName,
    version: String,
    /// `sha256:` and the digest of the pinned bytes.
    digest: String,
    /// The minisign key that has signed them, where signatures are looked at.
    publisher: Option<String>,
    /// The key by which what was pinned before was signed.
    #[serde(rename = "publisher-before")]
    publisher_before: Option<String>,
    /// What was pinned before.
    before: Option<String>,
    /// What it asks beyond what was granted, and what it needs no longer, line by line.
    asks: Vec<String>,
    /// The packages that it may call.
    capabilities: Vec<String>,
    /// Where it may connect to.
    hosts: Vec<String>,
    /// Rotations that go to their targets in plaintext, as their configuration says, which this grant does not allow.
    #[serde(rename = "in-plaintext")]
    in_plaintext: Vec<RotationName>,
    /// The secrets that it may use, as handles.
    secrets: Vec<String>,
    /// The secrets that it may read in the clear.
    reveal: Vec<String>,
    /// Every call that it may make, as the manifest writes it.
    calls: Vec<Call>,
    /// The grant file.
    file: String,
    /// Its text.
    grant: String,
}

/// A declared call.
#[derive(Debug, Serialize)]
struct Call {
    id: String,
    kind: &'static str,
    effect: &'static str,
    text: String,
    /// The secrets in it; none: it is declared because such a call may follow one that has a secret.
    secrets: Vec<String>,
    /// `+` new, `~` in another form than was granted, `=` as granted.
    change: char,
}

/// # Errors
/// There is no such plugin, it was refused, or the person says no.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open_unsealed(context).await?;
    let hosts = |manifest: &Manifest| {
        let mut hosts = arguments.hosts.clone();
        if hosts.is_empty() {
            hosts.extend(target_rules(&manifest.to_canonical(), "tls"));
        }
        hosts
    };
    let (addition, manifest) = match engine.addition(&arguments.plugin, hosts).await {
        Err(error) if error.code() == "plugin.unknown" => {
            let dir = &engine.config().plugins.dir;
            return Err(no_such_plugin(
                arguments.plugin.as_str(),
                &folder::read(dir)?,
                dir,
            ));
        }
        found => found?,
    };
    let mut added = describe(&addition, &manifest);
    added.in_plaintext = in_plaintext(&addition, &manifest, engine.config());
    // What is granted is shown, whether it is asked about or not.
    context.output.say(text(&added, Style::PLAIN).trim_end());
    for rotation in &added.in_plaintext {
        context.output.warn(&plaintext_words(rotation, &added, &manifest));
    }
    for rule in &arguments.hosts {
        if !addition.grant.hosts.contains(rule) {
            context.output.warn(&format!(
                "`--host \"{rule}\"` is not granted: \"{}\" is there already, and keeps its `hosts`; to grant it, add it there",
                added.file
            ));
        }
    }
    if !arguments.yes {
        context
            .output
            .confirm(&format!("pin and grant {} {}?", added.name, added.version))?;
    }
    engine.add_plugin(addition).await?;
    context.output.data(&added, |style| {
        format!(
            "{} {} {} is pinned, and granted in \"{}\"\n",
            style.good("ok"),
            added.name,
            added.version,
            added.file
        )
    })?;
    context.output.next("keywheel config check");
    Ok(ExitCode::Ok)
}

/// The rules for a manifest whose target is one host and one port, and so are the servers that copy it: just these.
fn target_rules(canonical: &[u8], transport: &str) -> Vec<HostRule> {
    let manifest: serde_json::Value = serde_json::from_slice(canonical).unwrap_or_default();
    let rule = |key: &str| -> Option<HostRule> {
        let place = manifest.get(key)?.as_array()?.iter();
        let place: Vec<&str> = place.filter_map(serde_json::Value::as_str).collect();
        let [host, port] = place.as_slice() else {
            return None;
        };
        format!("{{{host}}}:{{{port}}} {transport}").parse().ok()
    };
    ["target", "replicas"].into_iter().filter_map(rule).collect()
}

/// The rotations whose configuration says `plaintext`, where the grant says `tls`: it has to be said in both places.
fn in_plaintext(addition: &Addition, manifest: &Manifest, config: &Config) -> Vec<RotationName> {
    let of_plugin = config
        .rotations
        .iter()
        .filter(|rotation| rotation.plugin == addition.name);
    of_plugin
        .filter(|rotation| wants_plaintext(rotation, manifest, &addition.grant))
        .map(|rotation| rotation.name.clone())
        .collect()
}

fn plaintext_words(rotation: &RotationName, added: &Added, manifest: &Manifest) -> String {
    let rules = target_rules(&manifest.to_canonical(), "plaintext");
    let lines = match rules.as_slice() {
        [] => "\"HOST:PORT plaintext\"".to_owned(),
        rules => quoted(rules),
    };
    format!(
        "rotation {rotation} goes to its target in plaintext (`transport` in its configuration), and this grant does not allow that: switch TLS on, \
         or write {lines} in `hosts` of {}",
        added.file
    )
}

fn quoted(rules: &[HostRule]) -> String {
    let quoted: Vec<String> = rules.iter().map(|rule| format!("\"{rule}\"")).collect();
    quoted.join(", ")
}

fn describe(addition: &Addition, manifest: &Manifest) -> Added {
    let difference = &addition.difference;
    let call = |shape: &Shape| {
        let id = shape.id().to_owned();
        Call {
            kind: shape.kind(),
            effect: shape.effect().as_str(),
            text: shape.text().to_owned(),
            secrets: words(shape.secrets()),
            change: match (
                difference.new_shapes.contains(&id),
                difference.changed_shapes.contains(&id),
            ) {
                (true, _) => '+',
                (_, true) => '~',
                _ => '=',
            },
            id,
        }
    };
    Added {
        capabilities: words(&addition.grant.capabilities),
        hosts: words(&addition.grant.hosts),
        in_plaintext: Vec::new(),
        secrets: words(&addition.grant.secrets),
        reveal: words(&addition.grant.reveal),
        calls: manifest.shapes().iter().map(call).collect(),
        name: addition.name.clone(),
        version: addition.version.clone(),
        digest: addition.digest.to_string(),
        publisher: addition.publisher.clone(),
        publisher_before: addition.before.as_ref().and_then(|pin| pin.publisher.clone()),
        before: addition
            .before
            .as_ref()
            .map(|pin| format!("{} {}", pin.version, pin.sha256)),
        asks: addition
            .difference
            .to_string()
            .lines()
            .map(str::to_owned)
            .collect(),
        file: addition.grant.file.clone(),
        grant: addition.grant.to_toml(),
    }
}

fn text(added: &Added, style: Style) -> String {
    let mut text = Text::default();
    text.line(format_args!("{} {}", added.name, added.version));
    text.fact("digest", &added.digest);
    match (&added.publisher, &added.publisher_before) {
        (Some(key), Some(before)) if key != before => {
            text.fact(
                "signed by",
                format_args!("{key}, ANOTHER publisher's key than before: {before}"),
            );
        }
        (Some(key), _) => text.fact("signed by", key),
        (None, Some(before)) => text.fact("signed by", format_args!("nobody; before: {before}")),
        (None, None) => {}
    }
    text.fact("pinned now", added.before.as_deref().unwrap_or("nothing"));
    text.fact("grant", format_args!("\"{}\"", added.file));
    text.fact("may call", nothing_or(&added.capabilities));
    text.fact("may connect to", nothing_or(&added.hosts));
    text.fact("may use", nothing_or(&added.secrets));
    text.fact("may read in the clear", nothing_or(&added.reveal));
    text.line("");
    text.line("Against what it is granted now (`+` new, `~` in another form, `=` as it is, `-` no longer):");
    // Its calls stand below, each with its mark.
    let stands_below =
        |line: &str| line.starts_with("+ makes the call") || line.starts_with("~ makes the call");
    let asks: Vec<_> = added.asks.iter().filter(|line| !stands_below(line)).collect();
    for line in &asks {
        text.line(format_args!("  {line}"));
    }
    if asks.is_empty() {
        text.line("  only calls, below");
    }
    let (with, without): (Vec<_>, Vec<_>) = added.calls.iter().partition(|call| !call.secrets.is_empty());
    for (title, calls) in [
        ("Every call with a secret in it:", with),
        ("Every call without one:", without),
    ] {
        if !calls.is_empty() {
            text.line("");
            text.line(title);
            text.lines(&table(&calls, style));
        }
    }
    text.finish()
}

fn table(calls: &[&Call], style: Style) -> String {
    let mut table = Table::new(["", "CALL", "KIND", "EFFECT", "WHAT IS SENT"]);
    for call in calls {
        table.row([
            call.change.to_string(),
            call.id.clone(),
            call.kind.to_owned(),
            call.effect.to_owned(),
            call.text.clone(),
        ]);
    }
    table.to_text(style)
}

fn words<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

fn nothing_or(list: &[String]) -> String {
    if list.is_empty() {
        "nothing".to_owned()
    } else {
        list.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_of_host_and_port_gives_its_rule_and_nothing_else_does() {
        let rules = |manifest: &str| quoted(&target_rules(manifest.as_bytes(), "tls"));
        assert_eq!(
            rules(r#"{"target":["/host","/port"]}"#),
            r#""{/host}:{/port} tls""#
        );
        assert_eq!(
            rules(r#"{"target":["/nodes/*/host","/nodes/*/port"]}"#),
            r#""{/nodes/*/host}:{/nodes/*/port} tls""#
        );
        assert_eq!(
            rules(r#"{"replicas":["/replicas/*/host","/replicas/*/port"],"target":["/host","/port"]}"#),
            r#""{/host}:{/port} tls", "{/replicas/*/host}:{/replicas/*/port} tls""#
        );
        assert_eq!(rules(r#"{"target":["/host"]}"#), "");
    }
}
