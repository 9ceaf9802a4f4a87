//! Judges a record, and nothing but the record.
//!
//! **What can be said of an instant.** The witness cannot try all values at one instant; it makes rounds. Between two changes the target does
//! not change, so that a round which lies in such a quiet time says what was accepted at each instant of it. The proxy makes every quiet time
//! long enough: it holds a change until the witness knows every value that is held at that time, and its answer until a round is over.
//! A value that became durable after the newest reading of the vault has not been sent to the target, or the proxy would have read again.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use crate::record::{Entry, Fact, Micros, Phase, Said, UNKNOWN, Version};
use crate::vault::UNREADABLE;

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// No held value was accepted; on a target with two slots: current was not.
    Lockout,
    /// A credential is on the target, or was, that nobody holds.
    Lost,
    /// A revoked value is accepted.
    Stale,
    /// More failed logins than the budget.
    Budget,
    /// A change was sent after its deadline.
    Late,
    /// It took too long, or did not come to an end.
    Recovery,
}

/// One of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    pub(crate) at: Micros,
    pub(crate) words: String,
}

/// What the configuration allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Failed logins of an account within a time.
    pub(crate) logins: usize,
    pub(crate) per: Micros,
    /// From the first fault to the end of the recovery.
    pub(crate) recovery: Micros,
}

/// The checker; remembers failed logins from one kill to the next.
pub(crate) struct Checker {
    bounds: Bounds,
    failed: BTreeMap<String, VecDeque<Micros>>,
}

/// One round of one subject.
struct Round {
    began: Micros,
    ended: Micros,
    said: BTreeMap<String, Said>,
    proof: bool,
}

/// What was held of a subject, from a time on.
struct Held<'a> {
    at: Micros,
    two_slot: bool,
    versions: &'a [Version],
    by_hand: Option<&'a str>,
}

impl Checker {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            failed: BTreeMap::new(),
        }
    }

    /// Everything that is wrong in what was seen of one kill, in the order of time.
    pub(crate) fn judge(&mut self, entries: &[Entry]) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut subjects: Vec<&str> = entries.iter().filter_map(subject_of).collect();
        subjects.sort_unstable();
        subjects.dedup();
        for subject in subjects {
            rounds_are_well(subject, entries, &mut found);
            nothing_is_lost(subject, entries, &mut found);
            books_are_known(subject, entries, &mut found);
            nothing_is_late(subject, entries, &mut found);
        }
        self.budget_is_kept(entries, &mut found);
        self.recovery_is_timely(entries, &mut found);
        found.sort_by_key(|violation| violation.at);
        found
    }

    /// Whether an account has so few failed logins left that the next kill might wait for its budget instead of showing anything.
    pub(crate) fn is_crowded(&self, now: Micros) -> bool {
        let fresh = |at: &&Micros| **at + self.bounds.per >= now;
        let most = self.bounds.logins * 4 / 5;
        self.failed
            .values()
            .any(|failed| failed.iter().filter(fresh).count() > most)
    }

    fn budget_is_kept(&mut self, entries: &[Entry], found: &mut Vec<Violation>) {
        // A host whose clock stands a day behind keeps its logins as yesterday's: docs/operators.md tells that limit.
        let behind = crate::points::Point::Clock(crate::points::Day::Behind).name();
        let is_behind = |entry: &Entry| matches!(&entry.fact, Fact::Begun { point, .. } if *point == behind);
        if !entries.iter().any(is_behind) {
            found.extend(self.count(entries));
        }
    }

    /// Counts failed logins: those of undisturbed runs use the same budget up.
    pub(crate) fn count(&mut self, entries: &[Entry]) -> Vec<Violation> {
        let mut found = Vec::new();
        for entry in entries {
            let Fact::HostLogin {
                account,
                refused: true,
            } = &entry.fact
            else {
                continue;
            };
            let failed = self.failed.entry(account.clone()).or_default();
            failed.push_back(entry.at);
            while failed.front().is_some_and(|at| at + self.bounds.per < entry.at) {
                failed.pop_front();
            }
            if failed.len() > self.bounds.logins {
                let words = format!(
                    "{} failed logins of {account}, {} are allowed",
                    failed.len(),
                    self.bounds.logins
                );
                found.push(violation(Kind::Budget, entry.at, words));
            }
        }
        found
    }

    fn recovery_is_timely(&self, entries: &[Entry], found: &mut Vec<Violation>) {
        let at = |wanted: fn(&Fact) -> bool| entries.iter().find(|entry| wanted(&entry.fact));
        let Some(fault) = at(|fact| matches!(fact, Fact::Fault { .. })) else {
            return;
        };
        let recovered = at(|fact| matches!(fact, Fact::Recovered));
        match recovered.map(|entry| entry.at - fault.at) {
            Some(took) if took <= self.bounds.recovery => {}
            Some(took) => {
                let words = format!("the recovery took {} s", took / 1_000_000);
                found.push(violation(Kind::Recovery, fault.at, words));
            }
            None => found.push(violation(
                Kind::Recovery,
                fault.at,
                "no recovery came to its end".to_owned(),
            )),
        }
    }
}

fn violation(kind: Kind, at: Micros, words: String) -> Violation {
    Violation { kind, at, words }
}

fn subject_of(entry: &Entry) -> Option<&str> {
    match &entry.fact {
        Fact::Held { subject, .. }
        | Fact::Attempt { subject, .. }
        | Fact::Foreign { subject }
        | Fact::Late { subject } => Some(subject),
        _ => None,
    }
}

fn rounds(subject: &str, entries: &[Entry]) -> Vec<Round> {
    let mut rounds: BTreeMap<u64, Round> = BTreeMap::new();
    for entry in entries {
        let Fact::Attempt {
            round,
            subject: of,
            value,
            began,
            said,
            proof,
        } = &entry.fact
        else {
            continue;
        };
        if of != subject {
            continue;
        }
        let known = rounds.entry(*round).or_insert_with(|| Round {
            began: *began,
            ended: entry.at,
            said: BTreeMap::new(),
            proof: *proof,
        });
        known.ended = entry.at;
        known.said.insert(value.clone(), *said);
    }
    rounds.into_values().collect()
}

fn helds<'a>(subject: &str, entries: &'a [Entry]) -> Vec<Held<'a>> {
    let held = |entry: &'a Entry| match &entry.fact {
        Fact::Held {
            subject: of,
            two_slot,
            versions,
            by_hand,
        } if of == subject => Some(Held {
            at: entry.at,
            two_slot: *two_slot,
            versions,
            by_hand: by_hand.as_deref(),
        }),
        _ => None,
    };
    entries.iter().filter_map(held).collect()
}

/// The times in which the target may be in between.
fn changing(subject: &str, entries: &[Entry]) -> Vec<(Micros, Micros)> {
    let mut times: BTreeMap<u64, (Micros, Micros)> = BTreeMap::new();
    for entry in entries {
        match &entry.fact {
            // A change that names nobody is everybody's.
            Fact::Change {
                change,
                subject: of,
                phase,
            } if of == subject || of.is_empty() => {
                let time = times.entry(*change).or_insert((entry.at, Micros::MAX));
                if *phase != Phase::Sent {
                    time.1 = entry.at;
                }
            }
            _ => {}
        }
    }
    times.into_values().collect()
}

fn rounds_are_well(subject: &str, entries: &[Entry], found: &mut Vec<Violation>) {
    let (helds, changing) = (helds(subject, entries), changing(subject, entries));
    for round in rounds(subject, entries) {
        let overlaps = |from: Micros, to: Micros| from <= round.ended && to >= round.began;
        // What nobody heard the end of is over when the proof is made: no proof is passed over for it.
        let is_over = |from: Micros, to: Micros| round.proof && to == Micros::MAX && from < round.began;
        // While it changes, or is learned anew what is held, a round says nothing.
        if changing
            .iter()
            .any(|(from, to)| overlaps(*from, *to) && !is_over(*from, *to))
            || helds.iter().any(|held| overlaps(held.at, held.at))
        {
            continue;
        }
        let Some(held) = helds.iter().rev().find(|held| held.at <= round.began) else {
            continue;
        };
        if let Some(words) = locked_out(held, &round) {
            found.push(violation(
                Kind::Lockout,
                round.ended,
                format!("{subject}: {words}"),
            ));
        }
        if round.proof {
            for words in stale(held, &round) {
                found.push(violation(Kind::Stale, round.ended, format!("{subject}: {words}")));
            }
        }
    }
}

fn locked_out(held: &Held, round: &Round) -> Option<String> {
    let live = |stage: &str| ["pending", "current", "previous"].contains(&stage);
    let values: Vec<&str> = held
        .versions
        .iter()
        .filter(|version| live(&version.stage))
        .map(|version| version.value.as_str())
        .chain(held.by_hand)
        .collect();
    let said = |value: &str| round.said.get(value);
    let current = held.versions.iter().find(|version| version.stage == "current");
    match current {
        Some(current) if held.two_slot || round.proof => {
            return match said(&current.value) {
                Some(Said::Refused) => Some(format!("current, {}, is refused", current.value)),
                Some(Said::Accepted) => None,
                // The proof is made when everything is there again.
                other => round
                    .proof
                    .then(|| format!("current, {}, could not be tried: {other:?}", current.value)),
            };
        }
        None if round.proof => return Some("nothing is current".to_owned()),
        _ => {}
    }
    if values.is_empty() {
        return None;
    }
    if round.said.values().any(|said| *said == Said::Accepted) {
        return None;
    }
    // Only a round that tried all of them says that there was none.
    let all_refused = values.iter().all(|value| said(value) == Some(&Said::Refused));
    all_refused.then(|| format!("none of {} is accepted", values.join(", ")))
}

fn stale(held: &Held, round: &Round) -> Vec<String> {
    let lives = |value: &str| {
        held.by_hand == Some(value)
            || held.versions.iter().any(|version| {
                version.value == value && ["pending", "current", "previous"].contains(&version.stage.as_str())
            })
    };
    let dead = |version: &&Version| {
        ["revoked", "abandoned"].contains(&version.stage.as_str()) && !lives(&version.value)
    };
    let accepted = |version: &&Version| round.said.get(&version.value) == Some(&Said::Accepted);
    held.versions
        .iter()
        .filter(dead)
        .filter(accepted)
        .map(|version| format!("{} is {} and accepted", version.value, version.stage))
        .collect()
}

/// After the recovery: the server takes nothing that nobody has, and nothing that is dead.
fn books_are_known(subject: &str, entries: &[Entry], found: &mut Vec<Violation>) {
    let helds = helds(subject, entries);
    for entry in entries {
        let Fact::Books { subject: of, values } = &entry.fact else {
            continue;
        };
        let held = helds.iter().rev().find(|held| held.at <= entry.at);
        let Some(held) = held.filter(|_| of == subject) else {
            continue;
        };
        for value in values {
            let mut versions = held
                .versions
                .iter()
                .filter(|version| version.value == *value)
                .peekable();
            // What no version has is a person's.
            let dead = versions.peek().is_some()
                && versions.all(|version| ["revoked", "abandoned"].contains(&version.stage.as_str()));
            let (kind, what) = match value.as_str() {
                UNKNOWN => (Kind::Lost, "the server takes a credential that nobody has"),
                _ if dead => (Kind::Stale, "the server takes a credential that is revoked"),
                _ => continue,
            };
            found.push(violation(kind, entry.at, format!("{subject}: {what}: {value}")));
        }
    }
}

fn nothing_is_late(subject: &str, entries: &[Entry], found: &mut Vec<Violation>) {
    let late = |entry: &&Entry| matches!(&entry.fact, Fact::Late { subject: of } if of == subject);
    found.extend(entries.iter().filter(late).map(|entry| {
        let words = format!("{subject}: a change is sent by a step that is past its deadline");
        violation(Kind::Late, entry.at, words)
    }));
}

fn nothing_is_lost(subject: &str, entries: &[Entry], found: &mut Vec<Violation>) {
    for entry in entries {
        if matches!(&entry.fact, Fact::Foreign { subject: of } if of == subject) {
            let words = format!("{subject}: what is sent to the target is in no copy of the vault");
            found.push(violation(Kind::Lost, entry.at, words));
        }
    }
    let mut before: Option<&Held> = None;
    let helds = helds(subject, entries);
    for held in &helds {
        for version in held.versions {
            if version.value == UNREADABLE {
                let words = format!("{subject}: {} ({}) cannot be read", version.id, version.stage);
                found.push(violation(Kind::Lost, held.at, words));
            }
        }
        // Only the newest versions are looked at: the oldest of them drop out as new ones come.
        let newest = before
            .and_then(|before| before.versions.first())
            .filter(|version| held.versions.iter().all(|known| known.id != version.id));
        if let Some(version) = newest {
            let words = format!("{subject}: {} ({}) is gone", version.id, version.stage);
            found.push(violation(Kind::Lost, held.at, words));
        }
        before = Some(held);
    }
}
