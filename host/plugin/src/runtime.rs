//! The engine that runs plugins, and its settings.

use std::sync::Arc;

use keywheel_capability::capability::Capabilities;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy};

use crate::Error;
use crate::cache::{Cache, CacheOptions};
use crate::compile::Compiler;
use crate::instance::{Checking, Data};
use crate::limits::Limits;
use crate::source::Source;
use crate::ticker::Ticker;

/// How plugins are run.
#[derive(Default)]
pub struct RuntimeOptions {
    /// What a plugin may use.
    pub limits: Limits,
    /// Where compiled components are kept. None: they are compiled at every start.
    pub cache: Option<CacheOptions>,
}

/// Runs plugins: one engine, one linker, one tick for the whole host. Dropping the last reference ends its thread.
pub struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Data>,
    pub(crate) checking: Linker<Checking>,
    pub(crate) ticker: Ticker,
    limits: Limits,
    compiler: Compiler,
    cache: Option<Cache>,
}

impl Runtime {
    /// Starts the engine.
    ///
    /// # Errors
    /// The engine cannot be set up on this machine, its thread cannot be started, or the cache folder is open to others.
    pub fn new(options: RuntimeOptions) -> Result<Arc<Self>, Error> {
        let engine = Engine::new(&config()).map_err(Error::Engine)?;
        let mut linker = Linker::new(&engine);
        Capabilities::link(&mut linker).map_err(Error::Engine)?;
        let mut checking = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut checking).map_err(Error::Engine)?;
        let cache = options
            .cache
            .map(|cache| Cache::open(cache, &engine))
            .transpose()?;
        let ticker = Ticker::start(&engine).map_err(Error::Thread)?;
        Ok(Arc::new(Self {
            engine,
            linker,
            checking,
            ticker,
            limits: options.limits,
            compiler: Compiler::default(),
            cache,
        }))
    }

    /// What a plugin may use.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The compiled form of exactly these bytes, where there is one: then every check that depends on the bytes alone was passed before.
    pub(crate) fn known(&self, source: &Source) -> Option<Component> {
        self.cache.as_ref()?.get(&self.engine, &source.digest)
    }

    /// Compiles these bytes.
    pub(crate) fn compile(&self, source: &Source) -> Result<Component, Error> {
        self.compiler.compile(&self.engine, source, self.limits.compile)
    }

    /// Keeps the compiled form of a component that passed every check.
    pub(crate) fn keep(&self, source: &Source, component: &Component) {
        if let Some(cache) = &self.cache {
            cache.put(&source.digest, component);
        }
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    // The contract has no async function in it; without them a call costs a third less and there is less to go wrong.
    config.concurrency_support(false);
    config.epoch_interruption(true);
    // A rotation a minute: instances that wait in a pool would cost address space for nothing.
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    // What a trap says to the outside is in words of the host; the guest's function names are its own business.
    config.wasm_backtrace_max_frames(None);
    // So nobody reads these tables, which are a fifth of the compiled form.
    config.native_unwind_info(false);
    config.generate_address_map(false);
    config
}
