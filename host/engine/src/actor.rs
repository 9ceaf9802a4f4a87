use std::future::Future;

tokio::task_local! {
    static ACTOR: String;
}

/// Does work in the name of somebody else than this process's user: of whoever is on the other side of the host's socket, or of the schedule. So the
/// audit trail says it.
pub async fn acting_as<F: Future>(actor: String, work: F) -> F::Output {
    ACTOR.scope(actor, work).await
}

/// The name of a user of this machine in the audit trail.
pub fn of_user(uid: u32) -> String {
    format!("uid:{uid}")
}

/// Who acts: where nobody else was named, the process's user, who uses the command line.
pub(crate) fn actor() -> String {
    ACTOR
        .try_with(Clone::clone)
        .unwrap_or_else(|_| of_user(rustix::process::getuid().as_raw()))
}
