//! `keywheel policy explain`.

use clap::Args;
use keywheel_model::RotationName;
use keywheel_policy::{Binding, Decision};
use serde::Serialize;

use crate::cmd::plugin::folder;
use crate::cmd::policy::grants;
use crate::cmd::policy::request::{FORMS, Words};
use crate::cmd::{Context, ours};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::Text;

/// Explains.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The rotation
    rotation: RotationName,
    /// One thing that the plugin could want, like: connect db.internal:5432 tls
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
    /// The files that allow it.
    by: Vec<String>,
    /// The file to change, if it is denied.
    file: Option<String>,
    /// The lines that would allow it.
    lines: Option<String>,
    /// Why no line can allow it.
    never: Option<String>,
}

/// # Errors
/// There is no such rotation, the grants are not valid, or the request is none.
pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let config = ours::config(context)?;
    let Some(rotation) = config.rotation(&arguments.rotation) else {
        return Err(crate::cmd::no_such_rotation(&config, arguments.rotation.as_str()));
    };
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
    let decision = words
        .decide(&scope, plugins.manifests.get(&rotation.plugin))
        .ok_or_else(|| {
            let message = format!("the plugin `{}` declares no such call", rotation.plugin);
            Failure::new(ExitCode::NotFound, "policy.no-shape", message)
                .hint(format!("`keywheel plugin show {}` lists them", rotation.plugin))
        })?;
    answer(&rotation.name, request, decision, context)
}

fn answer(
    rotation: &RotationName,
    request: String,
    decision: Decision,
    context: &Context,
) -> Result<ExitCode, Failure> {
    let mut answer = Answer {
        rotation: rotation.clone(),
        request,
        allowed: false,
        by: Vec::new(),
        file: None,
        lines: None,
        never: None,
    };
    match decision {
        Decision::Allow(permit) => (answer.allowed, answer.by) = (true, permit.by),
        Decision::Deny(denial) => match denial.lines {
            Ok(lines) => (answer.file, answer.lines) = (Some(denial.file), Some(lines)),
            Err(why) => answer.never = Some(why.to_string()),
        },
    }
    context.output.data(&answer, |style| {
        let mut text = Text::default();
        match (&answer.never, &answer.file, &answer.lines) {
            (Some(why), ..) => {
                text.line(format_args!("{} {}", style.bad("denied"), answer.request));
                text.line(format_args!("no grant can allow it: {why}"));
            }
            (None, Some(file), Some(lines)) => {
                text.line(format_args!("{} {}", style.bad("denied"), answer.request));
                text.line(format_args!("to allow it, write in \"{file}\":"));
                text.line(lines);
            }
            _ => text.line(format_args!(
                "{} {} by {}",
                style.good("allowed"),
                answer.request,
                answer.by.join(" and ")
            )),
        }
        text.finish()
    })?;
    Ok(if answer.allowed {
        ExitCode::Ok
    } else {
        ExitCode::Denied
    })
}
