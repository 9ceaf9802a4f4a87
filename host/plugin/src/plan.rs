//! The answer of `plan`: a JSON document by a stranger, so it is bounded and cleaned before anybody prints it.

use keywheel_model::{ErrorKind, StepError, StepName};
use serde::{Deserialize, Serialize};

/// The largest document.
const DOCUMENT_BYTES: usize = 64 << 10;
/// The most entries of each list.
const ENTRIES: usize = 100;
/// The longest text of an entry; longer ones are cut.
const TEXT_CHARS: usize = 1000;

/// What a run would do, and what would stop it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What the plugin would do.
    pub steps: Vec<PlannedStep>,
    /// What stops the run before anything is written.
    pub problems: Vec<Finding>,
    /// What a person should know.
    pub warnings: Vec<Finding>,
    /// For whom the credential is refused for a while; none: for nobody.
    pub gap: Option<String>,
}

/// One thing that a step would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Which step.
    pub step: StepName,
    /// What it would do, for people.
    pub text: String,
}

/// A problem or a warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable, dotted, lower case.
    pub code: String,
    /// For people.
    pub message: String,
    /// The way out.
    #[serde(default)]
    pub hint: Option<String>,
}

impl Plan {
    /// Reads the plugin's answer.
    ///
    /// # Errors
    /// `plugin.plan` if it is no such document, or larger than one may be.
    pub(crate) fn read(text: &str) -> Result<Self, StepError> {
        if text.len() > DOCUMENT_BYTES {
            return Err(wrong(format!(
                "has {} bytes, at most {DOCUMENT_BYTES} are read",
                text.len()
            )));
        }
        let mut plan: Self = serde_json::from_str(text)
            .map_err(|error| wrong(format!("is not the document of `plan`: {error}")))?;
        if [plan.steps.len(), plan.problems.len(), plan.warnings.len()]
            .into_iter()
            .any(|length| length > ENTRIES)
        {
            return Err(wrong(format!("has more than {ENTRIES} entries of one kind")));
        }
        if let Some(step) = plan.steps.iter().find(|planned| !calls_the_plugin(planned.step)) {
            return Err(wrong(format!(
                "speaks of `{}`, which is not the plugin's",
                step.step
            )));
        }
        plan.steps.iter_mut().for_each(|step| clean(&mut step.text));
        for finding in plan.problems.iter_mut().chain(&mut plan.warnings) {
            clean(&mut finding.message);
            finding.hint.as_mut().map(clean);
            if !is_code(&finding.code) {
                return Err(wrong("has a code that is not dotted lower case".into()));
            }
        }
        plan.gap.as_mut().map(clean);
        Ok(plan)
    }
}

fn calls_the_plugin(step: StepName) -> bool {
    matches!(
        step,
        StepName::Create | StepName::Apply | StepName::Test | StepName::Revoke | StepName::Rollback
    )
}

fn wrong(what: String) -> StepError {
    StepError::new(
        ErrorKind::Other,
        "plugin.plan",
        format!("the plugin's plan {what}"),
    )
}

/// What a guest's code may look like; anything else would be a second message.
pub(crate) fn is_code(code: &str) -> bool {
    (1..=64).contains(&code.len())
        && code
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-'))
}

/// One line of printable text of bounded length: what a guest writes ends on a terminal.
pub(crate) fn clean(text: &mut String) {
    let fine = |character: char| !character.is_control() && !is_invisible(character);
    if text.chars().count() > TEXT_CHARS || !text.chars().all(fine) {
        *text = text
            .chars()
            .map(|character| if fine(character) { character } else { ' ' })
            .take(TEXT_CHARS)
            .collect();
    }
}

/// Characters that reorder or hide what stands beside them.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(steps: &str, problems: &str) -> String {
        format!(r#"{{"steps":[{steps}],"problems":[{problems}],"warnings":[],"gap":null,"later":1}}"#)
    }

    #[test]
    fn a_plan_is_read_and_a_key_from_a_later_contract_is_ignored() {
        let plan = Plan::read(&document(r#"{"step":"apply","text":"ALTER ROLE"}"#, "")).unwrap();
        assert_eq!(
            plan.steps,
            [PlannedStep {
                step: StepName::Apply,
                text: "ALTER ROLE".into()
            }]
        );
    }

    #[test]
    fn what_is_no_plan_is_refused() {
        let many = vec![r#"{"code":"a","message":"b"}"#; 101].join(",");
        for bad in [
            "",
            "[]",
            "{}",
            &document(r#"{"step":"promote","text":""}"#, ""),
            &document("", r#"{"code":"Not a code","message":""}"#),
            &document("", &many),
            &" ".repeat(DOCUMENT_BYTES + 1),
        ] {
            assert_eq!(Plan::read(bad).unwrap_err().code, "plugin.plan");
        }
    }

    #[test]
    fn texts_cannot_write_on_the_terminal_nor_fill_it() {
        let plan = Plan::read(&document(r#"{"step":"apply","text":"a\u001b[2J\n\u202eb"}"#, "")).unwrap();
        assert_eq!(plan.steps[0].text, "a [2J  b");
        let long = Plan::read(&document(
            &format!(r#"{{"step":"apply","text":"{}"}}"#, "x".repeat(5000)),
            "",
        ))
        .unwrap();
        assert_eq!(long.steps[0].text.len(), TEXT_CHARS);
    }
}
