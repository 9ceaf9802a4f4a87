//! Two fake vaults: one with compare-and-set, and a weak one whose current version is the newest written.

use keywheel_model::{Epoch, RunId, Stage, VersionId};
use keywheel_workflow::{Head, Kept};

/// A credential's value, by number. The version that holds it has the same number.
pub type Cred = u8;

/// Set in the number of a version whose value is an older version's, put back: that of the number without it. The target knows values alone.
pub const AGAIN: Cred = 0x80;

/// The value of a version, as the target has it.
pub fn value_of(cred: Cred) -> Cred {
    cred & !AGAIN
}

/// The value of a version in the machine's words.
pub fn value_of_version(version: &VersionId) -> Cred {
    value_of(cred_of(version))
}

/// A kept version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// Its value.
    pub cred: Cred,
    /// Its stage.
    pub stage: Stage,
    /// The run that made it.
    pub run: Option<u8>,
    /// A copy is on the remote vault, not only on the host's disk.
    pub remote: bool,
    /// Whether an apply with it has been sent since it became pending.
    pub sent: bool,
}

/// A vault. Versions oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Vault {
    /// What it holds.
    pub versions: Vec<Version>,
    /// The restore epoch.
    pub epoch: u32,
    /// What the other name shows, where there is one.
    pub other_name: Option<Cred>,
}

/// The id of a version in the machine's words.
pub fn version_id(cred: Cred) -> VersionId {
    VersionId::from_number(cred.into())
}

/// The id of a run in the machine's words.
pub fn run_id(run: u8) -> RunId {
    RunId::from_number(run.into())
}

/// The number of a version: the last two of its base-32 digits.
pub fn cred_of(version: &VersionId) -> Cred {
    let digit = |byte: u8| {
        if byte.is_ascii_digit() {
            byte - b'0'
        } else {
            byte - b'a' + 10
        }
    };
    let text = version.as_str().as_bytes();
    digit(text[text.len() - 2]) << 5 | digit(text[text.len() - 1])
}

impl Vault {
    /// The version in a stage that was made last.
    pub fn newest(&self, stage: Stage) -> Option<Cred> {
        self.versions
            .iter()
            .rev()
            .find(|version| version.stage == stage)
            .map(|version| version.cred)
    }

    /// The current one.
    pub fn current(&self) -> Option<Cred> {
        self.newest(Stage::Current)
    }

    /// Whether a value is durably held.
    pub fn holds(&self, cred: Cred) -> bool {
        self.versions.iter().any(|version| version.cred == cred)
    }

    /// The version with a value.
    pub fn get(&self, cred: Cred) -> Option<&Version> {
        self.versions.iter().find(|version| version.cred == cred)
    }

    /// The version with a value, to be changed.
    pub fn get_mut(&mut self, cred: Cred) -> Option<&mut Version> {
        self.versions.iter_mut().find(|version| version.cred == cred)
    }

    /// Adds a version as the newest.
    pub fn add(&mut self, cred: Cred, stage: Stage, run: Option<u8>, remote: bool) {
        self.versions.push(Version {
            cred,
            stage,
            run,
            remote,
            sent: false,
        });
    }

    /// Makes a version current; the old one becomes previous.
    pub fn make_current(&mut self, cred: Cred) {
        if self.current() == Some(cred) {
            return;
        }
        for version in &mut self.versions {
            if version.stage == Stage::Current {
                version.stage = Stage::Previous;
            }
        }
        if let Some(version) = self.get_mut(cred) {
            version.stage = Stage::Current;
            version.remote = true;
            version.sent = false;
        }
    }

    /// What a reader sees.
    pub fn head(&self) -> Head {
        let kept = |version: &Version| Kept {
            version: version_id(version.cred),
            stage: version.stage,
            run: version.run.map(run_id),
        };
        Head {
            epoch: Epoch(self.epoch),
            versions: self.versions.iter().rev().map(kept).collect(),
        }
    }
}
