use keywheel_model::Timestamp;

use crate::{Facts, Next, Plan, Planned};

/// The next times of a rotation, if each run succeeds at once: see [`Plan::upcoming`].
#[derive(Clone, Debug)]
pub struct Upcoming<'a> {
    plan: &'a Plan<'a>,
    facts: Facts,
    now: Timestamp,
    ended: Option<Planned>,
}

impl<'a> Plan<'a> {
    /// The next times, one after the other, as if each run succeeded at its time and made a credential that lives as long as the one now.
    pub fn upcoming(&'a self, facts: Facts, now: Timestamp) -> Upcoming<'a> {
        Upcoming {
            plan: self,
            facts,
            now,
            ended: None,
        }
    }
}

impl Upcoming<'_> {
    /// Why there are no more times, once there are none.
    pub fn ended(&self) -> Option<Planned> {
        self.ended
    }
}

impl Iterator for Upcoming<'_> {
    type Item = Next;

    fn next(&mut self) -> Option<Next> {
        if self.ended.is_some() {
            return None;
        }
        let planned = self.plan.next(&self.facts, self.now);
        let Planned::Due(next) = planned else {
            self.ended = Some(planned);
            return None;
        };
        let done = next.due.max(self.now);
        let life = self
            .facts
            .expires
            .zip(self.facts.issued.max(self.facts.last_success))
            .map(|(expires, issued)| expires.saturating_since(issued));
        self.facts = Facts {
            last_success: Some(done),
            issued: Some(done),
            expires: life.filter(|life| !life.is_zero()).map(|life| done + life),
            forced: None,
            started: None,
            ..self.facts
        };
        self.now = done;
        Some(next)
    }
}
