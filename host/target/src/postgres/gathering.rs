//! Statements of several runs in one transaction. When many credentials of one server are changed at once, most of what the server does is the
//! same for each of them: to commit. Who waits while another transaction is under way goes with the next, together with all who wait by then.
//!
//! A transaction that fails is rolled back whole, and each of its statements runs once more by itself, as it would have without the others: what
//! became of one is never told of another. Only a commit that was not answered is in doubt for all of them.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keywheel_model::{Effect, VersionId};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::pool::{Key, Pool};
use super::{Access, ConnectOptions, settings};
use crate::dial::Allow;
use crate::statement::{Rendered, Statement};
use crate::{Deadline, Error, Outbound};

/// Transactions under way at the same time for one server and user. Each change of a password costs the server several milliseconds of one
/// processor; more sessions than it has of them only make the transactions smaller.
const LANES: usize = 4;

/// Statements in one transaction: what has to be done once more if one of them fails.
const MOST: usize = 64;

/// Who has less time than that goes alone, and hurries nobody else.
const HURRY: Duration = Duration::from_secs(2);

/// What a session of the pool is opened with.
#[derive(Clone)]
pub struct Opening {
    /// Dialler and trust sets.
    pub outbound: Outbound,
    /// What may be dialled.
    pub rules: Vec<Allow>,
    /// Where, as whom, and how.
    pub options: ConnectOptions,
    /// The version of the credential.
    pub version: VersionId,
}

impl Opening {
    fn named(&self, application_name: &str) -> Self {
        let mut named = self.clone();
        application_name.clone_into(&mut named.options.application_name);
        named
    }

    async fn open(&self, pool: &Pool, deadline: Deadline) -> Result<super::Pooled, Error> {
        pool.checkout(
            &self.outbound,
            &self.rules,
            &self.options,
            &self.version,
            deadline,
        )
        .await
    }
}

/// Whose statements go together.
pub(super) type Lane = (Key, String);

/// The transactions of each lane.
#[derive(Default)]
pub(super) struct Transactions(Mutex<HashMap<Lane, Waiting>>);

struct Waiting {
    slots: Arc<Semaphore>,
    forming: Option<Arc<Gathering>>,
}

/// A transaction that has not begun.
struct Gathering {
    /// Of its session.
    name: String,
    inside: Mutex<Inside>,
    changed: Notify,
}

#[derive(Default)]
struct Inside {
    /// Entered, and neither handed in nor gone.
    undecided: usize,
    entered: u64,
    /// By their numbers, in the order in which they were handed in.
    members: Vec<(u64, Member)>,
}

struct Member {
    rendered: Rendered,
    /// Its own: what one may dial, another may not.
    opening: Arc<Opening>,
    deadline: Deadline,
    answer: oneshot::Sender<Answer>,
}

impl Member {
    /// Whoever has gone meanwhile is told nothing, and finds its intent in the journal.
    fn answer(self, answer: Answer) {
        let _ = self.answer.send(answer);
    }
}

enum Answer {
    /// Committed; so many rows.
    Done(u64),
    /// Nothing has taken effect. The slot is held until it is done, where nobody else was in the transaction.
    Alone(Option<OwnedSemaphorePermit>),
    /// The commit was not answered.
    InDoubt,
}

impl Gathering {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number, if there is room.
    fn enter(&self) -> Option<u64> {
        let mut inside = self.inside();
        let number = inside.entered;
        if usize::try_from(number).is_ok_and(|number| number >= MOST) {
            return None;
        }
        inside.entered += 1;
        inside.undecided += 1;
        Some(number)
    }

    fn decided(&self, member: Option<(u64, Member)>) {
        let mut inside = self.inside();
        inside.undecided -= 1;
        inside.members.extend(member);
        drop(inside);
        self.changed.notify_one();
    }

    /// Whether it was still there.
    fn withdraw(&self, number: u64) -> bool {
        let mut inside = self.inside();
        let before = inside.members.len();
        inside.members.retain(|(at, _)| *at != number);
        inside.members.len() < before
    }

    /// Once nobody can enter any more: all that were handed in. Who has entered writes an intent, and either comes or goes by its deadline.
    async fn complete(&self) -> Vec<Member> {
        loop {
            {
                let mut inside = self.inside();
                if inside.undecided == 0 {
                    let members = std::mem::take(&mut inside.members);
                    return members.into_iter().map(|(_, member)| member).collect();
                }
            }
            self.changed.notified().await;
        }
    }
}

impl Transactions {
    fn lanes(&self) -> MutexGuard<'_, HashMap<Lane, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place in the transaction that is forming; for a new one, what it has to wait for.
    fn enter(&self, lane: &Lane) -> (Arc<Gathering>, u64, Option<Arc<Semaphore>>) {
        let mut lanes = self.lanes();
        let waiting = lanes.entry(lane.clone()).or_insert_with(|| Waiting {
            slots: Arc::new(Semaphore::new(LANES)),
            forming: None,
        });
        if let Some(forming) = &waiting.forming
            && let Some(number) = forming.enter()
        {
            return (Arc::clone(forming), number, None);
        }
        let gathering = Arc::new(Gathering {
            name: format!("keywheel shared {:032x}", rand::random::<u128>()),
            inside: Mutex::new(Inside {
                undecided: 1,
                entered: 1,
                members: Vec::new(),
            }),
            changed: Notify::new(),
        });
        waiting.forming = Some(Arc::clone(&gathering));
        (gathering, 0, Some(Arc::clone(&waiting.slots)))
    }

    /// From here on nobody enters.
    fn close(&self, lane: &Lane, gathering: &Arc<Gathering>) {
        if let Some(waiting) = self.lanes().get_mut(lane)
            && waiting
                .forming
                .as_ref()
                .is_some_and(|forming| Arc::ptr_eq(forming, gathering))
        {
            waiting.forming = None;
        }
    }

    /// Forgets a lane on which nothing is under way.
    fn sweep(&self, lane: &Lane) {
        let mut lanes = self.lanes();
        if lanes
            .get(lane)
            .is_some_and(|waiting| waiting.forming.is_none() && Arc::strong_count(&waiting.slots) == 1)
        {
            lanes.remove(lane);
        }
    }
}

/// A place in a transaction that several runs share. Its name is known before anything is sent; who goes without handing in is not waited for.
pub struct Seat {
    pool: Pool,
    lane: Lane,
    opening: Arc<Opening>,
    gathering: Arc<Gathering>,
    number: u64,
    decided: bool,
}

impl Seat {
    /// A place among the statements of `by`, which says whose statements may go together.
    pub(super) fn take(pool: &Pool, key: Key, opening: Arc<Opening>, by: &str) -> Self {
        let lane = (key, by.to_owned());
        let (gathering, number, slots) = pool.transactions.enter(&lane);
        if let Some(slots) = slots {
            let opening = opening.named(&gathering.name);
            tokio::spawn(carry(
                pool.clone(),
                lane.clone(),
                slots,
                Arc::clone(&gathering),
                opening,
            ));
        }
        Self {
            pool: pool.clone(),
            lane,
            opening,
            gathering,
            number,
            decided: false,
        }
    }

    /// What the sessions are called that the statement may go through: the one that is shared, and its own if it goes by itself.
    pub fn application_names(&self) -> [String; 2] {
        [self.gathering.name.clone(), self.own_name()]
    }

    fn own_name(&self) -> String {
        format!("{} {}", self.gathering.name, self.number)
    }

    /// Hands the statement in, and waits for the commit.
    ///
    /// # Errors
    /// As [`super::Session::execute`] outside a transaction.
    pub async fn execute(mut self, statement: &Statement, deadline: Deadline) -> Result<u64, Error> {
        settings::check_verb(&statement.verb(), Access::Write)?;
        let (answer, answered) = oneshot::channel();
        let member = Member {
            rendered: statement.render()?,
            opening: Arc::clone(&self.opening),
            deadline,
            answer,
        };
        self.decided = true;
        self.gathering.decided(Some((self.number, member)));
        let waited = deadline
            .run("waiting for a shared transaction", Effect::Maybe, answered)
            .await;
        match waited {
            Ok(Ok(Answer::Done(rows))) => Ok(rows),
            Ok(Ok(Answer::Alone(slot))) => {
                let mut work = pin!(self.alone(statement, deadline));
                // One that waits for a lock holds the lane no longer than a transaction would.
                let early = timeout(deadline.remaining() / 4, &mut work).await;
                drop(slot);
                self.pool.transactions.sweep(&self.lane);
                match early {
                    Ok(done) => done,
                    Err(_) => work.await,
                }
            }
            Ok(Ok(Answer::InDoubt) | Err(_)) => Err(Error::Lost {
                doing: "committing a shared transaction",
                effect: Effect::Maybe,
                source: std::io::ErrorKind::ConnectionAborted.into(),
            }),
            Err(_) if self.gathering.withdraw(self.number) => Err(Error::Timeout {
                doing: "waiting for a shared transaction",
                effect: Effect::None,
            }),
            Err(timeout) => Err(timeout),
        }
    }

    async fn alone(&self, statement: &Statement, deadline: Deadline) -> Result<u64, Error> {
        let opening = self.opening.named(&self.own_name());
        let mut session = opening.open(&self.pool, deadline).await?;
        session.execute(statement, Access::Write, deadline).await
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.decided {
            self.gathering.decided(None);
        }
    }
}

/// Carries one transaction, whoever of its members is cancelled meanwhile.
async fn carry(pool: Pool, lane: Lane, slots: Arc<Semaphore>, gathering: Arc<Gathering>, opening: Opening) {
    let slot = slots.acquire_owned().await;
    pool.transactions.close(&lane, &gathering);
    let members = gathering.complete().await;
    // The slots are never closed.
    if let Ok(slot) = slot {
        run(&pool, &opening, members, slot).await;
    }
    pool.transactions.sweep(&lane);
}

async fn run(pool: &Pool, opening: &Opening, members: Vec<Member>, slot: OwnedSemaphorePermit) {
    let (mut members, hurried): (Vec<Member>, Vec<Member>) = members
        .into_iter()
        .partition(|member| member.deadline.remaining() >= HURRY);
    for member in hurried {
        member.answer(Answer::Alone(None));
    }
    if members.len() < 2 {
        // By itself a statement costs no more, and its error is its own.
        if let Some(member) = members.pop() {
            member.answer(Answer::Alone(Some(slot)));
        }
        return;
    }
    let done = together(pool, opening, &mut members).await;
    if let Err(error) = &done {
        tracing::debug!(code = %error.code(), effect = ?error.effect(), "a shared transaction failed");
    }
    for (at, member) in members.into_iter().enumerate() {
        member.answer(match &done {
            Ok(rows) => rows.get(at).copied().map_or(Answer::InDoubt, Answer::Done),
            Err(error) if error.effect() == Effect::None => Answer::Alone(None),
            Err(_) => Answer::InDoubt,
        });
    }
}

/// The rows of each that is still a member.
async fn together(pool: &Pool, opening: &Opening, members: &mut Vec<Member>) -> Result<Vec<u64>, Error> {
    // Half of what the most hurried has for the statements, so that each still has time by itself; the commit has all of it.
    let hurry = members.iter().map(|member| member.deadline.remaining()).min();
    let hurry = hurry.unwrap_or_default();
    let (deadline, commit_by) = (Deadline::after(hurry / 2), Deadline::after(hurry));
    let mut session = opening.open(pool, deadline).await?;
    // Rule P1: who has gone before the session was there is not sent any more, for its takeover has found no session to end. Who goes from here on
    // ends this one.
    members.retain(|member| !member.answer.is_closed());
    for member in members.iter() {
        let Opening {
            outbound,
            rules,
            options,
            ..
        } = &*member.opening;
        session.recheck(&outbound.dialer, rules, &options.host)?;
    }
    let statements: Vec<&Rendered> = members.iter().map(|member| &member.rendered).collect();
    session.together(&statements, deadline, commit_by).await
}
