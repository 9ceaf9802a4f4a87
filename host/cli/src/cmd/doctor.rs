//! `keywheel doctor`: looks at everything that a host stands on.

use keywheel_config::Draft;
use keywheel_engine::view::Diagnosis;
use serde::Serialize;

use crate::cmd::{Context, host, ours};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::memory;
use crate::output::{Style, Text};

/// One finding: `-o json` of `doctor` is a list of them.
#[derive(Debug, Serialize)]
struct Finding {
    check: String,
    /// `ok`, `warning` or `failure`.
    result: &'static str,
    detail: String,
    advice: Option<String>,
}

impl From<Diagnosis> for Finding {
    fn from(found: Diagnosis) -> Self {
        Self {
            check: found.check.to_owned(),
            result: found.result,
            detail: found.detail,
            advice: found.advice,
        }
    }
}

/// # Errors
/// Standard output cannot be written: whatever else is wrong is a finding.
pub(crate) async fn run(context: &Context) -> Result<ExitCode, Failure> {
    let mut found = configuration(context);
    found.push(memory());
    match host::open_to_examine(context).await {
        Ok(engine) => match engine.diagnose().await {
            Ok(diagnoses) => found.extend(diagnoses.into_iter().map(Finding::from)),
            Err(error) => found.push(failed("state", &error.into())),
        },
        // The configuration's own problems are a finding already.
        Err(Failure::Config(_)) => {}
        Err(failure) => found.push(failed("state", &failure)),
    }
    context.output.data(&found, |style| text(&found, style))?;
    let worst = |result| found.iter().any(|finding| finding.result == result);
    Ok(match (worst("failure"), worst("warning")) {
        (true, _) => ExitCode::DoctorFailed,
        (false, true) => ExitCode::Attention,
        (false, false) => ExitCode::Ok,
    })
}

/// The configuration itself, and each file that decides for the host and that others can change.
fn configuration(context: &Context) -> Vec<Finding> {
    let draft = match Draft::open(&context.global.config) {
        Ok(draft) => draft,
        Err(problems) => return vec![failed("configuration", &problems.into())],
    };
    let open = ours::open_to_others(&draft, context);
    let mut found: Vec<_> = open
        .into_iter()
        .map(|error| failed("ownership", &error.into()))
        .collect();
    found.push(understood(draft, context));
    found
}

fn understood(draft: Draft, context: &Context) -> Finding {
    let file = context.global.config.display();
    match host::checked(draft, context) {
        Ok(config) => Finding {
            check: "configuration".to_owned(),
            result: "ok",
            detail: format!(
                "\"{file}\" has {}",
                crate::errors::counted(config.rotations.len(), "rotation")
            ),
            advice: None,
        },
        Err(failure) => failed("configuration", &failure),
    }
}

fn memory() -> Finding {
    let (result, detail, advice) = if memory::is_private() {
        ("ok", "no core files, and closed to other processes", None)
    } else {
        (
            "warning",
            "the system may write this process's memory, with passwords in it, into a core file",
            Some("`ulimit -c 0` for the service (systemd: LimitCORE=0)".to_owned()),
        )
    };
    Finding {
        check: "memory".to_owned(),
        result,
        detail: detail.to_owned(),
        advice,
    }
}

fn failed(check: &str, failure: &Failure) -> Finding {
    let (detail, advice) = match failure {
        Failure::Error(report) => {
            let mut words = vec![report.message.clone()];
            words.extend(report.causes.iter().cloned());
            (words.join(": "), report.hints.first().cloned())
        }
        Failure::Config(problems) => (
            problems.to_string(),
            Some("`keywheel config check` explains each".to_owned()),
        ),
        Failure::Silent(_) => (String::new(), None),
    };
    Finding {
        check: check.to_owned(),
        result: "failure",
        detail,
        advice,
    }
}

fn text(found: &[Finding], style: Style) -> String {
    let mut text = Text::default();
    for finding in found {
        let word = match finding.result {
            "ok" => style.good("[ok]     "),
            "warning" => style.attention("[warning]"),
            _ => style.bad("[failure]"),
        };
        text.line(format_args!(
            "{word} {:<13} {}",
            finding.check,
            finding.detail.replace('\n', "\n              ")
        ));
        if let Some(advice) = &finding.advice {
            text.line(format_args!("          {} {advice}", style.hint("hint:")));
        }
    }
    text.finish()
}
