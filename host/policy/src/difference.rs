use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use keywheel_manifest::{Capability, Manifest};

use crate::grant::{Grant, SecretRule};

/// What a plugin's manifest asks beyond, or no longer needs of, what it was granted.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Difference {
    /// Capabilities that are not granted.
    pub capabilities: BTreeSet<Capability>,
    /// Shapes that are not granted at all.
    pub new_shapes: Vec<String>,
    /// Shapes that are granted under another digest.
    pub changed_shapes: Vec<String>,
    /// Inputs that a shape uses and the grant does not name.
    pub inputs: Vec<String>,
    /// Granted shapes that the manifest no longer has.
    pub dropped_shapes: Vec<String>,
    /// Granted capabilities that the manifest no longer has.
    pub dropped_capabilities: BTreeSet<Capability>,
}

impl Difference {
    /// Whether it asks for more: then an upgrade is held until it is granted. The same or less needs only the new digest.
    pub fn asks_more(&self) -> bool {
        !(self.capabilities.is_empty()
            && self.new_shapes.is_empty()
            && self.changed_shapes.is_empty()
            && self.inputs.is_empty())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        lines.extend(
            self.capabilities
                .iter()
                .map(|capability| format!("+ calls `keywheel:{capability}`")),
        );
        lines.extend(
            self.new_shapes
                .iter()
                .map(|id| format!("+ makes the call `{id}`")),
        );
        lines.extend(
            self.changed_shapes
                .iter()
                .map(|id| format!("~ makes the call `{id}` in another form")),
        );
        lines.extend(
            self.inputs
                .iter()
                .map(|input| format!("+ uses the input `{input}`")),
        );
        lines.extend(
            self.dropped_shapes
                .iter()
                .map(|id| format!("- no longer makes the call `{id}`")),
        );
        lines.extend(
            self.dropped_capabilities
                .iter()
                .map(|capability| format!("- no longer calls `keywheel:{capability}`")),
        );
        if lines.is_empty() {
            lines.push("= asks for what it was granted".to_owned());
        }
        f.write_str(&lines.join("\n"))
    }
}

/// Compares a manifest with the plugin's grant; without one, everything is more.
pub fn difference(manifest: &Manifest, grant: Option<&Grant>) -> Difference {
    let none = BTreeMap::new();
    let (granted, shapes) = grant.map_or((BTreeSet::new(), &none), |grant| {
        (grant.capabilities.clone(), &grant.shapes)
    });
    let mut difference = Difference {
        capabilities: manifest.capabilities.difference(&granted).copied().collect(),
        dropped_capabilities: granted.difference(&manifest.capabilities).copied().collect(),
        dropped_shapes: shapes
            .keys()
            .filter(|id| manifest.shape(id).is_none())
            .cloned()
            .collect(),
        ..Difference::default()
    };
    for shape in manifest.shapes() {
        match shapes.get(shape.id()) {
            Some(digest) if *digest == shape.digest() => {}
            Some(_) => difference.changed_shapes.push(shape.id().to_owned()),
            None => difference.new_shapes.push(shape.id().to_owned()),
        }
    }
    // A glob may cover an input's vault name, which only a rotation knows; it counts as covering.
    let covered = |input: &String| {
        grant.is_some_and(|grant| {
            grant
                .secrets
                .iter()
                .any(|rule| matches!(rule, SecretRule::Vault(_)) || *rule == SecretRule::Input(input.clone()))
        })
    };
    difference.inputs = manifest
        .inputs
        .iter()
        .filter(|input| !covered(input))
        .cloned()
        .collect();
    difference
}

/// The grant that a manifest needs, for `plugin add` to show and write. Hosts and globs of the old grant are kept; without one,
/// `hosts` is what the caller passes (a manifest does not say where its target is).
pub fn suggested_grant(
    manifest: &Manifest,
    old: Option<&Grant>,
    file: &str,
    hosts: &[crate::HostRule],
) -> Grant {
    let own = [SecretRule::Own]
        .into_iter()
        .chain(manifest.inputs.iter().cloned().map(SecretRule::Input));
    let mut secrets = old.map(|grant| grant.secrets.clone()).unwrap_or_default();
    for rule in own {
        if !secrets.contains(&rule) {
            secrets.push(rule);
        }
    }
    Grant {
        file: file.to_owned(),
        plugin: manifest.name.clone(),
        rotation: None,
        capabilities: manifest.capabilities.clone(),
        hosts: old.map_or_else(|| hosts.to_vec(), |grant| grant.hosts.clone()),
        secrets,
        shapes: manifest
            .shapes()
            .iter()
            .map(|shape| (shape.id().to_owned(), shape.digest()))
            .collect(),
        reveal: old.map(|grant| grant.reveal.clone()).unwrap_or_default(),
    }
}
