//! The document that `plan` returns; its form is in `wit/plugin/plugin.wit`.

use serde::Serialize;

use crate::error::ErrorExt as _;
use crate::{Accounts, Error, Run, Version};

/// What a run would do, and what would stop it.
#[derive(Debug, Default, Serialize)]
pub struct Plan {
    steps: Vec<Step>,
    problems: Vec<Note>,
    warnings: Vec<Note>,
    gap: Option<String>,
}

#[derive(Debug, Serialize)]
struct Step {
    step: &'static str,
    text: String,
}

#[derive(Debug, Serialize)]
struct Note {
    code: &'static str,
    message: String,
    hint: String,
}

impl Note {
    fn new(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: hint.into() }
    }
}

impl Plan {
    /// What a step would do, in the target's own language where that is short.
    pub fn step(&mut self, step: &'static str, text: impl Into<String>) {
        self.steps.push(Step { step, text: text.into() });
    }

    /// Stops the run before anything is written. `code` is stable, dotted, and begins with the plugin's name; `hint` is the
    /// way out.
    pub fn problem(&mut self, code: &'static str, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Note::new(code, message, hint));
    }

    /// Is shown, and stops nothing.
    pub fn warning(&mut self, code: &'static str, message: impl Into<String>, hint: impl Into<String>) {
        self.warnings.push(Note::new(code, message, hint));
    }

    /// Says that a version is not of the form that the configuration names: it was of another one before.
    ///
    /// # Errors
    /// The vault cannot be read.
    pub fn of_form(&mut self, run: &Run, accounts: &Accounts<'_>) -> Result<(), Error> {
        if let Err(problem) = accounts.password_if_any(run, Version::Current) {
            if !problem.is_of_value() {
                return Err(problem);
            }
            let hint = "name the `format` that it has; or take the rotation out of the configuration, import it in the other form, and put the rotation back";
            self.problem("version.form", format!("the current version: {}", problem.message), hint);
        }
        Ok(())
    }

    /// Says what becomes of an account whose password the vault never had ([`crate::Accounts::stranger`]): a warning, and a problem while
    /// somebody uses the account. `codes`: of the warning and of the problem; `bare`: the account is known to have no password that could be lost.
    pub fn replaces(&mut self, codes: [&'static str; 2], name: &str, bare: bool, sessions: i64) {
        let hint = "name an account that nobody uses yet";
        if !bare {
            let message = format!(
                "whatever password {name} has now is not in the vault: it is replaced, and a rollback clears it"
            );
            self.warning(codes[0], message, hint);
        }
        if sessions > 0 {
            let message = format!(
                "{name} is in use ({sessions} sessions), and the vault never had its password: its users would be shut out"
            );
            self.problem(codes[1], message, format!("end its use, or {hint}"));
        }
    }

    /// Says that an account keeps passwords beside the one that the vault has: a rotation does not know them and takes none of them away. `held`: how
    /// many the target has for it.
    pub fn others(&mut self, code: &'static str, name: &str, held: usize) {
        if held > 1 {
            let message =
                format!("{name} has {} more password(s), which stay valid: the vault does not know them", held - 1);
            self.warning(code, message, "take them away on the target, or all but one, and rotate");
        }
    }

    /// For how long which clients are refused, where that cannot be avoided.
    pub fn gap(&mut self, text: impl Into<String>) {
        self.gap = Some(text.into());
    }

    /// The JSON document.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_four_keys_of_the_contract() {
        let mut plan = Plan::default();
        plan.step("apply", "ALTER ROLE");
        plan.problem("x.y", "no", "do");
        plan.warning("x.z", "hm", "look");
        let expected = r#"{"steps":[{"step":"apply","text":"ALTER ROLE"}],"problems":[{"code":"x.y","message":"no","hint":"do"}],"warnings":[{"code":"x.z","message":"hm","hint":"look"}],"gap":null}"#;
        assert_eq!(plan.to_json(), expected);
    }

    #[test]
    fn passwords_beside_the_one_in_the_vault_are_a_warning_and_no_problem() {
        for (held, words) in [(0, None), (1, None), (3, Some("2 more password(s)"))] {
            let mut plan = Plan::default();
            plan.others("redis.others", "the user app", held);
            let said = plan.to_json();
            assert_eq!(said.contains("redis.others"), words.is_some(), "{said}");
            assert!(words.is_none_or(|words| said.contains(words)), "{said}");
            assert!(plan.problems.is_empty());
        }
    }
}
