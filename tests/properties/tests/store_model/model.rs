//! What the store should hold, in plain maps, and what each call should answer.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

pub(crate) const RUNS: u8 = 4;
pub(crate) const KEYS: u8 = 3;
pub(crate) const ACCOUNTS: u8 = 2;
/// In which probes count, in milliseconds.
pub(crate) const WINDOW: u64 = 1_000;
const BEGIN: u64 = 1_000_000;
const EPOCH_AT: u32 = 40;

/// One call of the store, or what happens around it.
#[derive(Clone, Debug)]
pub(crate) enum Move {
    Wait {
        ms: u64,
    },
    Begin {
        run: u8,
    },
    Save {
        of: u8,
        expected: u64,
        state: String,
    },
    Finish {
        of: u8,
        word: String,
    },
    Acquire {
        of: u8,
        keys: u8,
        until: u64,
    },
    TakeOver {
        of: u8,
        keys: u8,
        until: u64,
    },
    Renew {
        of: u8,
        fence: u64,
        until: u64,
    },
    Extend {
        of: u8,
        fence: u64,
        until: u64,
    },
    Release {
        of: u8,
        fence: u64,
    },
    Spend {
        account: u8,
        of: u8,
        limit: u32,
    },
    Refund {
        account: u8,
        of: u8,
    },
    Intend {
        of: u8,
        fence: u64,
        seq: u32,
    },
    Outcome {
        at: usize,
        applied: bool,
    },
    Audit {
        resource: String,
    },
    RaiseEpoch,
    Restart,
    /// The same, in a transaction that fails after it.
    GivenUp(Box<Move>),
}

/// State, its version, when it changed, when and how the run ended.
type Run = (String, u64, u64, Option<(u64, String)>);
/// Holder, fence, until when it is live, until when its effects may land.
type Lease = (Option<u8>, u64, u64, u64);

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) now: u64,
    pub(crate) epoch: u32,
    pub(crate) runs: BTreeMap<u8, Run>,
    pub(crate) leases: BTreeMap<u8, Lease>,
    /// Of each account, within the window.
    pub(crate) spent: BTreeMap<u8, u32>,
    pub(crate) intents: BTreeMap<(u8, u32), (u64, Option<bool>)>,
    pub(crate) audit: u64,
    /// What the last call should have answered.
    pub(crate) answer: Option<Answer>,
    pub(crate) free_at: Option<u64>,
    pub(crate) last_fence: u64,
    pub(crate) fences: Vec<(u8, u64)>,
    pub(crate) probes: Vec<(u8, u64, u8)>,
    pub(crate) places: Vec<(u8, u32)>,
}

/// A number, or the code of an error.
pub(crate) type Answer = Result<u64, &'static str>;

impl Model {
    /// What can be read back.
    pub(crate) fn visible(&self) -> Self {
        let within = |account| {
            let found = self
                .probes
                .iter()
                .filter(|(of, at, _)| *of == account && *at > self.now - WINDOW);
            u32::try_from(found.count()).unwrap_or(u32::MAX)
        };
        Self {
            now: self.now,
            epoch: self.epoch,
            runs: self.runs.clone(),
            leases: self.leases.clone(),
            spent: (0..ACCOUNTS).map(|account| (account, within(account))).collect(),
            intents: self.intents.clone(),
            audit: self.audit,
            ..Self::default()
        }
    }

    fn held(&self, keys: u8) -> impl Iterator<Item = u8> + '_ {
        (0..KEYS)
            .filter(move |at| keys >> at & 1 == 1)
            .filter_map(|at| self.leases.get(&at)?.0)
    }

    fn grant(&mut self, of: u8, keys: u8, until: u64) -> u64 {
        let fence = (self.last_fence + 1).max((u64::from(self.epoch) << EPOCH_AT) + 1);
        self.last_fence = fence;
        self.fences.push((of, fence));
        for at in (0..KEYS).filter(|at| keys >> at & 1 == 1) {
            let effects = self.leases.get(&at).map_or(0, |lease| lease.3);
            self.leases.insert(at, (Some(of), fence, until, effects));
        }
        fence
    }

    fn of_fence(&mut self, of: u8, fence: u64, touch: impl Fn(&mut Lease)) -> Answer {
        let mut touched = Err("store.stale-fence");
        for lease in self
            .leases
            .values_mut()
            .filter(|lease| lease.0 == Some(of) && lease.1 == fence)
        {
            touch(lease);
            touched = Ok(0);
        }
        touched
    }

    fn is_live(&self, of: u8, fence: u64) -> bool {
        let mut held = self
            .leases
            .values()
            .filter(|lease| lease.0 == Some(of) && lease.1 == fence)
            .peekable();
        held.peek().is_some()
            && held.all(|lease| lease.2 > self.now)
            && fence >> EPOCH_AT == u64::from(self.epoch)
    }

    fn spend(&mut self, account: u8, of: u8, limit: u32) -> Answer {
        let since = self.now - WINDOW;
        let mut newest: Vec<u64> = self
            .probes
            .iter()
            .filter(|(of, at, _)| *of == account && *at > since)
            .map(|probe| probe.1)
            .collect();
        newest.sort_unstable();
        let spent = u32::try_from(newest.len()).unwrap_or(u32::MAX);
        if spent >= limit {
            let first = newest
                .len()
                .checked_sub(usize::try_from(limit).unwrap_or(usize::MAX));
            self.free_at = match first {
                Some(first) if limit > 0 => Some(newest[first] + WINDOW),
                _ => Some(u64::MAX),
            };
            return Err("store.budget-spent");
        }
        self.probes.retain(|(of, at, _)| *of != account || *at > since);
        self.probes.push((account, self.now, of));
        Ok(u64::from(limit - spent - 1))
    }

    fn refund(&mut self, account: u8, of: u8) {
        let found = self
            .probes
            .iter()
            .enumerate()
            .filter(|(_, probe)| probe.0 == account && probe.2 == of);
        if let Some((at, _)) = found.max_by_key(|(at, probe)| (probe.1, *at)) {
            self.probes.remove(at);
        }
    }

    fn intend(&mut self, of: u8, fence: u64, seq: u32) -> Answer {
        if !self.is_live(of, fence) {
            return Err("store.stale-fence");
        }
        if self.intents.contains_key(&(of, seq)) {
            return Err("store.conflict");
        }
        if !self.runs.contains_key(&of) {
            return Err("store.sql");
        }
        self.intents.insert((of, seq), (fence, None));
        self.places.push((of, seq));
        Ok(0)
    }

    fn outcome(&mut self, at: usize, applied: bool) -> Answer {
        let Some((_, outcome)) = self.places.get(at).and_then(|place| self.intents.get_mut(place)) else {
            return Ok(0);
        };
        match outcome {
            Some(told) if *told != applied => Err("store.conflict"),
            told => {
                *told = Some(applied);
                Ok(0)
            }
        }
    }

    fn of_run(&mut self, action: &Move) -> Answer {
        let now = self.now;
        match action {
            Move::Begin { run } if self.runs.contains_key(run) => Err("store.conflict"),
            Move::Begin { run } => {
                self.runs.insert(*run, ("begun".to_owned(), 1, now, None));
                Ok(0)
            }
            Move::Save { of, expected, state } => {
                let run = self.runs.get_mut(of).ok_or("store.not-found")?;
                if run.1 != *expected {
                    return Err("store.state-conflict");
                }
                (run.0, run.1, run.2) = (state.clone(), run.1 + 1, now);
                Ok(run.1)
            }
            Move::Finish { of, word } => {
                let run = self.runs.get_mut(of).ok_or("store.not-found")?;
                match &run.3 {
                    Some((_, told)) if told != word => return Err("store.conflict"),
                    Some(_) => {}
                    None => run.3 = Some((now, word.clone())),
                }
                Ok(0)
            }
            _ => Ok(0),
        }
    }

    /// Whoever opened the state has its lock: what no open run answers for is free.
    fn restart(&mut self) {
        let open = |of: u8| self.runs.get(&of).is_some_and(|run| run.3.is_none());
        for lease in self.leases.values_mut() {
            lease.0 = lease.0.filter(|of| open(*of));
        }
    }

    fn perform(&mut self, action: &Move) -> Answer {
        match action {
            Move::Wait { ms } => self.now += ms,
            Move::Restart => self.restart(),
            Move::GivenUp(_) => {}
            Move::Acquire { keys, .. } if self.held(*keys).next().is_some() => {
                return Err("store.lease-held");
            }
            Move::TakeOver { of, keys, .. } if self.held(*keys).any(|by| by != *of) => {
                return Err("store.lease-held");
            }
            Move::Acquire { of, keys, until } | Move::TakeOver { of, keys, until } => {
                return Ok(self.grant(*of, *keys, *until));
            }
            Move::Renew { of, fence, until } => {
                return self.of_fence(*of, *fence, |lease| lease.2 = lease.2.max(*until));
            }
            Move::Extend { of, fence, until } => {
                return self.of_fence(*of, *fence, |lease| lease.3 = lease.3.max(*until));
            }
            Move::Release { of, fence } => {
                let _ = self.of_fence(*of, *fence, |lease| lease.0 = None);
            }
            Move::Spend { account, of, limit } => return self.spend(*account, *of, *limit),
            Move::Refund { account, of } => self.refund(*account, *of),
            Move::Intend { of, fence, seq } => return self.intend(*of, *fence, *seq),
            Move::Outcome { at, applied } => return self.outcome(*at, *applied),
            Move::Audit { .. } => {
                self.audit += 1;
                return Ok(self.audit);
            }
            Move::RaiseEpoch => {
                self.epoch += 1;
                return Ok(self.epoch.into());
            }
            Move::Begin { .. } | Move::Save { .. } | Move::Finish { .. } => return self.of_run(action),
        }
        Ok(0)
    }
}

fn single(model: &Model) -> BoxedStrategy<Move> {
    let (now, of, keys) = (model.now, 0..RUNS, 1..1_u8 << KEYS);
    let until = (0..3_000_u64).prop_map(move |ms| now + ms);
    let mut known: Vec<(u8, u64)> = model.fences.iter().rev().take(4).copied().collect();
    known.push((0, 0));
    let held = prop_oneof![
        6 => proptest::sample::select(known.clone()),
        1 => (of.clone(), proptest::sample::select(known)).prop_map(|(of, (_, fence))| (of, fence)),
    ];
    let versions: BTreeMap<u8, u64> = model.runs.iter().map(|(of, run)| (*of, run.1)).collect();
    let places = model.places.len().max(1);
    prop_oneof![
        2 => of.clone().prop_map(|run| Move::Begin { run }),
        3 => (of.clone(), 0..5_u64, "[a-z]{0,8}").prop_map(move |(of, off, state)| {
            let version = versions.get(&of).copied().unwrap_or(1);
            Move::Save { of, expected: if off == 0 { version + 1 } else { version }, state }
        }),
        1 => (of.clone(), "done|failed").prop_map(|(of, word)| Move::Finish { of, word }),
        3 => (of.clone(), keys.clone(), until.clone()).prop_map(|(of, keys, until)| Move::Acquire { of, keys, until }),
        1 => (of.clone(), keys, until.clone()).prop_map(|(of, keys, until)| Move::TakeOver { of, keys, until }),
        2 => (held.clone(), until.clone()).prop_map(|((of, fence), until)| Move::Renew { of, fence, until }),
        1 => (held.clone(), until).prop_map(|((of, fence), until)| Move::Extend { of, fence, until }),
        2 => held.clone().prop_map(|(of, fence)| Move::Release { of, fence }),
        3 => (0..ACCOUNTS, of.clone(), 0..4_u32).prop_map(|(account, of, limit)| Move::Spend { account, of, limit }),
        1 => (0..ACCOUNTS, of).prop_map(|(account, of)| Move::Refund { account, of }),
        4 => (held, 1..6_u32).prop_map(|((of, fence), seq)| Move::Intend { of, fence, seq }),
        2 => (0..places, any::<bool>()).prop_map(|(at, applied)| Move::Outcome { at, applied }),
        2 => "[a-z/]{1,12}".prop_map(|resource| Move::Audit { resource }),
        1 => Just(Move::RaiseEpoch),
    ]
    .boxed()
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Move;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self {
            now: BEGIN,
            ..Self::default()
        })
        .boxed()
    }

    fn transitions(model: &Self) -> BoxedStrategy<Move> {
        prop_oneof![
            20 => single(model),
            3 => (1..1_500_u64).prop_map(|ms| Move::Wait { ms }),
            1 => Just(Move::Restart),
            2 => single(model).prop_map(|action| Move::GivenUp(Box::new(action))),
        ]
        .boxed()
    }

    fn apply(mut model: Self, action: &Move) -> Self {
        model.free_at = None;
        model.answer = Some(model.perform(action));
        model
    }
}
