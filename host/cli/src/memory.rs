//! Passwords are in memory in the clear while they are on their way: nobody else gets to see it.

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, dumpable_behavior, getrlimit, set_dumpable_behavior, setrlimit,
};

/// From here on memory goes into no core file, and no other process of the same user may look into it or be attached (core(5),
/// `PR_SET_DUMPABLE` in prctl(2)). Where the system does not let it, `doctor` says so.
pub(crate) fn keep_private() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Whether that is so.
pub(crate) fn is_private() -> bool {
    let no_core = getrlimit(Resource::Core).current == Some(0);
    no_core && matches!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable))
}
