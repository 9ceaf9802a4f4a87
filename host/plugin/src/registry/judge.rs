//! What a file of the plugin folder is, against its pin, its grant and its publisher.

use std::path::Path;

use keywheel_manifest::Capability;
use keywheel_model::PluginName;
use keywheel_policy::{Grant, LockedPlugin, difference};
use semver::Version;

use super::{Candidate, Registry, Status, Upgrades};
use crate::Error;
use crate::publisher::{delisted, unsigned};

impl Registry {
    pub(super) fn judge(&self, candidate: &Candidate, pin: Option<&LockedPlugin>) -> Result<Status, Error> {
        let manifest = candidate.plugin.manifest();
        let path = &candidate.source.path;
        let found = version(path, &manifest.version)?;
        let grant = self.grant(&manifest.name)?;
        let asked = difference(manifest, grant.as_ref());
        let Some(pin) = pin else {
            return Ok(Status::New(asked));
        };
        self.check_publisher(candidate, pin)?;
        if pin.sha256 == candidate.source.digest {
            check_granted(candidate, grant.as_ref())?;
            self.keep
                .put(&candidate.source, self.runtime.limits().file_bytes)?;
            return Ok(Status::Pinned);
        }
        let pinned = version(&self.places.lock, &pin.version)?;
        match found.cmp_precedence(&pinned) {
            std::cmp::Ordering::Less => Err(Error::Downgrade {
                path: path.clone(),
                found: manifest.version.clone(),
                pinned: pin.version.clone(),
            }),
            std::cmp::Ordering::Equal => Err(Error::Digest {
                name: manifest.name.clone(),
                path: path.clone(),
                version: pin.version.clone(),
                pinned: pin.sha256,
            }),
            std::cmp::Ordering::Greater
                if asked.asks_more()
                    || self.rules.upgrades == Upgrades::Hold
                    || self.rules.publishers.look() && candidate.publisher != pin.publisher =>
            {
                Ok(Status::Held(asked))
            }
            std::cmp::Ordering::Greater => {
                check_granted(candidate, grant.as_ref())?;
                self.pin(candidate)?;
                Ok(Status::Pinned)
            }
        }
    }

    /// What was signed once stays signed; and what nothing vouches for now runs only if its publisher still counts.
    fn check_publisher(&self, candidate: &Candidate, pin: &LockedPlugin) -> Result<(), Error> {
        if !self.rules.publishers.look() {
            return Ok(());
        }
        let path = &candidate.source.path;
        match (&candidate.publisher, &pin.publisher) {
            (None, Some(_)) if pin.sha256 != candidate.source.digest => Err(unsigned(
                path,
                "the pinned version is signed, and this one is not",
            )),
            (None, _) if !self.rules.publishers.still_count(pin) => Err(delisted(path)),
            _ => Ok(()),
        }
    }

    /// The pinned plugin in whose place another file stands goes on from the host's own copy, if its publisher still counts.
    pub(super) fn go_on(&mut self, name: &PluginName, pin: &LockedPlugin) {
        if !self.rules.publishers.still_count(pin) {
            return tracing::warn!(plugin = %name, "the pinned plugin does not go on: its publisher is not listed");
        }
        match self.pinned(&pin.sha256) {
            Ok(plugin) => drop(self.live.insert(name.clone(), plugin)),
            Err(error) => tracing::warn!(plugin = %name, %error, "the pinned plugin cannot go on"),
        }
    }
}

/// Which declared calls are granted is asked at each call, so that a grant that is taken back acts at once; whole packages
/// that are not granted are no reason to load it at all.
fn check_granted(candidate: &Candidate, grant: Option<&Grant>) -> Result<(), Error> {
    let more = |what: String| Error::MoreThanGranted {
        name: candidate.plugin.manifest().name.clone(),
        path: candidate.source.path.clone(),
        what,
    };
    let Some(grant) = grant else {
        return Err(more("it has no grant".into()));
    };
    let asked = difference(candidate.plugin.manifest(), Some(grant)).capabilities;
    if !asked.is_empty() {
        let names: Vec<&str> = asked.into_iter().map(Capability::as_str).collect();
        return Err(more(format!("it calls {}", names.join(", "))));
    }
    if candidate
        .plugin
        .manifest()
        .capabilities
        .contains(&Capability::Plaintext)
        && grant.reveal.is_empty()
    {
        return Err(more(
            "it reads secrets in the clear, and the grant names none under `reveal`".into(),
        ));
    }
    Ok(())
}

fn version(path: &Path, text: &str) -> Result<Version, Error> {
    let short = || text.chars().take(64).collect();
    Version::parse(text).map_err(|_| Error::Version {
        path: path.to_owned(),
        version: short(),
    })
}
