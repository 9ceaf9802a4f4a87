//! `keywheel policy explain`.

use clap::Args;
use keywheel_model::RotationName;
use keywheel_policy::Binding;
use keywheel_policy::rules::RULES;
use serde::Serialize;

use crate::cmd::plugin::folder;
use crate::cmd::policy::grants;
use crate::cmd::policy::request::{FORMS, Words};
use crate::cmd::policy::verdict::{Asked, Verdict};
use crate::cmd::{Context, ours};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::Text;

/// Explains.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The rotation
    rotation: RotationName,
    /// One thing that the plugin could want, like: connect db.internal:5432 tls; or what the audit trail has as the `request` of a refused call
    request: Vec<String>,
}

/// `-o json` of `policy explain` without a request.
#[derive(Debug, Serialize)]
struct Explained {
    rotation: RotationName,
    lines: Vec<String>,
}

/// `-o json` of `policy explain` with a request.
#[derive(Debug, Serialize)]
struct Answer {
    rotation: RotationName,
    request: String,
    allowed: bool,
    /// The code of the rule that refuses it, as the audit trail has it.
    rule: Option<String>,
    /// The files that allow it.
    by: Vec<String>,
    /// The line of each of those files.
    #[serde(rename = "by-lines")]
    by_lines: Vec<String>,
    /// The file to change, if it is denied.
    file: Option<String>,
    /// The lines that would allow it.
    lines: Option<String>,
    /// Why no line can allow it.
    never: Option<String>,
    /// What a grant can do about a rule of the host.
    way: Option<&'static str>,
}

/// # Errors
/// There is no such rotation, the grants are not valid, or the request is none.
pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let config = ours::config(context)?;
    let Some(rotation) = config.rotation(&arguments.rotation) else {
        return Err(crate::cmd::no_such_rotation(&config, arguments.rotation.as_str()));
    };
    let rotation = &*rotation;
    let policy = grants::read(&config.policies_dir)?;
    let scope = policy.scope(Binding {
        plugin: &rotation.plugin,
        rotation: &rotation.name,
        configuration: &rotation.config,
        secret: &rotation.secret,
        inputs: &rotation.inputs,
    });
    if arguments.request.is_empty() {
        let explained = Explained {
            rotation: rotation.name.clone(),
            lines: scope.explain(),
        };
        context
            .output
            .data(&explained, |_| explained.lines.join("\n") + "\n")?;
        return Ok(ExitCode::Ok);
    }
    let request = arguments.request.join(" ");
    let words: Words = request.parse().map_err(|error| {
        Failure::from_error(ExitCode::Usage, "policy.request", &error).hint(format!("requests are {FORMS}"))
    })?;
    let plugins = folder::read(&config.plugins.dir)?;
    let asked = Asked {
        rotation,
        scope: &scope,
        manifest: plugins.manifests.get(&rotation.plugin),
    };
    let verdict = asked
        .decide(&words)
        .ok_or_else(|| unknown(&words, rotation.plugin.as_str()))?;
    answer(&rotation.name, request, verdict, context)
}

fn unknown(words: &Words, plugin: &str) -> Failure {
    if let Words::Rule(code) = words {
        let known = RULES.map(|rule| format!("`{}`", rule.code)).join(", ");
        let message = format!("the host has no rule `{}`", code.escape_debug());
        return Failure::new(ExitCode::NotFound, "policy.no-rule", message)
            .hint(format!("rules are {known}"));
    }
    let message = format!("the plugin `{plugin}` declares no such call");
    Failure::new(ExitCode::NotFound, "policy.no-shape", message)
        .hint(format!("`keywheel plugin show {plugin}` lists them"))
}

fn answer(
    rotation: &RotationName,
    request: String,
    verdict: Verdict,
    context: &Context,
) -> Result<ExitCode, Failure> {
    let mut answer = Answer {
        rotation: rotation.clone(),
        request,
        allowed: false,
        rule: verdict.rule().map(str::to_owned),
        by: Vec::new(),
        by_lines: Vec::new(),
        file: None,
        lines: None,
        never: None,
        way: None,
    };
    match verdict {
        Verdict::Allowed(by) => {
            answer.allowed = true;
            (answer.by, answer.by_lines) = by.into_iter().map(|source| (source.file, source.line)).unzip();
        }
        Verdict::Denied { file, lines, .. } => (answer.file, answer.lines) = (Some(file), Some(lines)),
        Verdict::Never { why, .. } => answer.never = Some(why),
        Verdict::Ruled(rule) => (answer.never, answer.way) = (Some(rule.says.to_owned()), rule.way),
    }
    context.output.data(&answer, |style| {
        let mut text = Text::default();
        if let Some(rule) = &answer.rule {
            text.line(format_args!(
                "{} {} [{rule}]",
                style.bad("denied"),
                answer.request
            ));
        }
        match (&answer.never, &answer.file, &answer.lines) {
            (Some(says), ..) => match answer.way {
                Some(way) => text.line(format_args!("{says}; {way}")),
                None => text.line(format_args!("no grant can allow it: {says}")),
            },
            (None, Some(file), Some(lines)) => {
                text.line(format_args!("to allow it, write in \"{file}\":"));
                text.line(lines);
            }
            _ => {
                let by = answer.by.iter().zip(&answer.by_lines);
                let by: Vec<String> = by.map(|(file, line)| format!("{file}: {line}")).collect();
                let allowed = style.good("allowed");
                text.line(format_args!(
                    "{allowed} {} by {}",
                    answer.request,
                    by.join(" and ")
                ));
            }
        }
        text.finish()
    })?;
    Ok(if answer.allowed {
        ExitCode::Ok
    } else {
        ExitCode::Denied
    })
}
