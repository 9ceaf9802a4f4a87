//! Plugins: listed, shown, pinned.

use std::sync::Arc;

use keywheel_manifest::Manifest;
use keywheel_model::PluginName;
use keywheel_plugin::{Addition, Listed, Registry, Status};
use keywheel_policy::HostRule;
use serde_json::json;

use crate::Error;
use crate::engine::{Engine, blocking};
use crate::view::PluginView;

impl Engine {
    /// Every file of the plugin folder, and every pinned plugin without one.
    pub fn plugins(&self) -> Vec<PluginView> {
        let registry = self.inner.registry();
        registry
            .listed()
            .iter()
            .map(|listed| {
                let manifest = listed
                    .name
                    .as_ref()
                    .and_then(|name| registry.candidate(name))
                    .map(|plugin| plugin.manifest().clone());
                let mut view = view(listed, manifest.as_deref());
                if let Some(words) = goes_on(&registry, listed) {
                    view.detail = format!("{}; {words}", view.detail);
                }
                view
            })
            .collect()
    }

    /// What pinning the plugin of a name would change, by what lies in the folder now, and its manifest, from which the caller makes the hosts of a first grant:
    /// to be shown before [`Engine::add_plugin`]. What runs meanwhile goes on with what was read before.
    ///
    /// # Errors
    /// [`Error::PluginUnusable`]; the folder itself cannot be trusted or read.
    pub async fn addition(
        &self,
        name: &PluginName,
        hosts: impl FnOnce(&Manifest) -> Vec<HostRule>,
    ) -> Result<(Addition, Arc<Manifest>), Error> {
        let registry = self.scanned().await?;
        let unusable = |source| Error::PluginUnusable {
            name: name.clone(),
            source,
        };
        let manifest = match registry.candidate(name) {
            Some(plugin) => Arc::clone(plugin.manifest()),
            None => {
                return Err(match registry.plugin(name) {
                    Ok(_) => Error::Defect("a live plugin is no candidate"),
                    Err(source) => unusable(source),
                });
            }
        };
        let addition = registry.addition(name, &hosts(&manifest)).map_err(unusable)?;
        Ok((addition, manifest))
    }

    /// Pins a plugin and writes its grant, as shown, if those bytes lie in the folder still.
    ///
    /// # Errors
    /// [`Error::PluginUnusable`], also where the file is another one by now; then nothing has changed.
    pub async fn add_plugin(&self, addition: Addition) -> Result<(), Error> {
        // A sealed host could not seal the row that tells of it.
        self.inner.vault.sub_key("audit")?;
        let registry = self.scanned().await?;
        let details = json!({
            "digest": addition.digest.to_string(),
            "publisher": addition.publisher,
            "before": addition.before.as_ref().map(|pin| pin.sha256.to_string()),
            "asks": addition.difference.to_string(),
        });
        let name = addition.name.clone();
        let added = blocking(move || registry.add(&addition)).await?;
        added.map_err(|source| Error::PluginUnusable {
            name: name.clone(),
            source,
        })?;
        self.inner
            .audit_as("plugin.add", name.as_str(), "ok", details)
            .await?;
        self.rescan().await
    }
}

/// What runs instead of a file that does not.
fn goes_on(registry: &Registry, listed: &Listed) -> Option<&'static str> {
    let name = listed.name.as_ref()?;
    let refused = matches!(listed.status, Status::Refused(_));
    (refused && registry.plugin(name).is_ok())
        .then_some("until then the pinned bytes go on, from the host's copy")
}

/// What a person should know of a plugin whose file is not what runs, before one of its rotations is started.
pub(crate) fn not_the_file(registry: &Registry, name: &PluginName) -> Option<String> {
    let listed = registry
        .listed()
        .iter()
        .find(|listed| listed.name.as_ref() == Some(name))?;
    match &listed.status {
        Status::Refused(error) => {
            let words = goes_on(registry, listed)?;
            let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            Some(format!(
                "{}: {}{hint}; {words}",
                error.code(),
                with_causes(&**error)
            ))
        }
        _ => None,
    }
}

fn view(listed: &Listed, manifest: Option<&Manifest>) -> PluginView {
    let name = listed.name.as_ref().map_or("NAME", PluginName::as_str);
    let (detail, asks) = match &listed.status {
        Status::New(difference) => (
            format!("`keywheel plugin add {name}` shows what it asks for and pins it"),
            difference.to_string(),
        ),
        Status::Pinned => (String::new(), String::new()),
        Status::Held(difference) => (
            format!("a newer version waits for `keywheel plugin add {name}`; the pinned one goes on"),
            difference.to_string(),
        ),
        Status::Missing => (
            "there is no file: put its .wasm back into the plugin folder; runs that started with it finish on the host's copy".to_owned(),
            String::new(),
        ),
        Status::Refused(error) => {
            let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            (
                format!("{}: {}{hint}", error.code(), with_causes(&**error)),
                String::new(),
            )
        }
    };
    PluginView {
        file: listed.path.clone().unwrap_or_default(),
        name: listed.name.clone(),
        version: listed.version.clone(),
        digest: listed.digest.map(|digest| digest.to_string()),
        publisher: listed.publisher.clone(),
        status: listed.status.as_str(),
        detail,
        summary: manifest
            .map(|manifest| manifest.summary.clone())
            .unwrap_or_default(),
        capabilities: manifest
            .map(|manifest| manifest.capabilities.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        shapes: manifest
            .map(|manifest| {
                manifest
                    .shapes()
                    .iter()
                    .map(|shape| {
                        (
                            shape.id().to_owned(),
                            format!("{}, effect {}", shape.kind(), shape.effect()),
                        )
                    })
                    .collect()
            })
            .unwrap_or_default(),
        asks: asks.lines().map(str::to_owned).collect(),
    }
}

/// An error and what led to it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
