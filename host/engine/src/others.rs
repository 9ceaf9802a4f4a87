//! Users of this machine who are neither the host's nor root, and whom a running host hears all the same.

use crate::engine::Engine;

impl Engine {
    /// Whether a user who is not trusted with everything may do something: approve runs, or read a value by a program.
    pub fn hears(&self, uid: u32) -> bool {
        self.lets_approve(uid) || self.grants_any_read(uid)
    }

    /// Whether there is such a user, so that others have to reach the socket.
    pub fn hears_others(&self) -> bool {
        let trusted = [0, rustix::process::geteuid().as_raw()];
        let readers = self.inner.config.grants.iter().map(|grant| grant.uid);
        self.approvers().chain(readers).any(|uid| !trusted.contains(&uid))
    }
}
