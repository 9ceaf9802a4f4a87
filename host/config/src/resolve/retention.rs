//! How long what is old is kept.

use std::time::Duration;

use super::Resolver;
use crate::config::Retention;
use crate::raw;

const DAY: Duration = Duration::from_hours(24);

/// Of what may be forgotten at once, and of what is as good as for ever.
const RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(100 * 366 * 24));

impl Resolver {
    pub(super) fn retention(&mut self) -> Retention {
        let raw: raw::Retention = self.section("/retention").unwrap_or_default();
        let (audit, versions) = (raw.audit.as_deref(), raw.versions.as_deref());
        Retention {
            runs: self.duration("/retention/runs", raw.runs.as_deref(), 400 * DAY, RANGE),
            audit: audit.map(|kept| self.duration("/retention/audit", Some(kept), 400 * DAY, RANGE)),
            notices: self.duration("/retention/notices", raw.notices.as_deref(), 30 * DAY, RANGE),
            versions: versions.map(|kept| self.duration("/retention/versions", Some(kept), 180 * DAY, RANGE)),
        }
    }
}
