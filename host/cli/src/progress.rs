//! How a run moves, told on standard error: a moving line on a terminal, one plain line for each step otherwise.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use keywheel_engine::{Observer, State, describe};
use keywheel_model::Timestamp;

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
    /// Steps whose end was told.
    ended: usize,
    /// Tries of the present step that were told.
    tries: u32,
    /// Until when it waits, as told.
    waits_until: Option<Timestamp>,
}

impl Progress {
    /// For one run.
    pub(crate) fn new(output: Output) -> Self {
        let bar = output.is_live().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            output,
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
        }
        for step in described.steps.iter().skip(told.ended) {
            let Some(ended) = step.ended else { break };
            told.ended += 1;
            told.tries = 0;
            let spent = keywheel_config::show_duration(ended.saturating_since(step.began));
            self.line(&format!(
                "  {:<10} done  {}  {spent}",
                step.step.as_str(),
                step.safety
            ));
        }
        let step = described.steps.get(told.ended);
        if let Some(step) = step
            && let Some(code) = step.code.as_ref().filter(|_| step.tries > told.tries)
        {
            told.tries = step.tries;
            self.line(&format!(
                "  {:<10} try {}: {code}  {}",
                step.step.as_str(),
                step.tries,
                step.safety
            ));
        }
        if let (Some(until), Some(what)) = (described.waits_until, described.waits_for)
            && told.waits_until.replace(until) != Some(until)
        {
            self.line(&format!("  waits until {}, for {what}", time::show(until)));
        }
        if let (Some(bar), Some(step)) = (&self.bar, step) {
            bar.set_message(format!("{:<10} {}", step.step.as_str(), step.safety));
        }
    }
}
