//! What an instance's store holds. Both kinds live for one call.

use std::borrow::Cow;

use keywheel_capability::{HostState, HostView};
use wasmtime::component::{Component, Linker, ResourceTable, ResourceType, types::ComponentItem};
use wasmtime::{Engine, Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::limits::{Allowance, Limits};
use crate::meter::Meter;
use crate::stop::Stop;

/// Of an instance that runs a step.
pub(crate) struct Data {
    pub(crate) host: HostState,
    allowance: Allowance,
    over: Option<wasmtime::Error>,
    engine: Engine,
}

impl Data {
    pub(crate) fn new(host: HostState, limits: &Limits, engine: &Engine) -> Self {
        Self {
            host,
            allowance: Allowance::of(limits),
            over: None,
            engine: engine.clone(),
        }
    }
}

/// Every host function asks for the state, so this is where calls are counted. It cannot fail here: one call too many moves
/// the epoch on, and the guest is ended before it can make use of the answer.
impl HostView for Data {
    fn host(&mut self) -> &mut HostState {
        if let Err(over) = self.host.on_host_call() {
            self.over.get_or_insert(over);
            self.engine.increment_epoch();
        }
        &mut self.host
    }
}

impl WasiView for Data {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.host.ctx()
    }
}

/// Of an instance that looks at a configuration: it may call nobody.
pub(crate) struct Checking {
    allowance: Allowance,
    wasi: WasiCtx,
    table: ResourceTable,
}

impl Checking {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            allowance: Allowance::of(limits),
            wasi: WasiCtx::builder().build(),
            table: ResourceTable::new(),
        }
    }
}

impl WasiView for Checking {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// A store's data with limits.
pub(crate) trait Limited: Send + 'static {
    fn allowance(&mut self) -> &mut Allowance;

    /// Why the call has to end, apart from its time.
    fn over(&mut self) -> Option<wasmtime::Error> {
        None
    }
}

impl Limited for Data {
    fn allowance(&mut self) -> &mut Allowance {
        &mut self.allowance
    }

    fn over(&mut self) -> Option<wasmtime::Error> {
        self.over.take()
    }
}

impl Limited for Checking {
    fn allowance(&mut self) -> &mut Allowance {
        &mut self.allowance
    }
}

/// A store that keeps its guest within the limits. At every tick the guest gives way to others, so that a computing guest
/// holds up no thread and the time-out around its call can be seen.
pub(crate) fn store<T: Limited>(engine: &Engine, data: T, limits: &Limits, meter: &Meter) -> Store<T> {
    let mut store = Store::new(engine, data);
    store.limiter(|data| data.allowance());
    store.set_hostcall_fuel(limits.hostcall_bytes);
    store.set_epoch_deadline(1);
    let crossings = meter.clone();
    store.call_hook(move |_, hook| {
        crossings.crossed(hook);
        Ok(())
    });
    let (meter, cpu) = (meter.clone(), limits.cpu);
    store.epoch_deadline_callback(move |mut context: StoreContextMut<'_, T>| {
        if let Some(over) = context.data_mut().over() {
            return Err(over);
        }
        if meter.spent() > cpu {
            return Err(Stop::Cpu.into());
        }
        Ok(UpdateDeadline::Yield(1))
    });
    store
}

/// Defines the interfaces that are `absent` by failing functions: they are there, and calling one ends the call.
pub(crate) fn deny<T: 'static>(
    linker: &mut Cow<'_, Linker<T>>,
    component: &Component,
    absent: impl Fn(&str) -> bool,
) -> wasmtime::Result<()> {
    let engine = linker.engine().clone();
    for (name, item) in component.component_type().imports(&engine) {
        let ComponentItem::ComponentInstance(interface) = item.ty else {
            continue;
        };
        if !absent(name) {
            continue;
        }
        let mut instance = linker.to_mut().instance(name)?;
        for (export, item) in interface.exports(&engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => {
                    instance.func_new(export, |_, _, _, _| Err(Stop::Misuse.into()))?;
                }
                ComponentItem::Resource(_) => {
                    instance.resource(export, ResourceType::host::<()>(), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}
