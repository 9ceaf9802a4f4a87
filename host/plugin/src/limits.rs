//! What one instance may use. Every bound has a default that ordinary plugins do not notice.

use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::stop::Stop;

/// The longest wall clock that a step may be given.
pub const WALL_CLOCK_LIMIT: Duration = Duration::from_mins(15);

/// What a plugin may use: in one call, and to be loaded at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of an instance, all its memories together, in bytes.
    pub memory_bytes: usize,
    /// Elements of all tables of an instance together.
    pub table_elements: usize,
    /// Core instances in a component (toolchains with an adapter make a dozen), and as many memories and tables.
    pub instances: usize,
    /// Time that the guest itself may compute in one call; waiting for the host does not count.
    pub cpu: Duration,
    /// Time a call may take altogether, where the caller does not say: at most [`WALL_CLOCK_LIMIT`].
    pub wall_clock: Duration,
    /// Bytes that the guest may hand over in one call of a host function.
    pub hostcall_bytes: usize,
    /// Size of a plugin's file, in bytes.
    pub file_bytes: u64,
    /// Time to compile one component.
    pub compile: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 128 << 20,
            table_elements: 100_000,
            instances: 64,
            cpu: Duration::from_secs(5),
            wall_clock: Duration::from_mins(1),
            hostcall_bytes: 8 << 20,
            // A Python component is 19 MB.
            file_bytes: 64 << 20,
            // A Python component takes 22 s on two cores.
            compile: Duration::from_mins(2),
        }
    }
}

impl Limits {
    /// For `configuration.check`, which looks at one document and calls nobody.
    #[must_use]
    pub fn for_check(self) -> Self {
        let second = Duration::from_secs(1);
        Self {
            memory_bytes: self.memory_bytes.min(64 << 20),
            cpu: self.cpu.min(second),
            wall_clock: self.wall_clock.min(second),
            ..self
        }
    }
}

/// Keeps an instance within its memory. Wasmtime's own limiter counts each memory by itself; a component may have many.
pub(crate) struct Allowance {
    memory_bytes: usize,
    table_elements: usize,
    instances: usize,
}

impl Allowance {
    pub(crate) fn of(limits: &Limits) -> Self {
        Self {
            memory_bytes: limits.memory_bytes,
            table_elements: limits.table_elements,
            instances: limits.instances,
        }
    }
}

fn take(left: &mut usize, current: usize, desired: usize, stop: Stop) -> wasmtime::Result<bool> {
    let wanted = desired.saturating_sub(current);
    // A refused growth would come back to the guest as "out of memory", and end as a trap that says nothing.
    *left = left.checked_sub(wanted).ok_or(stop)?;
    Ok(true)
}

impl ResourceLimiter for Allowance {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _most: Option<usize>,
    ) -> wasmtime::Result<bool> {
        take(&mut self.memory_bytes, current, desired, Stop::Memory)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _most: Option<usize>,
    ) -> wasmtime::Result<bool> {
        take(&mut self.table_elements, current, desired, Stop::Tables)
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.instances
    }

    fn memories(&self) -> usize {
        self.instances
    }
}
