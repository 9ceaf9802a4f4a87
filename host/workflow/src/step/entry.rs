//! Lease, settling, head: what is made sure of before a phase acts.

use super::Work;
use crate::describe::LEASE_HELD;
use crate::mutant::Mutation;
use crate::{Cause, Effect, Entry, Lease, Phase, Trouble};

/// Each turn moves the entry or the phase on; more than this many would be a loop.
const MOST_TURNS: u32 = 16;

impl Work {
    /// The next effect.
    pub(super) fn choose(&mut self) -> Effect {
        let mut turns = 0;
        let effect = loop {
            turns += 1;
            if turns > MOST_TURNS {
                self.park(Cause::Impossible, "the run found no way on");
            }
            if self.state.is_over() {
                break Effect::Release;
            }
            if self.state.phase == Phase::Parked {
                break Effect::Park;
            }
            if let Some(until) = self.state.pause_until.filter(|until| *until > self.now) {
                break Effect::Sleep { until };
            }
            self.state.pause_until = None;
            match self.state.entry {
                Entry::Lease if self.wrong(Mutation::NoLease) => self.state.entry = Entry::Settle,
                Entry::Lease => break Effect::Lease,
                Entry::Settle | Entry::Wait if self.now >= self.state.settled_at => {
                    self.state.entry = Entry::Head;
                }
                // Nothing is done to the target any more: the next run waits for what may still land.
                Entry::Settle | Entry::Wait if self.state.is_given_up() => {
                    self.state.entry = Entry::Head;
                }
                Entry::Settle | Entry::Wait if self.wrong(Mutation::NotSettled) => {
                    self.state.entry = Entry::Head;
                }
                Entry::Settle => break Effect::EndSessions,
                Entry::Wait => self.state.pause_until = Some(self.state.settled_at),
                Entry::Head => break Effect::ReadHead,
                Entry::Ready => {
                    if let Some(effect) = self.act() {
                        break effect;
                    }
                }
            }
        };
        // Only ever compared: after the last number comes the first.
        self.state.op = self.state.op.wrapping_add(1);
        let last = matches!(effect, Effect::Release);
        self.state.doing = if last { None } else { Some(effect.clone()) };
        effect
    }

    pub(super) fn on_lease(&mut self, lease: &Lease) {
        match lease {
            Lease::Held { fence, settled_at } => {
                self.state.fence = Some(*fence);
                self.in_flight_until(*settled_at);
                self.state.entry = Entry::Settle;
                if self
                    .state
                    .trouble
                    .as_ref()
                    .is_some_and(|trouble| trouble.code == LEASE_HELD)
                {
                    self.state.trouble = None;
                }
            }
            Lease::Busy { until } => {
                self.state.fence = None;
                self.pause(*until);
                self.state.trouble = Some(Trouble::new(
                    LEASE_HELD,
                    "another run holds the account or the secret",
                ));
            }
        }
    }

    pub(super) fn on_sessions(&mut self, ended: bool) {
        // Sessions on the target say nothing about writes on their way to a remote vault.
        if ended && !self.state.settings.remote_vault {
            self.state.settled_at = self.now;
            self.state.entry = Entry::Head;
        } else {
            self.state.entry = Entry::Wait;
        }
    }
}
