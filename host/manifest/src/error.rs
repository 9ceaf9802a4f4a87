use crate::reader::Problem;

/// Why a manifest cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The manifest has problems; all of them.
    #[error("the manifest has {} problem(s):{}", .0.len(), list(.0))]
    Invalid(Vec<Problem>),
    /// Written for a later host.
    #[error("the manifest has format {found}, this host reads up to {newest}")]
    Newer {
        /// What the manifest says.
        found: i64,
        /// [`crate::FORMAT`].
        newest: i64,
    },
    /// The custom section holds no JSON.
    #[error("the section `keywheel:manifest` holds no JSON")]
    NotJson(#[source] serde_json::Error),
    /// The section's bytes are not the canonical form of what they say.
    #[error("the section `keywheel:manifest` is not canonical JSON")]
    NotCanonical,
    /// Not WebAssembly at all.
    #[error("the file is not a WebAssembly component")]
    NotWasm,
    /// A core module.
    #[error("the file is a core module, not a component")]
    CoreModule,
    /// Broken before its end.
    #[error("the component is damaged at byte {at}")]
    Damaged {
        /// Offset in the file.
        at: u64,
        /// What the parser says.
        #[source]
        source: wasmparser::BinaryReaderError,
    },
    /// No section.
    #[error("the component has no manifest")]
    NoManifest,
    /// More than one section.
    #[error("the component has more than one manifest")]
    TwoManifests,
    /// `pack` on a component that has one.
    #[error("the component already has a manifest")]
    AlreadyPacked,
    /// Over a limit.
    #[error("the {what} has {found} bytes, at most {limit} are read")]
    TooLarge {
        /// `component` or `manifest`.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The limit.
        limit: usize,
    },
}

fn list(problems: &[Problem]) -> String {
    problems.iter().fold(String::new(), |list, problem| {
        list + "\n  " + &problem.to_string()
    })
}

impl Error {
    /// Stable, dotted, lower case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "manifest.invalid",
            Self::Newer { .. } => "manifest.newer-format",
            Self::NotJson(_) => "manifest.not-json",
            Self::NotCanonical => "manifest.not-canonical",
            Self::NotWasm => "manifest.not-wasm",
            Self::CoreModule => "manifest.core-module",
            Self::Damaged { .. } => "manifest.damaged-component",
            Self::NoManifest => "manifest.none",
            Self::TwoManifests => "manifest.two",
            Self::AlreadyPacked => "manifest.already-packed",
            Self::TooLarge { .. } => "manifest.too-large",
        }
    }

    /// The way out.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Invalid(_) => "correct each line and pack the plugin again",
            Self::Newer { .. } => {
                "upgrade the host, or take a version of the plugin that was packed for this one"
            }
            Self::NotJson(_) | Self::NotCanonical => {
                "the section was not written by `keywheel plugin pack`: build the plugin again and pack it"
            }
            Self::NotWasm => "expected a `.wasm` component; compiled `.cwasm` files are never loaded",
            Self::CoreModule => "`keywheel plugin pack` makes a component of it",
            Self::Damaged { .. } => "copy or build the file again",
            Self::NoManifest => "write it in with `keywheel plugin pack FILE manifest.toml`",
            Self::TwoManifests => "build the plugin again and pack it once",
            Self::AlreadyPacked => "pack the file as it came from the compiler",
            Self::TooLarge { .. } => "build it in release mode and without debug information",
        };
        Some(hint.to_owned())
    }
}
