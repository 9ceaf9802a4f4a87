//! How a run moves, told on standard error: a moving line on a terminal, one plain line for each step otherwise.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use keywheel_engine::{DescribedStep, Description, Observer, State, describe};
use keywheel_model::{StepName, Timestamp};

use crate::output::Output;
use crate::time;

/// Tells of one run.
#[derive(Debug)]
pub(crate) struct Progress {
    output: Output,
    bar: Option<ProgressBar>,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// Whether the run's name was told.
    run: bool,
    /// Where each step stood when it was told of.
    steps: Vec<ToldStep>,
    /// Until when it waits, as told.
    waits_until: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ToldStep {
    step: StepName,
    ended: Option<Timestamp>,
    /// The failure that was told, by its try.
    failure: Option<(u32, Option<String>)>,
}

impl ToldStep {
    fn of(step: &DescribedStep) -> Self {
        Self {
            step: step.step,
            ended: step.ended,
            failure: step.failed.then(|| (step.tries, step.code.clone())),
        }
    }
}

impl Progress {
    /// For one run.
    pub(crate) fn new(output: &Output) -> Self {
        let bar = output.is_live().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            output: output.clone(),
            bar,
            told: Mutex::default(),
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.output.say(text)),
            None => self.output.say(text),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Progress {
    fn changed(&self, state: &State) {
        let described = describe(state);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.run {
            told.run = true;
            self.line(&format!("{} {}", state.settings.rotation, state.run));
            // What an earlier command has told is not told again.
            told.steps = described.steps.iter().map(ToldStep::of).collect();
        }
        let mut failure = None;
        for step in &described.steps {
            let now = ToldStep::of(step);
            let before = told.steps.iter().position(|known| known.step == step.step);
            let is_news = before.is_none_or(|at| told.steps[at] != now);
            if is_news && let Some(text) = line_of(step) {
                self.line(&text);
                failure = now.failure.as_ref().and(step.message.as_ref()).or(failure);
            }
            match before {
                Some(at) => told.steps[at] = now,
                None => told.steps.push(now),
            }
        }
        if let Some(text) = wait_of(&described, failure)
            && told.waits_until != described.waits_until
        {
            self.line(&text);
        }
        told.waits_until = described.waits_until;
        let open = described.steps.iter().find(|step| step.ended.is_none());
        if let (Some(bar), Some(step)) = (&self.bar, open) {
            bar.set_message(format!("{:<10} {}", step.step.as_str(), step.safety));
        }
    }
}

/// What is new of a step: its end, or a try that failed. Nothing while it is under way.
fn line_of(step: &DescribedStep) -> Option<String> {
    let name = step.step.as_str();
    let cause = match (&step.code, &step.message) {
        (Some(code), Some(message)) if step.failed && !message.is_empty() => format!(": {code}: {message}"),
        (Some(code), _) if step.failed => format!(": {code}"),
        _ => String::new(),
    };
    match step.took() {
        Some(took) => {
            let word = if step.failed { "failed" } else { "done" };
            let spent = keywheel_config::show_duration(took);
            Some(format!("  {name:<10} {word}  {}  {spent}{cause}", step.safety))
        }
        None if step.failed => Some(format!("  {name:<10} try {}{cause}", step.tries)),
        None => None,
    }
}

/// That it waits, until when, and for what. A cause that has just been told with its step is not repeated.
fn wait_of(described: &Description, told: Option<&String>) -> Option<String> {
    let (until, what) = (described.waits_until?, described.waits_for?);
    let cause = match &described.trouble {
        Some(trouble) if told != Some(&trouble.message) => format!(": {}: {}", trouble.code, trouble.message),
        _ => String::new(),
    };
    Some(format!("  waits until {}, for {what}{cause}", time::show(until)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_engine::Trouble;
    use keywheel_model::Safety;

    fn step(ended: Option<u64>, failed: bool) -> DescribedStep {
        DescribedStep {
            step: StepName::Apply,
            began: Timestamp::from_unix_ms(1_000),
            again: None,
            ended: ended.map(Timestamp::from_unix_ms),
            tries: 2,
            code: Some("net.timeout".to_owned()),
            message: Some("db:5432: no answer".to_owned()),
            failed,
            safety: Safety::OldValid,
        }
    }

    #[test]
    fn a_step_is_told_by_how_it_ended() {
        let told = |ended, failed| line_of(&step(ended, failed));
        assert_eq!(told(None, false), None);
        assert_eq!(
            told(None, true).as_deref(),
            Some("  apply      try 2: net.timeout: db:5432: no answer")
        );
        // It came through after all: the failure of an earlier try is history.
        assert_eq!(
            told(Some(1_250), false).as_deref(),
            Some("  apply      done  old-valid  250ms")
        );
        let mut second = step(Some(61_040), false);
        second.again = Some(Timestamp::from_unix_ms(61_000));
        assert_eq!(
            line_of(&second).as_deref(),
            Some("  apply      done  old-valid  40ms")
        );
        assert_eq!(
            told(Some(1_250), true).as_deref(),
            Some("  apply      failed  old-valid  250ms: net.timeout: db:5432: no answer")
        );
    }

    #[test]
    fn a_wait_names_its_cause_once() {
        let described = Description {
            word: keywheel_engine::RunWord::Waiting,
            safety: Safety::OldValid,
            waits_until: Some(Timestamp::from_unix_ms(1_795_571_930_000)),
            waits_for: Some("the next try"),
            trouble: Some(Trouble::new("net.timeout", "db:5432: no answer")),
            steps: Vec::new(),
        };
        let words = "  waits until 2026-11-25 01:58:50Z, for the next try";
        let message = "db:5432: no answer".to_owned();
        assert_eq!(wait_of(&described, Some(&message)).as_deref(), Some(words));
        assert_eq!(
            wait_of(&described, None),
            Some(format!("{words}: net.timeout: {message}"))
        );
    }
}
