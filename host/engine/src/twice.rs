//! A document that holds its password a second time, in a URL say: a rotation makes one place of it anew, and the other one goes stale without a word.

use std::collections::BTreeMap;

use keywheel_capability::mask::{copies, doubled};
use keywheel_config::Rotation;
use keywheel_model::Stage;
use keywheel_vault::Vault as _;

use crate::Error;
use crate::engine::{Engine, Inner};
use crate::plan::worded;
use crate::secrets::Import;

const HINT: &str = "keep it out of the document: whoever reads that puts it together from the parts; docs/operators.md, A password in two places";

/// Where a document has the name of its account.
const USERNAME: &str = "/username";

impl Engine {
    /// What to say of an import whose value holds what its rotation makes anew in a second place, too.
    pub fn copies_in(&self, import: &Import) -> Vec<String> {
        let Some(rotation) = self.inner.config.rotation_of(&import.name) else {
            return Vec::new();
        };
        let value = import.value.expose();
        let mut found = Found::default();
        for part in self.inner.rotated_parts(&rotation) {
            found.add(&part, copies(value, &part, value), true);
        }
        found.words(&rotation)
    }
}

impl Inner {
    /// Refuses a document that is to be rotated and in which a name stands twice: nobody could say which of the two the rotation makes anew. The
    /// name is told where it is one that the rotation uses; another one may be the secret itself.
    pub(crate) fn check_doubled(&self, import: &Import) -> Result<(), Error> {
        let Some(rotation) = self.config.rotation_of(&import.name) else {
            return Ok(());
        };
        let mut used = self.rotated_parts(&rotation);
        if used.is_empty() {
            return Ok(());
        }
        let Some(place) = doubled(import.value.expose()) else {
            return Ok(());
        };
        used.extend(rotation.public.iter().cloned());
        used.push(USERNAME.to_owned());
        Err(Error::Doubled {
            place: Some(place).filter(|place| used.contains(place)),
        })
    }

    /// The same of the current version, for a plan. A second place may hold an older password by now.
    pub(crate) async fn copies_in_current(&self, rotation: &Rotation) -> Result<Vec<String>, Error> {
        let head = self.vault.head(&rotation.secret).await?;
        let parts = self.rotated_parts(rotation);
        let Some(current) = head.current().filter(|_| !parts.is_empty()) else {
            return Ok(Vec::new());
        };
        let document = self.vault.read(&rotation.secret, &current.id).await?;
        let mut found = Found::default();
        let used = |stage| matches!(stage, Stage::Current | Stage::Previous | Stage::Revoked);
        for version in head.versions.iter().filter(|version| used(version.stage)) {
            let older = self.vault.read(&rotation.secret, &version.id).await?;
            for part in &parts {
                let copies = copies(document.expose(), part, older.expose());
                found.add(part, copies, version.id == current.id);
            }
        }
        Ok(found.words(rotation))
    }

    /// The places of its document that a rotation makes anew; none where the secret is rotated whole, or nobody can say.
    fn rotated_parts(&self, rotation: &Rotation) -> Vec<String> {
        let plugin = self.plugin(&rotation.plugin);
        plugin.map_or_else(
            |_| Vec::new(),
            |plugin| {
                plugin
                    .manifest()
                    .rotated_parts()
                    .into_iter()
                    .map(str::to_owned)
                    .collect()
            },
        )
    }
}

/// Members with the place that they repeat, and whether what they hold is still the current value.
#[derive(Default)]
struct Found(BTreeMap<String, (String, bool)>);

impl Found {
    fn add(&mut self, part: &str, members: Vec<String>, is_current: bool) {
        for member in members {
            let (_, current) = self.0.entry(member).or_insert_with(|| (part.to_owned(), false));
            *current |= is_current;
        }
    }

    /// One sentence each, with the names of members and never with what they hold. What the configuration calls public is no secret of anybody.
    fn words(self, rotation: &Rotation) -> Vec<String> {
        let members = self.0.into_iter();
        members
            .filter(|(member, _)| !rotation.public.contains(member))
            .map(|(member, (part, is_current))| {
                let what = if is_current {
                    format!("what stands at {part}, too: a rotation makes that anew, and leaves {member:?} as it is")
                } else {
                    format!("an older value of {part}: rotations have made that anew, and left {member:?} as it was")
                };
                let message = format!("the member {member:?} of {} holds {what}", rotation.secret);
                worded("secret.copy", &message, Some(HINT))
            })
            .collect()
    }
}
