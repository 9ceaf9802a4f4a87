//! What must hold between parts of the configuration, without any plugin.

use std::collections::BTreeMap;

use crate::config::{Config, Rotation};
use crate::document::{At, Document};
use crate::problem::Problem;
use crate::show_duration;

/// No two rotations with one name, none on one secret; no output on a rotated secret; no input that is its own secret's
/// name; a grace that outlasts every consumer; no group with a rotation that is not there.
pub(crate) fn uniqueness(config: &Config) -> Vec<Problem> {
    let mut problems = unknown_in_groups(config);
    let mut names = BTreeMap::new();
    let mut secrets = BTreeMap::new();
    for rotation in &config.rotations {
        let base = format!("/rotation/{}", rotation.index);
        if let Some(first) = names.insert(&rotation.name, base.clone()) {
            let message = format!("two rotations are named `{}`", rotation.name);
            let hint = also(config, &first);
            problems.push(config.document.problem(
                At::Value(&format!("{base}/name")),
                "config.duplicate",
                message,
                hint,
            ));
        }
        for (at, secret) in rotation.written() {
            if let Some(first) = secrets.insert(secret, base.clone()) {
                let message = format!("the secret `{secret}` is written by two rotations, or twice by one");
                let hint = also(config, &first);
                problems.push(config.document.problem(
                    At::Value(&format!("{base}{at}")),
                    "config.one-rotation-per-secret",
                    message,
                    hint,
                ));
            }
        }
        problems.extend(graces(&config.document, rotation));
    }
    problems
}

/// The old version outlasts every consumer, and nothing is written over what the rotation needs itself.
pub(crate) fn graces(document: &Document, rotation: &Rotation) -> Vec<Problem> {
    let base = format!("/rotation/{}", rotation.index);
    let mut problems = Vec::new();
    // Of the rotated secret itself it is said by what it means for the plugin.
    for (at, secret) in rotation.written().skip(1) {
        if rotation.inputs.values().any(|input| input == secret) {
            problems.push(document.problem(
                At::Value(&format!("{base}{at}")),
                "config.one-rotation-per-secret",
                format!("the secret `{secret}` is an input of this rotation, which would write over it"),
                Some("name another secret".to_owned()),
            ));
        }
    }
    for (at, consumer) in rotation.consumers.iter().enumerate() {
        if rotation.grace < consumer.staleness {
            let message = format!(
                "`{}` may use an old version for {}, longer than the grace of {}: it would lock itself out",
                consumer.name,
                show_duration(consumer.staleness),
                show_duration(rotation.grace)
            );
            let hint = format!(
                "set `grace = \"{}\"` or more, or lower this",
                show_duration(consumer.staleness)
            );
            let pointer = format!("{base}/consumers/{at}/staleness");
            problems.push(document.problem(
                At::Value(&pointer),
                "config.grace-too-short",
                message,
                Some(hint),
            ));
        }
    }
    problems
}

fn unknown_in_groups(config: &Config) -> Vec<Problem> {
    let groups = config.linked.iter().enumerate();
    let named = groups.flat_map(|(group, linked)| {
        let named = linked.rotations.iter().enumerate();
        named.map(move |(place, rotation)| (format!("/linked/{group}/rotations/{place}"), rotation))
    });
    named
        .filter(|(_, rotation)| config.written(rotation).is_none())
        .map(|(pointer, rotation)| {
            let message = format!("there is no rotation `{rotation}`");
            let hint =
                "a group names rotations that are written out in this file, not rows of a table".to_owned();
            config
                .document
                .problem(At::Value(&pointer), "config.value", message, Some(hint))
        })
        .collect()
}

fn also(config: &Config, pointer: &str) -> Option<String> {
    config
        .document
        .place_of(pointer)
        .map(|place| format!("the first one begins at {place}"))
}
