//! Who reads a secret, and how they are told.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::{Resolver, YEAR};
use crate::config::{Consumer, HOOK_NAMES, Hook};
use crate::document::{At, quoted};
use crate::raw;

const TIMEOUT: Duration = Duration::from_secs(30);

impl Resolver {
    pub(super) fn consumers(&mut self, pointer: &str, consumers: &[raw::Consumer]) -> Vec<Consumer> {
        let mut seen = BTreeSet::new();
        let mut resolved = Vec::new();
        for (at, consumer) in consumers.iter().enumerate() {
            let name = format!("{pointer}/{at}/name");
            if !seen.insert(&consumer.name) {
                let message = format!("the consumer {} stands there twice", quoted(&consumer.name));
                self.report(At::Value(&name), "config.duplicate", message, None);
            }
            let staleness = format!("{pointer}/{at}/staleness");
            let staleness = self.duration(
                &staleness,
                Some(&consumer.staleness),
                Duration::ZERO,
                (Duration::ZERO, YEAR),
            );
            let hook = consumer.hook.as_ref();
            resolved.push(Consumer {
                name: consumer.name.clone(),
                staleness,
                hook: hook.map(|hook| self.hook(&format!("{pointer}/{at}/hook"), hook)),
            });
        }
        resolved
    }

    fn hook(&mut self, pointer: &str, hook: &raw::hook::Hook) -> Hook {
        let program = hook.exec.first().map(PathBuf::from).unwrap_or_default();
        if !program.is_absolute() {
            self.report(
                At::Value(&format!("{pointer}/exec/0")),
                "config.hook",
                "`exec` begins with no whole path of a program".to_owned(),
                Some("like exec = [\"/usr/local/bin/reload-web\", \"{secret}\"]".to_owned()),
            );
        }
        for (at, argument) in hook.exec.iter().enumerate().skip(1) {
            if let Err(message) = check_argument(argument) {
                let names = HOOK_NAMES.map(|name| format!("{{{name}}}")).join(", ");
                self.report(
                    At::Value(&format!("{pointer}/exec/{at}")),
                    "config.hook",
                    message.to_owned(),
                    Some(format!(
                        "there are {names}; whatever else has braces belongs into the program"
                    )),
                );
            }
        }
        Hook {
            program,
            arguments: hook.exec.iter().skip(1).cloned().collect(),
            timeout: self.duration(
                &format!("{pointer}/timeout"),
                hook.timeout.as_deref(),
                TIMEOUT,
                (Duration::from_secs(1), Duration::from_mins(5)),
            ),
            announce: hook.announce,
        }
    }
}

/// An argument holds text and names, and nothing that looks like a name and is none.
fn check_argument(argument: &str) -> Result<(), &'static str> {
    let named = |text: String, name: &&str| text.replace(&format!("{{{name}}}"), "");
    let rest = HOOK_NAMES.iter().fold(argument.to_owned(), named);
    if rest.contains(['{', '}']) {
        return Err("braces that stand for nothing");
    }
    if argument.contains('\0') {
        return Err("an argument may not hold a NUL");
    }
    Ok(())
}
