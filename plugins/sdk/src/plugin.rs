//! [`Plugin`], and what carries the host's calls to it.

use std::sync::Once;

use serde::de::DeserializeOwned;

use crate::bindings::exports::keywheel::plugin::{configuration, rotator};
use crate::error::error;
use crate::{Error, ErrorKind, Outcome, Plan, Run, Verdict, runtime};

/// A rotator with a typed configuration. See `wit/plugin/plugin.wit` for what each step must do.
pub trait Plugin {
    /// The configuration. The host has checked it against the plugin's JSON Schema.
    type Config: DeserializeOwned;

    /// What a JSON Schema cannot express: JSON pointer and message of each problem.
    fn check(config: &Self::Config) -> Vec<(String, String)> {
        let _ = config;
        Vec::new()
    }

    /// Looks, and says what a run would do and what would stop it.
    ///
    /// # Errors
    /// It could not look at all.
    fn plan(run: &Run, config: &Self::Config) -> Result<Plan, Error>;

    /// Makes the new credential and hands it to `set-pending`.
    ///
    /// # Errors
    /// Of the host or the target.
    fn create(run: &Run, config: &Self::Config) -> Result<Outcome, Error>;

    /// Makes the target accept the pending credential.
    ///
    /// # Errors
    /// Of the host or the target.
    fn apply(run: &Run, config: &Self::Config) -> Result<Outcome, Error>;

    /// Asks the target whether it accepts the subject.
    ///
    /// # Errors
    /// Of the host. What the target says is a verdict, never an error.
    fn test(run: &Run, config: &Self::Config) -> Result<Verdict, Error>;

    /// Makes the target refuse the subject.
    ///
    /// # Errors
    /// Of the host or the target.
    fn revoke(run: &Run, config: &Self::Config) -> Result<Outcome, Error>;

    /// Makes `current` the only accepted credential again.
    ///
    /// # Errors
    /// Of the host or the target.
    fn rollback(run: &Run, config: &Self::Config) -> Result<Outcome, Error>;
}

/// Exports a type that implements [`Plugin`]. Built for another machine than `wasm32`, it only checks that it does.
#[macro_export]
macro_rules! export {
    ($plugin:ident) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
    $crate::bindings::export_bindings!($plugin with_types_in $crate::bindings);
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() = $crate::plugin::is_a_plugin::<$plugin>;
    };
}

#[doc(hidden)]
pub fn is_a_plugin<P: rotator::Guest + configuration::Guest>() {}

impl<P: Plugin> configuration::Guest for P {
    fn check(config: String) -> Vec<(String, String)> {
        match serde_json::from_str(&config) {
            Ok(config) => <P as Plugin>::check(&config),
            Err(problem) => vec![(String::new(), problem.to_string())],
        }
    }
}

impl<P: Plugin> rotator::Guest for P {
    fn plan(run: Run) -> Result<String, Error> {
        enter::<P, _>(&run, P::plan).map(|plan| plan.to_json())
    }

    fn create(run: Run) -> Result<Outcome, Error> {
        enter::<P, _>(&run, P::create)
    }

    fn apply(run: Run) -> Result<Outcome, Error> {
        enter::<P, _>(&run, P::apply)
    }

    fn test(run: Run) -> Result<Verdict, Error> {
        enter::<P, _>(&run, P::test)
    }

    fn revoke(run: Run) -> Result<Outcome, Error> {
        enter::<P, _>(&run, P::revoke)
    }

    fn rollback(run: Run) -> Result<Outcome, Error> {
        enter::<P, _>(&run, P::rollback)
    }
}

fn enter<P: Plugin, T>(run: &Run, step: fn(&Run, &P::Config) -> Result<T, Error>) -> Result<T, Error> {
    log_panics();
    let config = serde_json::from_str(&run.config())
        .map_err(|problem| error(ErrorKind::Invalid, "plugin.configuration", problem.to_string()))?;
    step(run, &config)
}

/// A panic of a guest is a bare trap; the host's log then says where it came from.
fn log_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let text = panic.payload_as_str().unwrap_or("panic");
            runtime::log(runtime::Level::Error, text, &[("place".to_owned(), place)]);
        }));
    });
}
