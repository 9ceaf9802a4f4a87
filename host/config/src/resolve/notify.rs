//! Sinks of notices.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Resolver;
use crate::config::{Notify, NotifyKind};
use crate::document::At;
use crate::raw::notify::{About, Kind, Notify as Raw};

const TIMEOUT: Duration = Duration::from_secs(30);

impl Resolver {
    pub(super) fn notify(&mut self) -> Vec<Notify> {
        let raw: Vec<Raw> = self.section("/notify").unwrap_or_default();
        let mut names = BTreeSet::new();
        let sinks = raw.into_iter().enumerate();
        sinks
            .map(|(at, sink)| {
                let pointer = format!("/notify/{at}");
                if !names.insert(sink.name.clone()) {
                    let message = format!("there are two sinks with the name {:?}", sink.name);
                    let hint = "give each a name of its own".to_owned();
                    self.report(
                        At::Value(&format!("{pointer}/name")),
                        "config.value",
                        message,
                        Some(hint),
                    );
                }
                let kind = self.notify_kind(&pointer, &sink);
                let about = sink.about.unwrap_or_else(|| vec![About::Attention]);
                Notify {
                    name: sink.name,
                    kind,
                    attention: about.contains(&About::Attention),
                    events: about.contains(&About::Events),
                }
            })
            .collect()
    }

    fn notify_kind(&mut self, pointer: &str, sink: &Raw) -> NotifyKind {
        match sink.kind {
            Kind::Log => {
                let unused = [
                    ("command", !sink.command.is_empty()),
                    ("timeout", sink.timeout.is_some()),
                ];
                for (key, _) in unused.into_iter().filter(|(_, is_there)| *is_there) {
                    self.report(
                        At::Value(&format!("{pointer}/{key}")),
                        "config.value",
                        format!("`{key}` is of `kind = \"command\"` alone"),
                        None,
                    );
                }
                NotifyKind::Log
            }
            Kind::Command => {
                let program = sink.command.first().map(PathBuf::from).unwrap_or_default();
                if !program.is_absolute() {
                    let at = if sink.command.is_empty() {
                        pointer.to_owned()
                    } else {
                        format!("{pointer}/command/0")
                    };
                    self.report(
                        At::Value(&at),
                        "config.value",
                        "`command` begins with no whole path of a program".to_owned(),
                        Some("like command = [\"/usr/local/bin/page\", \"--from\", \"keywheel\"]".to_owned()),
                    );
                }
                NotifyKind::Command {
                    program: Path::new(&program).to_owned(),
                    arguments: sink.command.iter().skip(1).cloned().collect(),
                    timeout: self.duration(
                        &format!("{pointer}/timeout"),
                        sink.timeout.as_deref(),
                        TIMEOUT,
                        (Duration::from_secs(1), Duration::from_mins(5)),
                    ),
                }
            }
        }
    }
}
