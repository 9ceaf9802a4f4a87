//! Packages that are in `wit/` and that this host does not offer yet.
//!
//! What a plugin may call is what its manifest lists; what its component imports says less, since interpreted languages import
//! a whole world whatever they use. So:
//! - a component whose manifest lists a capability that is not offered is refused when it is loaded;
//! - one that only imports such an interface is loaded: each call of it is answered `denied` and audited, and says which
//!   capability it would need. A function that cannot answer with an error ends the step instead;
//! - `plaintext` is refused in any case: importing it is asking for it;
//! - so is what is neither Keywheel's nor WASI's, and another version of Keywheel's than the host's.

use std::borrow::Cow;

use keywheel_manifest::{Capability, Manifest};
use keywheel_policy::Request;
use wasmtime::component::types::{ComponentInstance, ComponentItem};
use wasmtime::component::{Component, Linker, Resource, ResourceAny, ResourceType, Type, Val};
use wasmtime::{Engine, StoreContextMut};

use crate::error::Error;
use crate::state::HostView;

/// The track of versions that this host speaks.
const TRACK: &str = "0.1.";

const OFFERED: [&str; 11] = [
    "keywheel:core/types",
    "keywheel:core/secrets",
    "keywheel:core/runtime",
    "keywheel:vault/vault",
    "keywheel:vault/certificates",
    "keywheel:sql/sql",
    "keywheel:net/tcp",
    "keywheel:net/frames",
    "keywheel:http/client",
    "keywheel:keys/identities",
    "keywheel:plugin/runs",
];

const NOT_OFFERED: [(&str, Capability); 4] = [
    ("keywheel:keys/keys", Capability::Keys),
    ("keywheel:notify/notify", Capability::Notify),
    ("keywheel:challenge/challenge", Capability::Challenge),
    ("keywheel:plaintext/reveal", Capability::Plaintext),
];

/// Capabilities that a manifest may list.
pub const OFFERED_CAPABILITIES: [Capability; 5] = [
    Capability::Core,
    Capability::Vault,
    Capability::Sql,
    Capability::Net,
    Capability::Http,
];

/// Why a component cannot be loaded by this host.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Its manifest lists a capability that is not offered.
    #[error("the manifest lists the capability `{0}`, which this host does not offer yet")]
    Capability(Capability),
    /// It imports the one package whose import alone is a request.
    #[error("the component imports `{0}`: plaintext is not offered by this host yet")]
    Plaintext(String),
    /// It imports another track of versions.
    #[error("the component imports `{0}`, and this host speaks {TRACK}x")]
    Version(String),
    /// It imports something else.
    #[error("the component imports `{0}`, which is no interface of Keywheel or WASI")]
    Unknown(String),
    /// The stand-ins could not be linked.
    #[error("failed to link stand-ins for what is not offered")]
    Link(#[source] wasmtime::Error),
}

impl Refused {
    /// Stable, dotted, lower case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Capability(_) => "plugin.capability",
            Self::Plaintext(_) => "plugin.plaintext",
            Self::Version(_) => "plugin.contract-version",
            Self::Unknown(_) => "plugin.import",
            Self::Link(_) => "plugin.link",
        }
    }

    /// The way out.
    pub fn hint(&self) -> Option<String> {
        let offered = OFFERED_CAPABILITIES.map(Capability::as_str).join(", ");
        match self {
            Self::Capability(_) => Some(format!(
                "offered are: {offered}; drop it from `capabilities` if the plugin works without it"
            )),
            Self::Plaintext(_) => {
                Some("build the plugin for a world without `keywheel:plaintext`".to_owned())
            }
            Self::Version(_) => Some("build the plugin against the `wit/` folder of this release".to_owned()),
            Self::Unknown(_) => {
                Some("build the plugin for a world of `wit/plugin`; stub other imports out".to_owned())
            }
            Self::Link(_) => None,
        }
    }
}

/// Checks what a component imports, and links a stand-in for each interface that is not offered. The linker is one that
/// [`crate::capability::Capabilities::link`] filled; it is copied where something is added.
///
/// # Errors
/// The component cannot be loaded.
pub fn link<T: HostView>(
    linker: &mut Cow<'_, Linker<T>>,
    component: &Component,
    manifest: &Manifest,
) -> Result<(), Refused> {
    if let Some(capability) = manifest
        .capabilities
        .iter()
        .find(|capability| !OFFERED_CAPABILITIES.contains(capability))
    {
        return Err(Refused::Capability(*capability));
    }
    let engine = linker.engine().clone();
    let mut resources = Vec::new();
    let imports = component.component_type();
    for (name, import) in imports.imports(&engine) {
        let ComponentItem::ComponentInstance(instance) = import.ty else {
            return Err(Refused::Unknown(name.to_owned()));
        };
        let capability = not_offered(name)?;
        if let Some(capability) = capability {
            stand_in(linker.to_mut(), &engine, name, &instance, capability, &resources)
                .map_err(Refused::Link)?;
        }
        for (_, item) in instance.exports(&engine) {
            if let ComponentItem::Resource(resource) = item.ty {
                resources.push(resource);
            }
        }
    }
    Ok(())
}

/// The capability of an import that is not offered; `None` for one that is.
fn not_offered(name: &str) -> Result<Option<Capability>, Refused> {
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    if interface.starts_with("wasi:") {
        // Linked by `wasmtime-wasi`; what is not there (`wasi:http`) fails by name when the component is linked.
        return Ok(None);
    }
    let missing = NOT_OFFERED.into_iter().find(|(known, _)| *known == interface);
    if missing.is_none() && !OFFERED.contains(&interface) {
        return Err(Refused::Unknown(name.to_owned()));
    }
    if !version.starts_with(TRACK) {
        return Err(Refused::Version(name.to_owned()));
    }
    match missing {
        Some((_, Capability::Plaintext)) => Err(Refused::Plaintext(name.to_owned())),
        other => Ok(other.map(|(_, capability)| capability)),
    }
}

/// A resource of an interface that is not offered. Only constructors make one, and nothing can be done with it.
struct Nothing;

fn stand_in<T: HostView>(
    linker: &mut Linker<T>,
    engine: &Engine,
    name: &str,
    instance: &ComponentInstance,
    capability: Capability,
    seen: &[ResourceType],
) -> wasmtime::Result<()> {
    let mut stand_in = linker.instance(name)?;
    for (item, exported) in instance.exports(engine) {
        match exported.ty {
            // One that the interface uses from another is defined there.
            ComponentItem::Resource(resource) if !seen.contains(&resource) => {
                stand_in.resource(item, ResourceType::host::<Nothing>(), |_, _| Ok(()))?;
            }
            ComponentItem::ComponentFunc(_) => {
                let message = format!(
                    "`{name}` is not offered by this host: the plugin would need the capability `{capability}`"
                );
                stand_in.func_new_async(item, move |store, function, _, results| {
                    let result = function.results().next();
                    Box::new(answer(store, result, capability, message.clone(), results))
                })?;
            }
            _ => {}
        }
    }
    Ok(())
}

async fn answer<T: HostView>(
    mut store: StoreContextMut<'_, T>,
    result: Option<Type>,
    capability: Capability,
    message: String,
    results: &mut [Val],
) -> wasmtime::Result<()> {
    match (result, results) {
        (None, _) => Ok(()),
        (Some(Type::Own(_)), [slot]) => {
            *slot = Val::Resource(ResourceAny::try_from_resource(
                Resource::<Nothing>::new_own(0),
                &mut store,
            )?);
            Ok(())
        }
        (Some(Type::Result(shape)), [slot]) if shape.err().is_some() => {
            let request = Request::Call(capability).words();
            let host = store.data_mut().host();
            let Error::Answer(error) = host.deny_asked("host.not-offered", message, request).await else {
                return Err(wasmtime::Error::msg("a refusal is an answer"));
            };
            let field = |name: &str, value: Val| (name.to_owned(), value);
            let record = Val::Record(vec![
                field("kind", Val::Enum("denied".to_owned())),
                field("effect", Val::Enum("none".to_owned())),
                field("code", Val::String(error.code)),
                field("message", Val::String(error.message)),
                field("retry-after", Val::Option(None)),
            ]);
            *slot = Val::Result(Err(Some(Box::new(record))));
            Ok(())
        }
        _ => Err(wasmtime::Error::msg(message)),
    }
}
