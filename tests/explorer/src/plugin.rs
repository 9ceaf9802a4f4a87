//! The fake plugins: what a correct plugin of each class does in each step, on the fake targets.

use keywheel_model::{Effect as Reach, ErrorKind, Outcome, Stage, StepError, StepName, Timestamp};
use keywheel_workflow::{Call, StepOk};

use crate::invariant::{
    Check, Invariant, nothing_is_generated_anew, nothing_is_made_by_going_back, violated,
};
use crate::scene::{Fault, Scene, Wrong, span};
use crate::target::{Key, Operation, Target};
use crate::vault::{Cred, cred_of, value_of, value_of_version, version_id};
use crate::world::World;

/// What a plugin's step reports.
pub type Stepped = Result<StepOk, StepError>;

/// A plugin at work for a run.
pub struct Plugin<'a> {
    /// Where.
    pub scene: &'a Scene,
    /// What is wrong on purpose.
    pub wrong: Wrong,
    /// For which run.
    pub run: u8,
    /// The request was decided on long ago.
    pub late: bool,
}

fn error(kind: ErrorKind, effect: Reach) -> StepError {
    StepError::new(kind, "fake", "").with_effect(effect)
}

fn ended(outcome: Outcome) -> Stepped {
    Ok(StepOk {
        outcome,
        ..StepOk::done()
    })
}

impl Plugin<'_> {
    /// Runs a step to its end. `cut`: only what reaches the target, because the host is gone before the answer is stored.
    pub fn step(
        &self,
        world: &mut World,
        call: &Call,
        cut: bool,
    ) -> Result<Stepped, crate::invariant::Violation> {
        match call.step {
            StepName::Create => self.create(world, call, cut),
            StepName::Apply => Ok(self.apply(world, call)),
            StepName::Revoke => Ok(Self::revoke(world, call)),
            StepName::Rollback => self.rollback(world, call),
            _ => Ok(ended(Outcome::Done)),
        }
    }

    fn create(
        &self,
        world: &mut World,
        call: &Call,
        cut: bool,
    ) -> Result<Stepped, crate::invariant::Violation> {
        nothing_is_made_by_going_back(world, self.run)?;
        let fresh = world.fresh();
        let now = world.now;
        if let Some(cred) = self.made_already(world) {
            // Called again: the same state, and nothing new on the target.
            return Ok(Ok(StepOk {
                pending: Some(version_id(cred)),
                ..StepOk::done()
            }));
        }
        // What a person pasted, or an authority issued, is not stored a second time once it was promoted or given up.
        let vault = &world.vault;
        let open = |cred: Cred| {
            vault
                .get(cred)
                .is_none_or(|version| version.stage == Stage::Pending)
        };
        world.pasted.retain(|(_, cred)| open(*cred));
        if matches!(world.target, Target::Served { .. }) {
            world.notes.retain(|(_, _, cred)| open(*cred));
        }
        let cred = match &mut world.target {
            Target::Keys(_) if self.scene.class == keywheel_model::SlotClass::G => {
                match world.pasted.iter().find(|(run, _)| *run == self.run) {
                    Some((_, pasted)) => *pasted,
                    None => return Ok(ended(Outcome::Blocked("make a key in the console".to_owned()))),
                }
            }
            Target::Keys(_) => {
                if call.interrupted && !self.wrong.has(Fault::OrphanKept) {
                    self.delete_orphans(world, None)?;
                }
                let key = Key {
                    cred: fresh,
                    run: Some(self.run),
                    from: now + self.scene.belief,
                };
                if let Target::Keys(keys) = &mut world.target {
                    keys.push(key);
                }
                fresh
            }
            Target::Fixed { .. } => match self.regenerate(world, call)? {
                Ok(cred) => cred,
                Err(stepped) => return Ok(stepped),
            },
            Target::Clock { newest, dying } => {
                if newest.run == Some(self.run) {
                    // The orphan of a lost reply: deleted, and another one issued. The old ones keep their end.
                    if world.vault.epoch > 0 && !self.late {
                        return violated(
                            Invariant::NothingKeptIsDeleted,
                            "an issued key is deleted after a restore",
                        );
                    }
                    *newest = Key {
                        cred: fresh,
                        run: Some(self.run),
                        from: now,
                    };
                } else {
                    dying.push((newest.cred, now + self.scene.server_grace()));
                    *newest = Key {
                        cred: fresh,
                        run: Some(self.run),
                        from: now,
                    };
                }
                fresh
            }
            Target::Served { valid, .. } => {
                let ordered = world
                    .notes
                    .iter()
                    .find(|(run, _, _)| *run == self.run)
                    .map(|(_, _, cred)| *cred);
                let cred = ordered.unwrap_or(fresh);
                if ordered.is_none() {
                    world.notes.push((self.run, 0, cred));
                    valid.push(cred);
                }
                cred
            }
            _ => fresh,
        };
        if self.wrong.has(Fault::SetBeforeStored) {
            put(world, cred, call);
        }
        if cut {
            return Ok(Err(error(ErrorKind::Other, Reach::Maybe)));
        }
        self.store_pending(world, cred)?;
        let mut ok = StepOk {
            pending: Some(version_id(cred)),
            ..StepOk::done()
        };
        if let (Target::Clock { dying, .. }, Some(current)) = (&world.target, &call.roles.current) {
            let until = dying
                .iter()
                .find(|(old, _)| *old == cred_of(current))
                .map(|(_, until)| *until);
            ok.current_valid_until = until.map(Timestamp::from_unix_ms);
        }
        Ok(Ok(ok))
    }

    /// What the target has issued for this run, by its marker there, and the vault has pending. A request that is on its way does not look.
    fn made_already(&self, world: &World) -> Option<Cred> {
        let issued = match &world.target {
            Target::Keys(keys) => keys.iter().find(|key| key.run == Some(self.run))?.cred,
            Target::Clock { newest, .. } if newest.run == Some(self.run) => newest.cred,
            _ => return None,
        };
        let stage = world.vault.get(issued)?.stage;
        (!self.late && stage == Stage::Pending).then_some(issued)
    }

    fn store_pending(&self, world: &mut World, cred: Cred) -> Check {
        if let Some(version) = world.vault.get(cred) {
            if version.stage == Stage::Pending {
                return Ok(());
            }
            if version.stage == Stage::Current && self.wrong.has(Fault::OldKeyCaptured) {
                world.vault.versions.retain(|kept| kept.cred != cred);
            }
        }
        nothing_is_generated_anew(world)?;
        // One pending version per run: a second one takes the place of the first.
        world
            .vault
            .versions
            .retain(|kept| !(kept.stage == Stage::Pending && kept.run == Some(self.run)));
        world.vault.add(cred, Stage::Pending, Some(self.run), false);
        if world.snapshots.len() == 1 {
            world.remember(0);
        }
        Ok(())
    }

    /// Class E: the slot that is not in use is regenerated, once, and read after the operation has ended.
    fn regenerate(
        &self,
        world: &mut World,
        call: &Call,
    ) -> Result<Result<Cred, Stepped>, crate::invariant::Violation> {
        let Target::Fixed { slots, operation } = &mut world.target else {
            return Ok(Ok(0));
        };
        let image = world.notes.iter().find(|(run, _, _)| *run == self.run).copied();
        if let Some(running) = operation {
            if self.wrong.has(Fault::OldKeyCaptured) {
                return Ok(Ok(slots[running.slot]));
            }
            let wait = u32::try_from(running.until.saturating_sub(world.now)).unwrap_or(0);
            return Ok(Err(ended(Outcome::Wait(wait))));
        }
        let in_use = call.roles.current.as_ref().map(cred_of);
        let slot = match image {
            Some((_, slot, before)) if slots[slot] != before => return Ok(Ok(slots[slot])),
            Some((_, slot, _)) => slot,
            None => {
                let Some(used) = slots.iter().position(|cred| Some(*cred) == in_use) else {
                    return Ok(Err(Err(error(ErrorKind::Conflict, Reach::None))));
                };
                let slot = if self.wrong.has(Fault::SlotInUseRegenerated) {
                    used
                } else {
                    1 - used
                };
                world.notes.push((self.run, slot, slots[slot]));
                slot
            }
        };
        *operation = Some(Operation {
            slot,
            until: world.now + span::LONG_OPERATION,
        });
        let wait = u32::try_from(span::LONG_OPERATION).unwrap_or(0);
        Ok(Err(ended(Outcome::Wait(wait))))
    }

    /// Class D: deletes what carries this run's marker and is not in the vault, and `also`.
    fn delete_orphans(&self, world: &mut World, also: Option<Cred>) -> Check {
        let Target::Keys(keys) = &world.target else {
            return Ok(());
        };
        let vault = &world.vault;
        let goes = |key: &Key| Some(key.cred) == also || key.run == Some(self.run) && !vault.holds(key.cred);
        if vault.epoch > 0 && !self.late && keys.iter().any(|key| goes(key) && Some(key.cred) != also) {
            return violated(
                Invariant::NothingKeptIsDeleted,
                "an issued key is deleted after a restore",
            );
        }
        let kept = keys.iter().filter(|key| !goes(key)).copied().collect();
        world.target = Target::Keys(kept);
        Ok(())
    }

    fn apply(&self, world: &mut World, call: &Call) -> Stepped {
        let Some(subject) = call.subject.as_ref().map(value_of_version) else {
            return Err(error(ErrorKind::Invalid, Reach::None));
        };
        if !self.late && is_done_already(world, call, self.wrong) {
            return ended(Outcome::Done);
        }
        put(world, subject, call);
        ended(Outcome::Done)
    }

    fn revoke(world: &mut World, call: &Call) -> Stepped {
        let Some(subject) = call.subject.as_ref().map(value_of_version) else {
            return Err(error(ErrorKind::Invalid, Reach::None));
        };
        let current = call.roles.current.as_ref().map(value_of_version);
        let fresh = world.fresh();
        match &mut world.target {
            Target::Set(set) => *set = current.into_iter().collect(),
            Target::Pair(_, retained) => *retained = None,
            Target::Alternate(slots) => clear_account(slots, current, Some(subject)),
            Target::Keys(keys) => keys.retain(|key| key.cred != subject),
            Target::Fixed { slots, .. } => {
                slots
                    .iter_mut()
                    .filter(|cred| **cred == subject && Some(**cred) != current)
                    .for_each(|cred| *cred = fresh);
            }
            Target::Served { .. } => return ended(Outcome::Impossible("left to expire".to_owned())),
            Target::One(_) | Target::Clock { .. } => {}
        }
        ended(Outcome::Done)
    }

    fn rollback(&self, world: &mut World, call: &Call) -> Result<Stepped, crate::invariant::Violation> {
        let current = call.roles.current.as_ref().map(value_of_version);
        let pending = call.subject.as_ref().map(cred_of);
        // A promotion that lives longer than its deadline may land between the look at the head and this.
        if pending.is_some() && pending == world.vault.current() && !world.beyond_deadline {
            return violated(
                Invariant::PromotedIsNeverUndone,
                "rollback of the promoted version",
            );
        }
        if matches!(world.target, Target::Keys(_)) {
            self.delete_orphans(world, pending.filter(|pending| Some(*pending) != current))?;
            return Ok(ended(Outcome::Done));
        }
        let Some(current) = current else {
            return Ok(ended(Outcome::Done));
        };
        match &mut world.target {
            Target::Set(set) => *set = vec![current],
            Target::Pair(primary, retained) => (*primary, *retained) = (current, None),
            Target::One(only) => *only = current,
            Target::Alternate(slots) => clear_account(slots, Some(current), pending.map(value_of)),
            Target::Served { served, .. } => *served = current,
            Target::Keys(_) => {}
            Target::Fixed { .. } | Target::Clock { .. } => {
                return Ok(ended(Outcome::Impossible(
                    "a key cannot be brought back".to_owned(),
                )));
            }
        }
        Ok(ended(Outcome::Done))
    }
}

/// Class B looks before it shifts: a second delivery would push the old one out. A statement that is on its way does not look any more.
pub fn is_done_already(world: &World, call: &Call, wrong: Wrong) -> bool {
    let subject = call.subject.as_ref().map(value_of_version);
    call.step == StepName::Apply
        && !wrong.has(Fault::AppliedBlindly)
        && matches!(world.target, Target::Pair(primary, _) if Some(primary) == subject)
}

/// The account of a version has no password any more, whatever it had: it is the one with that version, else the one that current does not use.
fn clear_account(slots: &mut [Option<Cred>; 2], current: Option<Cred>, version: Option<Cred>) {
    let holds = |wanted: Option<Cred>| slots.iter().position(|slot| slot.is_some() && *slot == wanted);
    if let Some(account) = holds(version).or_else(|| holds(current).map(|used| 1 - used)) {
        slots[account] = None;
    }
}

/// Makes the target accept a value.
fn put(world: &mut World, subject: Cred, call: &Call) {
    let current = call.roles.current.as_ref().map(value_of_version);
    let previous = call.roles.previous.as_ref().map(value_of_version);
    match &mut world.target {
        Target::Set(set) => {
            let mut wanted = vec![subject];
            wanted.extend(current.filter(|cred| *cred != subject));
            wanted.extend(previous.filter(|cred| current == Some(subject) && set.contains(cred)));
            *set = wanted;
        }
        Target::Pair(primary, retained) => {
            *retained = Some(*primary);
            *primary = subject;
        }
        Target::One(only) => *only = subject,
        Target::Alternate(slots) => {
            if !slots.contains(&Some(subject)) {
                let keep = if current == Some(subject) {
                    previous
                } else {
                    current
                };
                let free = usize::from(slots[0].is_some() && slots[0] == keep);
                slots[free] = Some(subject);
            }
        }
        Target::Served { served, .. } => *served = subject,
        Target::Keys(_) | Target::Fixed { .. } | Target::Clock { .. } => {}
    }
}
