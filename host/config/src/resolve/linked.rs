//! What keeps a run waiting that its schedule does not: a person, and another rotation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keywheel_model::RotationName;

use super::Resolver;
use crate::config::{Approval, Linked};
use crate::document::{At, quoted};
use crate::raw;

const DAY: Duration = Duration::from_hours(24);

impl Resolver {
    pub(super) fn approval(&mut self, pointer: &str, raw: raw::Approval) -> Approval {
        let by = raw.by.map(|users| users.into_iter().collect::<BTreeSet<u32>>());
        if by.as_ref().is_some_and(BTreeSet::is_empty) {
            self.report(
                At::Value(&format!("{pointer}/by")),
                "config.value",
                "nobody may approve".to_owned(),
                Some("list users by their numbers (`id -u NAME`), or leave `by` out: then the host's user and root may".to_owned()),
            );
        }
        Approval {
            expires: self.duration(
                &format!("{pointer}/expires"),
                raw.expires.as_deref(),
                DAY,
                (Duration::from_secs(1), 90 * DAY),
            ),
            by,
        }
    }

    /// That a rotation stands in one group alone leaves no circle.
    pub(super) fn linked(&mut self) -> Vec<Linked> {
        let raw: Vec<raw::linked::Linked> = self.section("/linked").unwrap_or_default();
        let mut names = BTreeSet::new();
        let mut members = BTreeMap::new();
        let mut groups = Vec::new();
        for (at, group) in raw.into_iter().enumerate() {
            let pointer = format!("/linked/{at}");
            if !names.insert(group.name.clone()) {
                let message = format!("two groups are named {}", quoted(&group.name));
                self.report(
                    At::Value(&format!("{pointer}/name")),
                    "config.duplicate",
                    message,
                    None,
                );
            }
            let mut rotations = Vec::new();
            for (place, rotation) in group.rotations.iter().enumerate() {
                let pointer = format!("{pointer}/rotations/{place}");
                let Ok(rotation) = rotation.0.parse::<RotationName>() else {
                    continue;
                };
                if let Some(first) = members.insert(rotation.clone(), group.name.clone()) {
                    let message = format!("rotation `{rotation}` is linked in {} already", quoted(&first));
                    let hint = "a rotation stands in one group, once: join the groups, or take it out here";
                    self.report(
                        At::Value(&pointer),
                        "config.linked-twice",
                        message,
                        Some(hint.to_owned()),
                    );
                }
                rotations.push(rotation);
            }
            let offset = self.duration(
                &format!("{pointer}/offset"),
                group.offset.as_deref(),
                DAY,
                (Duration::ZERO, 366 * DAY),
            );
            groups.push(Linked {
                name: group.name,
                rotations,
                offset,
            });
        }
        groups
    }
}
