//! The loop around the machine: an event in, the new state made durable, the effect performed, its report the next event.

use keywheel_failpoint::{Point, reach};
use keywheel_model::{ErrorKind, Fence, Timestamp};
use keywheel_workflow::{Effect, Event, Lease, Next, Report, State, describe, step};
use std::sync::Arc;
use tokio::sync::watch;

use crate::engine::Inner;
use crate::journal::{Kept, LEASE, Noted, Saved};
use crate::perform::Performer;
use crate::{Error, Observer, Wait};

/// Why a run is not driven any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It is over.
    Ended,
    /// It waits for a person.
    Parked,
    /// Nothing happens before this time, which is further away than the caller wanted to wait.
    Waiting(Timestamp),
    /// The caller asked for a stop; the run stands at a journalled point.
    Stopped,
}

/// Asks a driver to stop at the next journalled point. A step in flight is brought to its end first: it has its deadline.
#[derive(Clone)]
pub struct Stop {
    asked: watch::Receiver<bool>,
    /// Somebody else wants the run.
    also: Option<watch::Receiver<bool>>,
}

/// The other end of a [`Stop`].
pub struct Stopper(watch::Sender<bool>);

impl Stop {
    /// A pair of both ends.
    pub fn pair() -> (Stopper, Self) {
        let (sender, receiver) = watch::channel(false);
        (Stopper(sender), Self::when(receiver))
    }

    /// Asked for when it becomes true.
    pub fn when(asked: watch::Receiver<bool>) -> Self {
        Self { asked, also: None }
    }

    /// Or when this becomes true, too.
    pub(crate) fn or(self, also: watch::Receiver<bool>) -> Self {
        Self {
            also: Some(also),
            ..self
        }
    }

    /// Whether it was asked for.
    pub fn is_requested(&self) -> bool {
        *self.asked.borrow() || self.also.as_ref().is_some_and(|also| *also.borrow())
    }

    /// Waits until it is asked for.
    pub async fn requested(&self) {
        match &self.also {
            None => is_true(&self.asked).await,
            Some(also) => tokio::select! {
                () = is_true(&self.asked) => {}
                () = is_true(also) => {}
            },
        }
    }
}

async fn is_true(asked: &watch::Receiver<bool>) {
    let mut asked = asked.clone();
    if asked.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl Stopper {
    /// Asks for the stop.
    pub fn stop(&self) {
        // Nobody listens any more: it has stopped already.
        let _ = self.0.send(true);
    }
}

/// Drives one run.
pub(crate) struct Driver<'e> {
    pub(crate) inner: &'e Arc<Inner>,
    pub(crate) performer: Performer,
    pub(crate) stop: Stop,
    pub(crate) wait: Wait,
    pub(crate) observer: &'e dyn Observer,
}

impl Driver<'_> {
    /// Feeds `events`, then goes on until the run is over, parked, has to wait longer than wanted, or is to stop.
    pub(crate) async fn drive(&self, mut saved: Saved, events: Vec<Event>) -> Result<(State, Left), Error> {
        let mut waiting_events = events.into_iter();
        let mut event = waiting_events
            .next()
            .ok_or(Error::Defect("a run was driven without an event"))?;
        let mut held: Option<Fence> = None;
        // In memory only, where the machine says that the state need not be durable before its effect.
        let mut ahead: Option<Next> = None;
        // What the audit trail is to be told with the next state that is kept.
        let mut untold: Vec<Noted> = Vec::new();
        let left = loop {
            let state = ahead.as_ref().map_or(&saved.state, |next| &next.state);
            let now = self.inner.clock.now();
            let next = step(state, &event, now);
            untold.extend(Noted::of(&next, now));
            let more = waiting_events.next();
            let may_lag = next
                .effect
                .as_ref()
                .is_some_and(|effect| !effect.needs_write_ahead(next.state.settings.class));
            if may_lag && more.is_none() && !next.state.is_over() {
                ahead = Some(next);
            } else {
                match self.inner.journal.save(&mut saved, &next, untold.clone()).await? {
                    Kept::Yes => {
                        ahead = None;
                        untold.clear();
                    }
                    Kept::FenceLost => {
                        ahead = Some(Next { effect: None, ..next });
                        event = Event::FenceLost;
                        held = None;
                        continue;
                    }
                }
            }
            let state = ahead.as_ref().map_or(&saved.state, |next| &next.state).clone();
            self.observer.changed(&state);
            if let Some(more) = more {
                event = more;
                continue;
            }
            match self.react(&state, &mut held).await? {
                Reaction::Event(next) => event = next,
                Reaction::Leave(left) => break left,
            }
        };
        if let Some(next) = &ahead {
            self.inner.journal.save(&mut saved, next, untold).await?;
        }
        if let Some(fence) = held {
            self.inner.journal.release(&saved.state.run, fence).await?;
        }
        self.measure(&saved.state);
        Ok((saved.state, left))
    }

    /// A run that has come to its end counts, from its first step on.
    fn measure(&self, state: &State) {
        if !state.is_over() {
            return;
        }
        let plugin = self.performer.plugin.as_ref();
        let now = self.inner.clock.now();
        let began = state.log.first().map_or(now, |first| first.began);
        self.inner.metrics.run_ended(
            plugin.map(|plugin| &plugin.manifest().name),
            state.settings.trigger,
            describe(state).word.as_str(),
            now.saturating_since(began),
        );
        self.inner.trace_run(&self.performer, state, began, now);
    }

    /// What comes of the effect that the state asks for.
    async fn react(&self, state: &State, held: &mut Option<Fence>) -> Result<Reaction, Error> {
        let Some(effect) = &state.doing else {
            return Ok(Reaction::Leave(if state.is_over() {
                Left::Ended
            } else {
                Left::Stopped
            }));
        };
        match effect {
            Effect::Release => Ok(Reaction::Leave(Left::Ended)),
            Effect::Park => Ok(Reaction::Leave(Left::Parked)),
            Effect::Sleep { until } => self.sleep(*until, state, held).await,
            _ if self.stop.is_requested() => Ok(Reaction::Leave(Left::Stopped)),
            effect => {
                if effect.needs_fence() && !self.is_fenced(effect, state).await? {
                    *held = None;
                    return Ok(Reaction::Event(Event::FenceLost));
                }
                if matches!(effect, Effect::Call(_))
                    && let Some(what) = self.performer.withdrawn(self.inner).await?
                {
                    return Ok(Reaction::Event(Event::Withdrawn { what }));
                }
                if let Some(what) = self.performer.is_held(self.inner, effect, state).await? {
                    return Ok(Reaction::Event(Event::Withdrawn { what }));
                }
                let Some(report) = self.guarded(effect, state, *held).await? else {
                    *held = None;
                    return Ok(Reaction::Event(Event::FenceLost));
                };
                if let Report::Lease(Lease::Held { fence, .. }) = &report {
                    *held = Some(*fence);
                }
                // A login that the operator does not allow any more is no answer of the target's.
                if let Report::Verdict(Err(error)) = &report
                    && error.kind == ErrorKind::Denied
                    && error.code.starts_with("policy.")
                {
                    let what = error.message.clone();
                    return Ok(Reaction::Event(Event::Withdrawn { what }));
                }
                Ok(Reaction::Event(Event::Done { op: state.op, report }))
            }
        }
    }

    /// Whether an effect begins under a live fence. One whose state had to be durable was checked in that very transaction.
    async fn is_fenced(&self, effect: &Effect, state: &State) -> Result<bool, Error> {
        match state.fence {
            Some(_) if effect.needs_write_ahead(state.settings.class) => Ok(true),
            Some(fence) => self.inner.journal.is_live(&state.run, fence).await,
            None => Ok(false),
        }
    }

    /// Performs an effect while the lease is kept alive. `None`: the lease was lost on the way, and the effect was let go of.
    async fn guarded(
        &self,
        effect: &Effect,
        state: &State,
        held: Option<Fence>,
    ) -> Result<Option<Report>, Error> {
        let work = async {
            reach(Point::EffectBefore);
            let report = self.performer.perform(self.inner, effect, state, held).await;
            reach(Point::EffectAfter);
            report
        };
        let Some(fence) = held else {
            return work.await.map(Some);
        };
        tokio::select! {
            report = work => report.map(Some),
            lost = self.keep_lease(state, fence) => lost.map(|()| None),
        }
    }

    /// Renews the lease until it is lost.
    async fn keep_lease(&self, state: &State, fence: Fence) -> Result<(), Error> {
        loop {
            tokio::time::sleep(LEASE / 3).await;
            if !self.inner.journal.renew(&state.run, fence).await? {
                return Ok(());
            }
        }
    }

    async fn sleep(
        &self,
        until: Timestamp,
        state: &State,
        held: &mut Option<Fence>,
    ) -> Result<Reaction, Error> {
        let whole = until.saturating_since(self.inner.clock.now());
        if !self.wait.allows(whole) || self.waits_in_vain(until, state) {
            return Ok(Reaction::Leave(Left::Waiting(until)));
        }
        loop {
            let span = until.saturating_since(self.inner.clock.now());
            if span.is_zero() {
                self.wait.spend(whole);
                return Ok(Reaction::Event(Event::Timer));
            }
            if let Some(fence) = *held
                && !self.inner.journal.renew(&state.run, fence).await?
            {
                *held = None;
            }
            // The wall clock may be set while this waits: it is looked at again at least this often.
            tokio::select! {
                () = self.stop.requested() => return Ok(Reaction::Leave(Left::Stopped)),
                () = tokio::time::sleep(span.min(LEASE / 6)) => {}
            }
        }
    }
}

impl Driver<'_> {
    /// Whether nothing ends this wait while it is sat out: a backup is another command's, and that one needs the state; and no more than a look at current
    /// was asked of a command that waits for a bounded time.
    fn waits_in_vain(&self, until: Timestamp, state: &State) -> bool {
        let sits_it_out = matches!(self.wait, Wait::ToTheEnd) && self.inner.turns.kept_since().is_some();
        state.is_held() && state.held_until == Some(until) && !sits_it_out
    }
}

enum Reaction {
    Event(Event),
    Leave(Left),
}
