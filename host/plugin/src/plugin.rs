//! One plugin: its manifest, the digest of its bytes, and its component, compiled, linked and checked.

use std::borrow::Cow;
use std::sync::Arc;

use keywheel_capability::bindings::OfferedPre;
use keywheel_capability::refuse;
use keywheel_manifest::{Digest, Manifest};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

use crate::Error;
use crate::instance::{Checking, Data, deny};
use crate::runtime::Runtime;
use crate::source::Source;

const CONFIGURATION: &str = "keywheel:plugin/configuration@0.1.0";
const ROTATOR: &str = "keywheel:plugin/rotator@0.1.0";
const INVENTORY: &str = "keywheel:plugin/inventory@0.1.0";

/// A plugin that can run. The bytes that it was made of are the bytes of its digest, whatever happens to the file.
pub struct Plugin {
    manifest: Arc<Manifest>,
    digest: Digest,
    lists_credentials: bool,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) steps: OfferedPre<Data>,
    pub(crate) checks: InstancePre<Checking>,
    /// Where `configuration.check` stands among the exports.
    pub(crate) check: ComponentExportIndex,
}

impl Plugin {
    /// Reads the manifest, compiles the bytes, and checks that what the component imports is offered and that what the host
    /// calls is there. Nothing of the component runs.
    pub(crate) fn load(runtime: &Arc<Runtime>, source: &Source) -> Result<Self, Error> {
        let invalid = |error| Error::Manifest {
            path: source.path.clone(),
            source: error,
        };
        if let Some(component) = runtime.known(source) {
            let manifest = keywheel_manifest::read_again(&source.bytes).map_err(invalid)?;
            return Self::link(runtime, source, manifest, &component);
        }
        let manifest = keywheel_manifest::read(&source.bytes).map_err(invalid)?;
        let component = runtime.compile(source)?;
        let plugin = Self::link(runtime, source, manifest, &component)?;
        runtime.keep(source, &component);
        Ok(plugin)
    }

    fn link(
        runtime: &Arc<Runtime>,
        source: &Source,
        manifest: Manifest,
        component: &Component,
    ) -> Result<Self, Error> {
        let path = || source.path.clone();
        check_exports(source, component)?;
        let contract = |error| Error::Contract {
            path: path(),
            source: error,
        };
        // Most need nothing beside what the host offers, and a linker is a thousand names.
        let mut linker = Cow::Borrowed(&runtime.linker);
        refuse::link(&mut linker, component, &manifest).map_err(|error| Error::World {
            path: path(),
            source: error,
        })?;
        deny(&mut linker, component, is_absent).map_err(contract)?;
        let steps = linker
            .instantiate_pre(component)
            .and_then(OfferedPre::new)
            .map_err(contract)?;
        let checks = link_denied(runtime, component).map_err(contract)?;
        let check = check_export(component).ok_or_else(|| Error::Export {
            path: path(),
            export: CONFIGURATION,
        })?;
        Ok(Self {
            manifest: Arc::new(manifest),
            digest: source.digest,
            lists_credentials: component.get_export_index(None, INVENTORY).is_some(),
            runtime: Arc::clone(runtime),
            steps,
            checks,
            check,
        })
    }

    /// What it says about itself.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Of the bytes that it was made of.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Whether it exports the optional `inventory`.
    pub fn lists_credentials(&self) -> bool {
        self.lists_credentials
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.manifest.name)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

fn check_export(component: &Component) -> Option<ComponentExportIndex> {
    let configuration = component.get_export_index(None, CONFIGURATION)?;
    component.get_export_index(Some(&configuration), "check")
}

fn check_exports(source: &Source, component: &Component) -> Result<(), Error> {
    for export in [CONFIGURATION, ROTATOR] {
        if component.get_export_index(None, export).is_none() {
            return Err(Error::Export {
                path: source.path.clone(),
                export,
            });
        }
    }
    Ok(())
}

/// Interpreted languages import what they never use, also such parts of WASI as this host does not have.
fn is_absent(name: &str) -> bool {
    ["wasi:http/", "wasi:keyvalue/", "wasi:config/"]
        .iter()
        .any(|absent| name.starts_with(absent))
}

fn link_denied(runtime: &Runtime, component: &Component) -> wasmtime::Result<InstancePre<Checking>> {
    let imports = component.component_type();
    let mut imports = imports.imports(&runtime.engine);
    let mut linker = if imports.any(|(name, _)| name.starts_with("wasi:")) {
        Cow::Borrowed(&runtime.checking)
    } else {
        Cow::Owned(Linker::new(&runtime.engine))
    };
    deny(&mut linker, component, |name| {
        !name.starts_with("wasi:") || is_absent(name)
    })?;
    linker.instantiate_pre(component)
}
