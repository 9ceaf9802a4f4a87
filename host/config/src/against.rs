//! What must hold between the configuration and the manifests of the plugins that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keywheel_manifest::{Manifest, Mode, Principal};
use keywheel_model::{PluginName, Proof, RotationName};
use serde_json::Value;

use crate::config::{Config, Gap, ProofChoice, Rotation};
use crate::document::{At, Document, join, quoted};
use crate::draft::GrantSubject;
use crate::form::FormFormat;
use crate::problem::Problem;
use crate::structure::{self, Owner, nearest};

/// The `format` of a setting that names a trust set of the host's configuration.
const TRUST_SET: &str = "trust-set";

/// Everything that the manifests object to, but for those that are not there: see [`missing`].
pub(crate) fn manifests(config: &Config, manifests: &BTreeMap<PluginName, Manifest>) -> Vec<Problem> {
    let mut checker = Checker {
        config,
        document: &config.document,
        problems: Vec::new(),
    };
    let mut taken = BTreeMap::new();
    for rotation in &config.rotations {
        let Some(manifest) = manifests.get(&rotation.plugin) else {
            continue;
        };
        let mut principals = checker.rotation(rotation, manifest);
        principals.extend(manifest.copies(&rotation.config));
        checker.alone(rotation, principals, &mut taken);
    }
    checker.problems
}

/// Rotations whose plugin has no manifest here, and what to say of each.
pub(crate) fn missing(config: &Config, manifests: &BTreeMap<PluginName, Manifest>) -> Vec<(usize, Problem)> {
    let is_missing = |rotation: &&Arc<Rotation>| !manifests.contains_key(&rotation.plugin);
    let samples = config.tables.iter().map(|table| &table.sample);
    let rotations = config.rotations.iter().chain(samples).filter(is_missing);
    rotations
        .map(|rotation| (rotation.index, unknown_plugin(config, rotation, manifests)))
        .collect()
}

fn unknown_plugin(
    config: &Config,
    rotation: &Rotation,
    manifests: &BTreeMap<PluginName, Manifest>,
) -> Problem {
    let names: Vec<&str> = manifests.keys().map(PluginName::as_str).collect();
    let hint = match nearest(rotation.plugin.as_str(), &names) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => format!("put its `.wasm` file into \"{}\"", config.plugins.dir.display()),
    };
    let message = format!("there is no plugin `{}`", rotation.plugin);
    let pointer = format!("/rotation/{}/plugin", rotation.index);
    config
        .document
        .problem(At::Value(&pointer), "config.unknown-plugin", message, Some(hint))
}

/// A grant that a rotation names is there, and is for it.
pub(crate) fn grants(config: &Config, grants: &BTreeMap<String, GrantSubject>) -> Vec<Problem> {
    let mut checker = Checker {
        config,
        document: &config.document,
        problems: Vec::new(),
    };
    for rotation in &config.rotations {
        let Some(policy) = &rotation.policy else { continue };
        let lines = format!(
            "plugin = \"{}\"\nrotation = \"{}\"",
            rotation.plugin, rotation.name
        );
        match grants.get(policy) {
            Some(grant)
                if grant.plugin == rotation.plugin && grant.rotation.as_ref() == Some(&rotation.name) => {}
            Some(_) => {
                let message = format!("the grant `{policy}` is not for this rotation alone");
                let hint = format!("it begins with:\n{lines}");
                checker.report(rotation, "/policy", "config.other-grant", message, Some(hint));
            }
            None => {
                let file = config.policies_dir.join(format!("{policy}.toml"));
                let message = format!("there is no grant `{policy}`");
                let hint = format!("write \"{}\", which begins with:\n{lines}", file.display());
                checker.report(rotation, "/policy", "config.no-grant", message, Some(hint));
            }
        }
    }
    checker.problems
}

/// Holds rotations against what their plugins want.
pub(crate) struct Checker<'a> {
    pub(crate) config: &'a Config,
    /// Where the rotations stand.
    pub(crate) document: &'a Document,
    pub(crate) problems: Vec<Problem>,
}

impl Checker<'_> {
    /// Everything but whether others rotate the same accounts, which are given back.
    pub(crate) fn rotation(&mut self, rotation: &Rotation, manifest: &Manifest) -> BTreeSet<Principal> {
        self.inputs(rotation, manifest);
        if !self.settings(rotation, manifest) {
            return BTreeSet::new();
        }
        self.trust_sets(rotation, manifest);
        self.mode(rotation, manifest);
        self.principals(rotation, manifest)
    }

    fn report(
        &mut self,
        rotation: &Rotation,
        key: &str,
        code: &'static str,
        message: String,
        hint: Option<String>,
    ) {
        let pointer = format!("/rotation/{}{key}", rotation.index);
        self.problems
            .push(self.document.problem(At::Value(&pointer), code, message, hint));
    }

    fn inputs(&mut self, rotation: &Rotation, manifest: &Manifest) {
        let inputs = manifest.inputs_of(&rotation.config);
        let known: Vec<&str> = inputs.iter().map(String::as_str).collect();
        for (key, secret) in &rotation.inputs {
            let pointer = join("/inputs", key);
            if !inputs.contains(key) {
                let hint = match nearest(key, &known) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None if known.is_empty() => "it takes none".to_owned(),
                    None => format!("it takes {}", known.join(", ")),
                };
                let message = format!("the plugin `{}` takes no input {}", rotation.plugin, quoted(key));
                self.report(rotation, &pointer, "config.unknown-input", message, Some(hint));
            }
            if *secret == rotation.secret {
                let message = format!(
                    "the input `{key}` is the rotated secret itself: the login that rotates would die"
                );
                let hint = "name the credential of another account".to_owned();
                self.report(rotation, &pointer, "config.self-target", message, Some(hint));
            }
        }
        for name in inputs.iter().filter(|name| !rotation.inputs.contains_key(*name)) {
            let message = format!("the plugin `{}` needs the input `{name}`", rotation.plugin);
            let hint = format!("add `inputs = {{ {name} = \"NAME\" }}`, the name of a secret in the vault");
            self.report(rotation, "", "config.missing-input", message, Some(hint));
        }
    }

    /// Whether the plugin's own table fits the plugin's schema.
    fn settings(&mut self, rotation: &Rotation, manifest: &Manifest) -> bool {
        let base = format!("/rotation/{}/config", rotation.index);
        match manifest.validator() {
            Ok(validator) => {
                let schema = &manifest.config_schema;
                let document = self.document;
                let found = structure::check(
                    document,
                    Owner::Plugin,
                    schema,
                    validator,
                    &base,
                    &rotation.config,
                );
                // What could not be read is not what the rest would be about.
                let fits = found.is_empty() && !document.is_unread_below(&base);
                self.problems.extend(found);
                fits
            }
            Err(error) => {
                let message = format!("the plugin's schema is not usable: {error}");
                self.report(rotation, "/plugin", "config.plugin-schema", message, None);
                false
            }
        }
    }

    /// Settings that the plugin's schema says name a trust set (`"format": "trust-set"`) name one that is configured.
    fn trust_sets(&mut self, rotation: &Rotation, manifest: &Manifest) {
        let properties = manifest
            .config_schema
            .get("properties")
            .and_then(Value::as_object);
        let known: Vec<&str> = self.config.trust.keys().map(String::as_str).collect();
        for (key, schema) in properties.into_iter().flatten() {
            let names_one = schema.get("format").and_then(Value::as_str) == Some(TRUST_SET);
            let Some(named) = rotation.config.get(key).and_then(Value::as_str) else {
                continue;
            };
            if !names_one || known.contains(&named) {
                continue;
            }
            let hint = match nearest(named, &known) {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => format!(
                    "add the table `[trust.NAME]` with `pem = [\"FILE\"]`, or leave `{key}` out to trust what the operating system trusts"
                ),
            };
            let message = format!("there is no trust set {}", quoted(named));
            let pointer = join("/config", key);
            self.report(rotation, &pointer, "config.trust", message, Some(hint));
        }
    }

    fn mode(&mut self, rotation: &Rotation, manifest: &Manifest) {
        let Some(mode) = manifest.mode(&rotation.config) else {
            let message = format!("no mode of the plugin `{}` fits these settings", rotation.plugin);
            let hint = Some(format!(
                "`keywheel plugin show {}` prints its modes",
                rotation.plugin
            ));
            return self.report(rotation, "/config", "config.no-mode", message, hint);
        };
        self.gap(rotation, manifest, mode);
        match (mode.proof, rotation.proof) {
            (Proof::None, ProofChoice::Login | ProofChoice::Deferred) => {
                let message = "nothing can ask this target whether the new credential works".to_owned();
                let hint = Some("say that this is known: `proof = \"accept\"`".to_owned());
                self.report(rotation, "/proof", "config.no-proof", message, hint);
            }
            (Proof::Login | Proof::Handshake, ProofChoice::Accept) => {
                let message = "this target can be asked whether the new credential works".to_owned();
                let hint =
                    Some("leave `proof` out, or promote before the login: `proof = \"deferred\"`".to_owned());
                self.report(rotation, "/proof", "config.needless-proof", message, hint);
            }
            _ => {}
        }
    }

    /// Rule P8.
    fn gap(&mut self, rotation: &Rotation, manifest: &Manifest, mode: &Mode) {
        if !mode.class.has_gap() || rotation.gap == Gap::Accept || rotation.announces_to_all() {
            return;
        }
        let other = manifest.modes().iter().any(|mode| !mode.class.has_gap());
        let other = if other {
            "choose a mode that keeps two credentials valid, or "
        } else {
            ""
        };
        let message =
            "the target keeps one credential: between apply and promote consumers hold a dead one".to_owned();
        let hint = Some(format!(
            "{other}give every consumer that can hold two a hook with `announce = true`, or say that this gap is known: `gap = \"accept\"`"
        ));
        self.report(rotation, "/gap", "config.gap", message, hint);
    }

    /// Rule P13.
    fn principals(&mut self, rotation: &Rotation, manifest: &Manifest) -> BTreeSet<Principal> {
        let principals = manifest.principals(&rotation.config);
        if principals.is_empty() {
            let message = "these settings do not say which account is rotated".to_owned();
            let hint = Some(format!(
                "`keywheel plugin show {}` prints which settings do",
                rotation.plugin
            ));
            self.report(rotation, "/config", "config.no-account", message, hint);
        }
        let bare = rotation
            .forms
            .iter()
            .position(|form| form.format == FormFormat::Password)
            .map(|at| format!("/forms/{at}/format"));
        let outputs = (!rotation.outputs.is_empty()).then(|| "/outputs".to_owned());
        let split = outputs
            .or(bare)
            .filter(|_| manifest.changes_user(&rotation.config));
        if let Some(at) = split {
            let message = "the user changes with each rotation: a reader of two names could get one user's name and \
                           the other's password";
            let hint = "leave it out: a name of its own may have what holds user name and password together, a form `json` or `connection-string`"
                .to_owned();
            self.report(rotation, &at, "config.split-pair", message.to_owned(), Some(hint));
        }
        principals
    }

    /// Rule P12.
    fn alone<'c>(
        &mut self,
        rotation: &'c Rotation,
        principals: BTreeSet<Principal>,
        taken: &mut BTreeMap<Principal, &'c RotationName>,
    ) {
        for principal in principals {
            match taken.get(&principal) {
                Some(other) => {
                    let message = format!("this rotates the same account as the rotation `{other}`");
                    let hint =
                        "rotate each account in one place, and let its consumers share the secret".to_owned();
                    self.report(
                        rotation,
                        "/config",
                        "config.one-rotation-per-account",
                        message,
                        Some(hint),
                    );
                    break;
                }
                None => drop(taken.insert(principal, &rotation.name)),
            }
        }
    }
}
