use croner::Cron;
use jiff::Zoned;
use keywheel_model::{RotationName, Timestamp};

use crate::zone::instant;
use crate::{Expression, Zone};

/// An expression of one rotation in a zone: the instants at which it fires.
#[derive(Clone, Debug)]
pub(crate) struct Fires {
    evaluators: Vec<Cron>,
    zone: Zone,
}

impl Fires {
    pub(crate) fn new(expression: &Expression, zone: &Zone, name: &str) -> Self {
        Self {
            evaluators: expression.compile(name),
            zone: zone.clone(),
        }
    }

    pub(crate) fn of(expression: &Expression, zone: &Zone, name: &RotationName) -> Self {
        Self::new(expression, zone, name.as_str())
    }

    /// The first one after a time; `None` where the calendar ends.
    pub(crate) fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let each = self.evaluators.iter().filter_map(|cron| self.forward(cron, at));
        each.min()
    }

    /// The last one at or before a time.
    pub(crate) fn at_or_before(&self, at: Timestamp) -> Option<Timestamp> {
        let each = self.evaluators.iter().filter_map(|cron| self.backward(cron, at));
        each.max()
    }

    fn forward(&self, cron: &Cron, after: Timestamp) -> Option<Timestamp> {
        let rules = self.zone.rules();
        let mut start = instant(after)?.to_zoned(rules.clone());
        for inclusive in [false, true, true] {
            if let Ok(found) = cron.find_next_occurrence(&start, inclusive) {
                return in_ms(&found).filter(|found| *found > after);
            }
            // A zone may leave out a whole day, as Samoa did, and the evaluator gives up in it: on the other side of it there is more.
            let transition = rules.following(start.timestamp()).next()?;
            start = transition.timestamp().to_zoned(rules.clone());
        }
        None
    }

    fn backward(&self, cron: &Cron, at: Timestamp) -> Option<Timestamp> {
        let start = instant(at)?.to_zoned(self.zone.rules().clone());
        let found = cron.find_previous_occurrence(&start, true).ok()?;
        in_ms(&found).filter(|found| *found <= at)
    }
}

fn in_ms(at: &Zoned) -> Option<Timestamp> {
    let ms = u64::try_from(at.timestamp().as_millisecond()).ok()?;
    Some(Timestamp::from_unix_ms(ms))
}
