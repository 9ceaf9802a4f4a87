//! What the vault should hold, in plain maps, and what each call should answer.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

pub(crate) const NAMES: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Pending,
    Current,
    Previous,
    Revoked,
    Abandoned,
}

/// Which version is said to be current.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Believed {
    Right,
    Nothing,
    Other,
}

/// What opens the vault, or does not.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key {
    File,
    Recovery,
    OtherFile,
    OtherRecovery,
}

/// One call of the vault, or what happens around it. Versions are counted from the oldest.
#[derive(Clone, Debug)]
pub(crate) enum Move {
    /// The run ends, and another one holds all names.
    NextRun,
    Put {
        name: usize,
        value: Vec<u8>,
        imported: bool,
    },
    Promote {
        name: usize,
        version: usize,
        believed: Believed,
    },
    Abandon {
        name: usize,
        version: usize,
    },
    Revoke {
        name: usize,
        version: usize,
    },
    RollBack {
        name: usize,
        version: usize,
        believed: Believed,
    },
    Annotate {
        name: usize,
        version: usize,
        key: String,
        value: String,
    },
    PutEscrow {
        key: String,
        value: Vec<u8>,
    },
    RemoveEscrow {
        key: String,
    },
    PutState {
        key: String,
        value: Vec<u8>,
    },
    RemoveState {
        key: String,
    },
    Rewrap,
    Rekey,
    Restart,
    /// Sealed, and everything refused, until a key that fits comes.
    Seal {
        key: Key,
    },
    /// By a run that holds nothing any more.
    Stale {
        name: usize,
        value: Vec<u8>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Version {
    pub(crate) at: At,
    pub(crate) value: Vec<u8>,
    pub(crate) annotations: BTreeMap<String, String>,
    run: u64,
    material_of: Option<usize>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) run: u64,
    pub(crate) names: [Vec<Version>; NAMES],
    /// By run and key.
    pub(crate) escrow: BTreeMap<(u64, String), Vec<u8>>,
    pub(crate) state: BTreeMap<(u64, String), Vec<u8>>,
    /// What the last call should have answered.
    pub(crate) answer: Option<Answer>,
}

/// The place of a version among those of its name, where the call gives one; or the code of an error.
pub(crate) type Answer = Result<Option<usize>, &'static str>;

impl Model {
    pub(crate) fn current(&self, name: usize) -> Option<usize> {
        self.names[name]
            .iter()
            .position(|version| version.at == At::Current)
    }

    /// Whether what is believed of the head is true.
    fn holds(&self, name: usize, believed: Believed) -> bool {
        match believed {
            Believed::Right => true,
            Believed::Nothing => self.current(name).is_none(),
            Believed::Other => false,
        }
    }

    fn replace_current(&mut self, name: usize) {
        if let Some(at) = self.current(name) {
            self.names[name][at].at = At::Previous;
        }
    }

    fn put(&mut self, name: usize, value: &[u8]) -> Answer {
        for (at, version) in self.names[name].iter().enumerate().rev() {
            let ours = version.run == self.run && version.material_of.is_none();
            if ours && matches!(version.at, At::Pending | At::Current) && version.value == value {
                return Ok(Some(at));
            }
            if version.at == At::Pending {
                return Err("vault.pending-exists");
            }
        }
        self.names[name].push(Version {
            at: At::Pending,
            value: value.to_vec(),
            annotations: BTreeMap::new(),
            run: self.run,
            material_of: None,
        });
        Ok(Some(self.names[name].len() - 1))
    }

    fn promote(&mut self, name: usize, version: usize, believed: Believed) -> Answer {
        match self.names[name].get(version).map(|version| version.at) {
            None => return Err("vault.no-version"),
            Some(At::Current) => return Ok(None),
            Some(At::Pending) => {}
            Some(_) => return Err("vault.stage"),
        }
        if !self.holds(name, believed) {
            return Err("vault.head-moved");
        }
        self.replace_current(name);
        self.names[name][version].at = At::Current;
        Ok(None)
    }

    fn retire(&mut self, name: usize, version: usize, from: &[At], to: At) -> Answer {
        let version = self.names[name].get_mut(version).ok_or("vault.no-version")?;
        if version.at != to && !from.contains(&version.at) {
            return Err("vault.stage");
        }
        version.at = to;
        Ok(None)
    }

    fn roll_back(&mut self, name: usize, version: usize, believed: Believed) -> Answer {
        let versions = &self.names[name];
        let old = versions.get(version).ok_or("vault.no-version")?;
        let (material, value, annotations) = (
            old.material_of.unwrap_or(version),
            old.value.clone(),
            old.annotations.clone(),
        );
        let done = |version: &Version| {
            version.at == At::Current && version.run == self.run && version.material_of == Some(material)
        };
        if let Some(done) = versions.iter().position(done) {
            return Ok(Some(done));
        }
        if versions.iter().any(|version| version.at == At::Pending) {
            return Err("vault.stage");
        }
        if !self.holds(name, believed) {
            return Err("vault.head-moved");
        }
        self.replace_current(name);
        let run = self.run;
        self.names[name].push(Version {
            at: At::Current,
            value,
            annotations,
            run,
            material_of: Some(material),
        });
        Ok(Some(self.names[name].len() - 1))
    }

    /// An older capture may be the only copy of a credential that lives: it moves aside.
    fn put_escrow(&mut self, key: &str, value: &[u8]) {
        let place = (self.run, key.to_owned());
        if let Some(found) = self
            .escrow
            .get(&place)
            .filter(|found| found.as_slice() != value)
            .cloned()
        {
            let free = (1..=self.escrow.len() + 1)
                .map(|n| (self.run, format!("{key}~{n}")))
                .find(|aside| !self.escrow.contains_key(aside));
            self.escrow.extend(free.map(|aside| (aside, found)));
        }
        self.escrow.insert(place, value.to_vec());
    }

    fn perform(&mut self, action: &Move) -> Answer {
        match action {
            Move::NextRun => self.run += 1,
            Move::Put { name, value, .. } => return self.put(*name, value),
            Move::Promote {
                name,
                version,
                believed,
            } => return self.promote(*name, *version, *believed),
            Move::Abandon { name, version } => {
                return self.retire(*name, *version, &[At::Pending], At::Abandoned);
            }
            Move::Revoke { name, version } => {
                return self.retire(*name, *version, &[At::Previous, At::Abandoned], At::Revoked);
            }
            Move::RollBack {
                name,
                version,
                believed,
            } => return self.roll_back(*name, *version, *believed),
            Move::Annotate {
                name,
                version,
                key,
                value,
            } => {
                let version = self.names[*name].get_mut(*version).ok_or("vault.no-version")?;
                version.annotations.insert(key.clone(), value.clone());
            }
            Move::PutEscrow { key, value } => self.put_escrow(key, value),
            Move::RemoveEscrow { key } => drop(self.escrow.remove(&(self.run, key.clone()))),
            Move::PutState { key, value } => drop(self.state.insert((self.run, key.clone()), value.clone())),
            Move::RemoveState { key } => drop(self.state.remove(&(self.run, key.clone()))),
            Move::Seal {
                key: Key::OtherFile | Key::OtherRecovery,
            } => return Err("vault.wrong-key"),
            Move::Stale { .. } => return Err("store.stale-fence"),
            Move::Rewrap | Move::Rekey | Move::Restart | Move::Seal { .. } => {}
        }
        Ok(None)
    }
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => "[ab]".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..300),
    ]
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Move;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self {
            run: 1,
            ..Self::default()
        })
        .boxed()
    }

    fn transitions(model: &Self) -> BoxedStrategy<Move> {
        let most = model.names.iter().map(Vec::len).max().unwrap_or_default();
        let version = (0..NAMES, 0..=most);
        let newest = (0..NAMES, 0..2_usize).prop_map({
            let lengths = model.names.each_ref().map(Vec::len);
            move |(name, back)| (name, lengths[name].saturating_sub(1 + back))
        });
        let picked = prop_oneof![1 => version, 3 => newest].boxed();
        let believed =
            prop_oneof![6 => Just(Believed::Right), 1 => Just(Believed::Nothing), 1 => Just(Believed::Other)]
                .boxed();
        let key = "k|long/key~1|\u{e9}".boxed();
        let opener = prop_oneof![
            Just(Key::File),
            Just(Key::Recovery),
            Just(Key::OtherFile),
            Just(Key::OtherRecovery)
        ];
        prop_oneof![
            2 => Just(Move::NextRun),
            6 => (0..NAMES, value(), any::<bool>()).prop_map(|(name, value, imported)| Move::Put { name, value, imported }),
            6 => (picked.clone(), believed.clone())
                .prop_map(|((name, version), believed)| Move::Promote { name, version, believed }),
            2 => picked.clone().prop_map(|(name, version)| Move::Abandon { name, version }),
            3 => picked.clone().prop_map(|(name, version)| Move::Revoke { name, version }),
            3 => (picked.clone(), believed)
                .prop_map(|((name, version), believed)| Move::RollBack { name, version, believed }),
            1 => (picked, "[a-z]{1,6}", "[ -~]{0,12}")
                .prop_map(|((name, version), key, value)| Move::Annotate { name, version, key, value }),
            2 => (key.clone(), value()).prop_map(|(key, value)| Move::PutEscrow { key, value }),
            1 => key.clone().prop_map(|key| Move::RemoveEscrow { key }),
            1 => (key.clone(), value()).prop_map(|(key, value)| Move::PutState { key, value }),
            1 => key.prop_map(|key| Move::RemoveState { key }),
            1 => Just(Move::Rewrap),
            1 => Just(Move::Rekey),
            1 => Just(Move::Restart),
            1 => opener.prop_map(|key| Move::Seal { key }),
            1 => (0..NAMES, value()).prop_map(|(name, value)| Move::Stale { name, value }),
        ]
        .boxed()
    }

    fn apply(mut model: Self, action: &Move) -> Self {
        model.answer = Some(model.perform(action));
        model
    }
}
