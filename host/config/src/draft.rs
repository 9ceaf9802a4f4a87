//! From a draft to a configuration: against files, plugins and grants.

use std::collections::BTreeMap;
use std::path::Path;

use keywheel_manifest::Manifest;
use keywheel_model::{PluginName, RotationName};

use crate::against;
use crate::config::{Config, Rotation};
use crate::document::{At, join};
use crate::problem::Problems;
use crate::resolve::Draft;
use crate::sink::NotifyKind;

impl Draft {
    /// Looks at each file of the trust sets by `examine`, which says what is wrong with one and the way out: a fragment that goes on
    /// from the file's name, and a hint. What it finds comes with the other problems.
    pub fn examine_trust(&mut self, examine: impl Fn(&Path) -> Result<(), (String, String)>) {
        for (name, set) in &self.config.trust {
            for (at, path) in set.pem.iter().enumerate() {
                let Err((what, hint)) = examine(path) else {
                    continue;
                };
                let pointer = format!("{}/pem/{at}", join("/trust", name));
                let message = format!("\"{}\" {what}", path.display());
                let problem =
                    self.config
                        .document
                        .problem(At::Value(&pointer), "config.trust", message, Some(hint));
                self.untrusted.push((name.clone(), problem));
            }
        }
    }

    /// Looks at the program of each hook by `examine`, as [`examine_trust`](Self::examine_trust) does at files.
    pub fn examine_hooks(&mut self, examine: impl Fn(&Path) -> Result<(), (String, String)>) {
        for rotation in self.config.samples() {
            for (at, consumer) in rotation.consumers.iter().enumerate() {
                let program = consumer.hook.as_ref().map(|hook| &hook.program);
                let Some(program) = program.filter(|program| program.is_absolute()) else {
                    continue;
                };
                let Err((what, hint)) = examine(program) else {
                    continue;
                };
                let pointer = format!("/rotation/{}/consumers/{at}/hook/exec/0", rotation.index);
                let message = format!("\"{}\" {what}", program.display());
                let problem =
                    self.config
                        .document
                        .problem(At::Value(&pointer), "config.hook", message, Some(hint));
                self.unfit.push((rotation.index, problem));
            }
        }
    }

    /// The same for the program of each sink of notices. A host goes on without it and says so; `config check` is asked before.
    pub fn examine_sinks(&mut self, examine: impl Fn(&Path) -> Result<(), (String, String)>) {
        for (at, sink) in self.config.notify.iter().enumerate() {
            let NotifyKind::Command { program, .. } = &sink.kind else {
                continue;
            };
            if !program.is_absolute() {
                continue;
            }
            let Err((what, hint)) = examine(program) else {
                continue;
            };
            let pointer = format!("/notify/{at}/command/0");
            let message = format!("\"{}\" {what}", program.display());
            let problem =
                self.config
                    .document
                    .problem(At::Value(&pointer), "config.notify", message, Some(hint));
            self.problems.push(problem);
        }
    }

    /// The configuration, if nothing is wrong with it by itself. Plugins are not asked: see [`Draft::check`].
    ///
    /// # Errors
    /// Every problem.
    pub fn finish(mut self) -> Result<Config, Problems> {
        self.problems
            .extend(self.untrusted.into_iter().map(|(_, problem)| problem));
        self.problems
            .extend(self.unfit.into_iter().map(|(_, problem)| problem));
        Problems::result(self.problems)?;
        Ok(self.config)
    }

    /// The configuration, if nothing is wrong with it by itself, nor against the plugins' manifests, nor against the
    /// grants. `grants` are the grant files by their stem.
    ///
    /// # Errors
    /// Every problem of all kinds.
    pub fn check(
        mut self,
        manifests: &BTreeMap<PluginName, Manifest>,
        grants: &BTreeMap<String, GrantSubject>,
    ) -> Result<Config, Problems> {
        self.config.keep_manifests(manifests);
        let missing = against::missing(&self.config, manifests);
        self.problems
            .extend(missing.into_iter().map(|(_, problem)| problem));
        self.problems.extend(against::manifests(&self.config, manifests));
        self.problems.extend(against::grants(&self.config, grants));
        self.finish()
    }

    /// The same, where a lost file stops those who need it and nobody else: what is wrong with a plugin's file, a trust set's or a hook's program is kept
    /// with the rotations that have that plugin, name that set or have that hook, and stops these alone ([`Config::usable`]).
    ///
    /// # Errors
    /// Every other problem.
    pub fn check_apart(
        mut self,
        manifests: &BTreeMap<PluginName, Manifest>,
        grants: &BTreeMap<String, GrantSubject>,
    ) -> Result<Config, Problems> {
        self.config.keep_manifests(manifests);
        let mut apart = against::missing(&self.config, manifests);
        apart.append(&mut self.unfit);
        for (set, problem) in std::mem::take(&mut self.untrusted) {
            let users = self.config.samples().filter(|rotation| names_set(rotation, &set));
            apart.extend(users.map(|rotation| (rotation.index, problem.clone())));
        }
        self.problems.extend(against::manifests(&self.config, manifests));
        self.problems.extend(against::grants(&self.config, grants));
        let mut config = self.finish()?;
        for (rotation, problem) in apart {
            config.apart.entry(rotation).or_default().push(problem);
        }
        Ok(config)
    }
}

/// Whether a setting of a rotation may be the name of a trust set: which of them is one, only its plugin knows, and that may be missing, too.
fn names_set(rotation: &Rotation, set: &str) -> bool {
    let settings = rotation.config.as_object().into_iter().flatten();
    settings.into_iter().any(|(_, value)| value.as_str() == Some(set))
}

/// Whom a grant file is for: what [`Draft::check`] needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantSubject {
    /// The plugin.
    pub plugin: PluginName,
    /// The rotation, if it is for one alone.
    pub rotation: Option<RotationName>,
}
