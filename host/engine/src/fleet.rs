//! Many rotations by hand, several at once.

use std::num::NonZeroUsize;

use keywheel_model::{RotationName, SecretName, Trigger};
use tokio::task::JoinSet;

use crate::actor::{acting_as, actor};
use crate::driver::{Left, Stop};
use crate::view::RunView;
use crate::{Engine, Error, Order, Silent, Wait, Wish};

/// Which rotations, and how.
pub struct Fleet {
    /// In this order.
    pub rotations: Vec<RotationName>,
    /// So many are under way at the same time.
    pub at_once: NonZeroUsize,
    /// Why.
    pub trigger: Trigger,
    /// A person's reason, for the audit trail of each.
    pub reason: Option<String>,
    /// How long to wait for runs that sleep, all together.
    pub wait: Wait,
    /// A person answers for those that begin within the offset of their linked group.
    pub ignores_offset: bool,
    /// Asks each to stop at its next journalled point, and none is begun any more.
    pub stop: Stop,
}

impl Engine {
    /// Before what others know is rotated: a run that only keeps an older version alive keeps it no longer than consumers have declared.
    ///
    /// # Errors
    /// Those of [`Engine::go_on`], but for a run that stands elsewhere: the rotation is refused because of it, and says so.
    pub(crate) async fn end_grace_of(&self, secret: &SecretName, order: &Order<'_>) -> Result<(), Error> {
        let Some(run) = self.open_run_of(secret).await? else {
            return Ok(());
        };
        let before = Order {
            trigger: order.trigger,
            reason: order.reason.clone(),
            wait: order.wait.clone(),
            ignores_offset: order.ignores_offset,
            stop: order.stop.clone(),
            observer: order.observer,
        };
        match self.go_on(&run, Wish::EndGrace, before).await {
            Ok(_) | Err(Error::Choice { .. } | Error::Over { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Rotates each one; `told` hears of each when it has ended, or stands where it is left. What becomes of one makes no difference to the others.
    pub async fn rotate_many(
        &self,
        fleet: Fleet,
        mut told: impl FnMut(RotationName, Result<(RunView, Left), Error>),
    ) {
        let mut waiting = fleet.rotations.into_iter();
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < fleet.at_once.get() && !fleet.stop.is_requested() {
                let Some(rotation) = waiting.next() else { break };
                let (engine, reason) = (self.clone(), fleet.reason.clone());
                let (trigger, wait, stop) = (fleet.trigger, fleet.wait.clone(), fleet.stop.clone());
                let ignores_offset = fleet.ignores_offset;
                under_way.spawn(acting_as(actor(), async move {
                    let order = Order {
                        trigger,
                        reason,
                        wait,
                        ignores_offset,
                        stop,
                        observer: &Silent,
                    };
                    let end = engine.rotate(&rotation, order).await;
                    (rotation, end)
                }));
            }
            match under_way.join_next().await {
                Some(Ok((rotation, end))) => told(rotation, end),
                Some(Err(error)) => tracing::error!(%error, "a task died; its run stands where it was"),
                None => return,
            }
        }
    }
}
