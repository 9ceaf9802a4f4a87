//! What happens at the proxy: each login and each change of the host is recorded; before a change it is read what is durably held, and its
//! answer waits for a round of the witness. At the planned exchange the driver is asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;

use crate::dialect::Carried;
use crate::proxy::{Exchange, Hooks, Kind, Verdict};
use crate::record::{Fact, Phase, Record, UNKNOWN};
use crate::target::{Client, Subject, Target};
use crate::vault::{Held, Vault};
use crate::witness::{Watch, Witness};

/// How long the driver may take to decide.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of what is dead for the witness the newest so many values are tried on.
const DEAD: usize = 2;

/// Where the driver wants to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) kind: Kind,
    /// The how manieth of its kind in this run, from 0.
    pub(crate) nth: u32,
    /// Before it is sent, or when its answer is there.
    pub(crate) before: bool,
}

/// The host is held at the planned exchange; it goes on with the answer.
pub(crate) struct Reached {
    answer: Sender<Verdict>,
}

impl Reached {
    pub(crate) fn answer(self, verdict: Verdict) {
        let _ = self.answer.send(verdict);
    }
}

/// A subject that is watched, with a value that a person still has.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) subject: Subject,
    pub(crate) two_slot: bool,
    pub(crate) by_hand: Option<String>,
}

/// The hooks of one target's proxy.
pub(crate) struct Tap {
    pub(crate) record: Arc<Record>,
    pub(crate) vault: Vault,
    pub(crate) witness: Witness,
    /// Knows how a value is tried; shared with the driver, which kills and starts the server.
    target: Arc<Mutex<Box<dyn Target>>>,
    client: Mutex<Box<dyn Client>>,
    watched: Mutex<Vec<Watched>>,
    stop: Mutex<Option<(Stop, Sender<Reached>)>>,
    changes: AtomicU32,
    logins: AtomicU32,
    /// The calls that were under way when the host was stopped past their deadline.
    expired: Mutex<Vec<(String, i64)>>,
    /// What went wrong in a hook: it has nobody to tell.
    trouble: Mutex<Option<anyhow::Error>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tap {
    pub(crate) fn new(
        record: Arc<Record>,
        vault: Vault,
        witness: Witness,
        target: Arc<Mutex<Box<dyn Target>>>,
    ) -> Self {
        let client = lock(&target).client();
        Self {
            record,
            vault,
            witness,
            target,
            client: Mutex::new(client),
            watched: Mutex::default(),
            stop: Mutex::default(),
            changes: AtomicU32::new(0),
            logins: AtomicU32::new(0),
            expired: Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// Which subjects are watched from now on.
    pub(crate) fn watch(&self, watched: Vec<Watched>) -> Result<()> {
        *lock(&self.watched) = watched;
        self.learn().map(drop)
    }

    /// Asks the driver at an exchange; counts exchanges from now on.
    pub(crate) fn plan(&self, stop: Option<Stop>) -> Receiver<Reached> {
        let (reached, ask) = channel();
        self.changes.store(0, Ordering::SeqCst);
        self.logins.store(0, Ordering::SeqCst);
        *lock(&self.stop) = stop.map(|stop| (stop, reached));
        lock(&self.expired).clear();
        ask
    }

    /// The calls that are under way are past their deadline. From now on a change must be of another one: that is journalled before it begins.
    pub(crate) fn expire(&self) -> Result<()> {
        let calls = self.vault.calls()?;
        *lock(&self.expired) = calls;
        Ok(())
    }

    /// Whether a call that is past its deadline is still under way.
    fn is_late(&self) -> Result<bool> {
        let expired = lock(&self.expired).clone();
        if expired.is_empty() {
            return Ok(false);
        }
        Ok(self.vault.calls()?.iter().any(|call| expired.contains(call)))
    }

    /// Changes and logins since the last plan.
    pub(crate) fn counted(&self) -> (u32, u32) {
        (
            self.changes.load(Ordering::SeqCst),
            self.logins.load(Ordering::SeqCst),
        )
    }

    /// What went wrong in a hook.
    pub(crate) fn trouble(&self) -> Result<()> {
        lock(&self.trouble).take().map_or(Ok(()), Err)
    }

    /// Reads what is durably held, records it, and has the witness try it.
    pub(crate) fn learn(&self) -> Result<Vec<(Watched, Vec<Held>)>> {
        let (mut all, mut watches) = (Vec::new(), Vec::new());
        for watched in lock(&self.watched).clone() {
            let held = self.vault.versions(&watched.subject.secret)?;
            watches.extend(self.watches(&watched, &held, DEAD)?);
            all.push((watched, held));
        }
        self.witness.watch(watches);
        // After the witness has the list: a round that begins from here on tries all of it.
        for (watched, held) in &all {
            self.record.add(Fact::Held {
                subject: watched.subject.name.clone(),
                two_slot: watched.two_slot,
                versions: held.iter().map(|held| held.version.clone()).collect(),
                by_hand: watched.by_hand.as_deref().map(|value| self.vault.label(value)),
            });
        }
        Ok(all)
    }

    /// What is tried of a subject: everything that lives, and some of what is dead.
    pub(crate) fn watches(&self, watched: &Watched, held: &[Held], dead: usize) -> Result<Vec<Watch>> {
        let (mut values, mut buried): (Vec<&str>, usize) = (Vec::new(), 0);
        values.extend(watched.by_hand.as_deref());
        for held in held {
            let Some(value) = &held.value else { continue };
            if ["revoked", "abandoned"].contains(&held.version.stage.as_str()) {
                buried += 1;
                if buried > dead {
                    continue;
                }
            }
            if !values.contains(&value.as_str()) {
                values.push(value);
            }
        }
        let target = lock(&self.target);
        let watch = |value: &str| {
            Ok(Watch {
                subject: watched.subject.name.clone(),
                label: self.vault.label(value),
                credential: target.credential(&watched.subject.accounts, value)?,
            })
        };
        values.into_iter().map(watch).collect()
    }

    fn subject_of(&self, account: &str) -> Option<Watched> {
        let watched = lock(&self.watched);
        let of = |watched: &&Watched| watched.subject.accounts.iter().any(|name| name == account);
        watched.iter().find(of).cloned()
    }

    fn name_of(&self, account: &str) -> String {
        self.subject_of(account)
            .map(|watched| watched.subject.name)
            .unwrap_or_default()
    }

    /// What is about to be sent is durably held: it can be found by its form among the values of the vault.
    fn is_held(&self, exchange: &Exchange, learned: &[(Watched, Vec<Held>)]) -> bool {
        let Some(carried) = &exchange.asked.carried else {
            return true;
        };
        let values: BTreeMap<&str, &Subject> = learned
            .iter()
            .flat_map(|(watched, held)| {
                let values = held.iter().filter_map(|held| held.value.as_deref());
                values.map(|value| (value, &watched.subject))
            })
            .collect();
        let passwords: Vec<String> = {
            let target = lock(&self.target);
            values
                .into_iter()
                .filter_map(|(value, subject)| target.credential(&subject.accounts, value).ok())
                .map(|credential| credential.password)
                .collect()
        };
        let mut client = lock(&self.client);
        passwords.iter().any(|password| client.carries(carried, password))
    }

    /// Records what the server's own books say of a subject, as labels of the values that the vault or a person has.
    pub(crate) fn read_books(&self, subject: &Subject, held: &[Held], by_hand: &str) -> Result<()> {
        let target = lock(&self.target);
        let accepted = target.accepts(&subject.accounts)?;
        let values = held.iter().filter_map(|held| held.value.as_deref());
        let known: Vec<(String, String)> = values
            .chain(Some(by_hand).filter(|value| !value.is_empty()))
            .filter_map(|value| {
                let credential = target.credential(&subject.accounts, value).ok()?;
                Some((credential.password, self.vault.label(value)))
            })
            .collect();
        drop(target);
        let mut client = lock(&self.client);
        let mut label = |carried: &Carried| {
            let of = known
                .iter()
                .find(|(password, _)| client.carries(carried, password));
            of.map_or_else(|| UNKNOWN.to_owned(), |(_, label)| label.clone())
        };
        let values = accepted.iter().map(&mut label).collect();
        self.record.add(Fact::Books {
            subject: subject.name.clone(),
            values,
        });
        Ok(())
    }

    /// Asks the driver if this is the planned exchange.
    fn ask(&self, kind: Kind, before: bool, nth: u32) -> Verdict {
        let planned = {
            let mut stop = lock(&self.stop);
            let wanted = Stop { kind, nth, before };
            stop.take_if(|(stop, _)| *stop == wanted)
        };
        let Some((_, driver)) = planned else {
            return Verdict::Pass;
        };
        let (answer, answered) = channel();
        if driver.send(Reached { answer }).is_err() {
            return Verdict::Pass;
        }
        match answered.recv_timeout(PATIENCE) {
            Ok(verdict) => verdict,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Verdict::Pass,
        }
    }

    fn tell(&self, done: Result<()>) {
        if let Err(error) = done {
            lock(&self.trouble).get_or_insert(error);
        }
    }

    fn changed(&self, exchange: &Exchange, phase: Phase) {
        self.record.add(Fact::Change {
            change: exchange.id,
            subject: self.name_of(&exchange.asked.account),
            phase,
        });
    }

    fn counter(&self, kind: Kind) -> &AtomicU32 {
        match kind {
            Kind::Change => &self.changes,
            Kind::Login => &self.logins,
        }
    }
}

impl Hooks for Tap {
    fn before(&self, exchange: &Exchange) -> Verdict {
        let kind = exchange.asked.kind;
        let nth = self.counter(kind).fetch_add(1, Ordering::SeqCst);
        if kind == Kind::Change {
            match self.is_late() {
                Ok(true) => {
                    let subject = self.name_of(&exchange.asked.account);
                    self.record.add(Fact::Late { subject });
                }
                done => self.tell(done.map(drop)),
            }
            match self.learn() {
                Ok(learned) if !self.is_held(exchange, &learned) => {
                    let subject = self.name_of(&exchange.asked.account);
                    self.record.add(Fact::Foreign { subject });
                }
                done => self.tell(done.map(drop)),
            }
        }
        let verdict = self.ask(kind, true, nth);
        if kind == Kind::Change && verdict == Verdict::Pass {
            self.changed(exchange, Phase::Sent);
        }
        verdict
    }

    fn after(&self, exchange: &Exchange, well: bool) -> Verdict {
        let kind = exchange.asked.kind;
        match kind {
            Kind::Login => {
                self.record.add(Fact::HostLogin {
                    account: exchange.asked.account.clone(),
                    refused: !well,
                });
            }
            Kind::Change => {
                self.changed(exchange, if well { Phase::Done } else { Phase::Failed });
                self.tell(self.witness.await_round());
            }
        }
        // The newest exchange of its kind is this one: a host asks one thing at a time.
        let nth = self.counter(kind).load(Ordering::SeqCst).saturating_sub(1);
        self.ask(kind, false, nth)
    }

    fn gone(&self, exchange: &Exchange) {
        if exchange.asked.kind == Kind::Change {
            self.changed(exchange, Phase::Unanswered);
        }
    }
}
