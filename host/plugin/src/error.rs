use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keywheel_manifest::Digest;
use keywheel_model::PluginName;

/// A path in one line: a file may have any name.
pub fn shown(path: &Path) -> String {
    path.to_string_lossy()
        .chars()
        .map(|character| match character {
            control if control.is_control() => control.escape_unicode().to_string(),
            other => other.to_string(),
        })
        .collect()
}

/// Why a plugin cannot be loaded, pinned or run. One bad file never keeps another plugin from running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file or folder cannot be read.
    #[error("{} cannot be read", shown(path))]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The plugin folder is not there.
    #[error("there is no folder {}", shown(path))]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A file of the host's own (cache, kept copy, lock, grant) cannot be written.
    #[error("{} cannot be written", shown(path))]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A symbolic link: what it leads to may change after it was looked at.
    #[error("{} is a symbolic link", shown(path))]
    Symlink {
        /// The link.
        path: PathBuf,
    },
    /// A folder, a pipe, a device.
    #[error("{} is not a regular file", shown(path))]
    NotAFile {
        /// What it is called.
        path: PathBuf,
    },
    /// Compiled code is never taken from the plugin folder: loading it is running it.
    #[error("{} is compiled code, which is never loaded", shown(path))]
    Precompiled {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else's file or folder.
    #[error("{} belongs to user {uid}", shown(path))]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// Others could change the file, or put another in its place.
    #[error("{} can be written by others (mode {mode:04o})", shown(path))]
    Writable {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Over the limit.
    #[error("{} is larger than {limit_bytes} bytes", shown(path))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit_bytes: u64,
    },
    /// Not a component, or its manifest is missing, double, wrong or newer than this host.
    #[error("{} is not a plugin", shown(path))]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: keywheel_manifest::Error,
    },
    /// The component is not valid, or does something that this host does not support.
    #[error("{} cannot be compiled", shown(path))]
    Compile {
        /// The file.
        path: PathBuf,
        /// The compiler's reason.
        #[source]
        source: wasmtime::Error,
    },
    /// Compiling took too long; the compiler is left to finish alone.
    #[error("{} was not compiled within {} s", shown(path), limit.as_secs())]
    CompileTimeout {
        /// The file.
        path: PathBuf,
        /// The time it had.
        limit: Duration,
    },
    /// The component wants another world than this host offers.
    #[error("{} asks for what this host does not offer", shown(path))]
    World {
        /// The file.
        path: PathBuf,
        /// What it asks for.
        #[source]
        source: keywheel_capability::refuse::Refused,
    },
    /// An interface that the host offers, in a form that it does not.
    #[error("{} was built for another form of the contract", shown(path))]
    Contract {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        #[source]
        source: wasmtime::Error,
    },
    /// The component lacks an interface that the host calls.
    #[error("{} does not export {export}", shown(path))]
    Export {
        /// The file.
        path: PathBuf,
        /// The interface.
        export: &'static str,
    },
    /// It imports or declares what its grant does not have.
    #[error("{} asks for more than was granted: {what}", shown(path))]
    MoreThanGranted {
        /// The plugin.
        name: PluginName,
        /// The file.
        path: PathBuf,
        /// What.
        what: String,
    },
    /// Not the bytes that were pinned, under the same version.
    #[error("{} is version {version} as pinned, but with other bytes", shown(path))]
    Digest {
        /// The plugin.
        name: PluginName,
        /// The file.
        path: PathBuf,
        /// The version of both.
        version: String,
        /// What `plugins.lock` has.
        pinned: Digest,
    },
    /// An older version than the pinned one.
    #[error("{} is version {found}, older than the pinned {pinned}", shown(path))]
    Downgrade {
        /// The file.
        path: PathBuf,
        /// The file's version.
        found: String,
        /// The pinned version.
        pinned: String,
    },
    /// A signature is missing.
    #[error("{} is not signed: {why}", shown(path))]
    Unsigned {
        /// The component.
        path: PathBuf,
        /// Why it has to be.
        why: &'static str,
    },
    /// A signature that counts for nothing.
    #[error("{} does not sign its component: {why}", shown(path))]
    Signature {
        /// The signature's file.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// The manifest's version is not of the form 1.2.3, so it cannot be ordered.
    #[error("{} has version {version:?}, which is not of the form 1.2.3", shown(path))]
    Version {
        /// The file.
        path: PathBuf,
        /// At most the first 64 characters.
        version: String,
    },
    /// Two files say that they are the same plugin.
    #[error("{} and {} are both plugin {name}", shown(path), shown(other))]
    Duplicate {
        /// The file.
        path: PathBuf,
        /// The other file.
        other: PathBuf,
        /// The plugin.
        name: PluginName,
    },
    /// The lock file or the grant is wrong.
    #[error("{} cannot be used", shown(path))]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: keywheel_policy::Error,
    },
    /// No plugin of that name in the folder.
    #[error("there is no plugin {name}")]
    Unknown {
        /// The name asked for.
        name: PluginName,
    },
    /// It is in the folder, and nobody has pinned it.
    #[error("plugin {name} is not pinned")]
    NotPinned {
        /// The plugin.
        name: PluginName,
    },
    /// The bytes of a pinned digest are neither in the folder nor in the host's own copies.
    #[error("the bytes of {digest} are gone")]
    Gone {
        /// The digest.
        digest: Digest,
    },
    /// Other bytes lie in the folder than those that somebody was shown.
    #[error("the file of plugin {name} is another one than was shown")]
    Changed {
        /// The plugin.
        name: PluginName,
    },
    /// The engine could not be set up.
    #[error("the WebAssembly engine cannot be started")]
    Engine(#[source] wasmtime::Error),
    /// A thread could not be started.
    #[error("a worker thread cannot be started")]
    Thread(#[source] io::Error),
}

impl Error {
    /// Stable, dotted, lower case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "plugin.read",
            Self::NoFolder { .. } => "plugin.no-folder",
            Self::Write { .. } => "plugin.write",
            Self::Symlink { .. } => "plugin.symlink",
            Self::NotAFile { .. } => "plugin.not-a-file",
            Self::Precompiled { .. } => "plugin.precompiled",
            Self::Owner { .. } => "plugin.owner",
            Self::Writable { .. } => "plugin.writable",
            Self::TooLarge { .. } => "plugin.too-large",
            Self::Manifest { source, .. } => source.code(),
            Self::Compile { .. } => "plugin.compile",
            Self::CompileTimeout { .. } => "plugin.compile-timeout",
            Self::World { source, .. } => source.code(),
            Self::Contract { .. } => "plugin.contract",
            Self::Export { .. } => "plugin.export",
            Self::MoreThanGranted { .. } => "plugin.more-than-granted",
            Self::Digest { .. } => "plugin.digest",
            Self::Downgrade { .. } => "plugin.downgrade",
            Self::Unsigned { .. } => "plugin.unsigned",
            Self::Signature { .. } => "plugin.signature",
            Self::Version { .. } => "plugin.version",
            Self::Duplicate { .. } => "plugin.duplicate",
            Self::Policy { source, .. } => source.code(),
            Self::Unknown { .. } => "plugin.unknown",
            Self::NotPinned { .. } => "plugin.not-pinned",
            Self::Gone { .. } => "plugin.gone",
            Self::Changed { .. } => "plugin.changed",
            Self::Engine(_) => "plugin.engine",
            Self::Thread(_) => "plugin.thread",
        }
    }

    /// The way out.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } | Self::Write { .. } => "look at its owner and mode, and at the disk".into(),
            Self::NoFolder { path } => format!("put it back, or make an empty one: mkdir -m 755 {}; or correct `dir` in `[plugins]`", shown(path)),
            Self::Symlink { .. } => "copy the file itself into the plugin folder".into(),
            Self::NotAFile { .. } => "only `.wasm` files belong into the plugin folder".into(),
            Self::Precompiled { .. } => "remove it and put the `.wasm` component there".into(),
            Self::Owner { path, .. } => format!(
                "`chown` {} to the host's user or to root. Where all of the host belongs to that user, it is that user's host: start its service, or go by `runuser -u USER -- keywheel …`",
                shown(path)
            ),
            Self::Writable { path, .. } => format!("chmod go-w {}", shown(path)),
            Self::TooLarge { .. } => "build it in release mode and strip it".into(),
            Self::Manifest { source, .. } => return source.hint(),
            Self::Policy { source, .. } => return source.hint(),
            Self::Compile { .. } => "build it again; `keywheel plugin verify` shows the reason".into(),
            Self::CompileTimeout { .. } => "build it smaller, or allow more time".into(),
            Self::World { source, .. } => return source.hint(),
            Self::Contract { .. } => "build it against the `wit/` of this host, or upgrade the host".into(),
            Self::Export { export, .. } => format!("export {export}: the world `keywheel:plugin/rotator-plugin` has it"),
            Self::MoreThanGranted { name, .. } => {
                format!("look at what it asks for, then grant it with `keywheel plugin add {name}`")
            }
            Self::Digest { name, .. } => format!(
                "a version's bytes never change: put the pinned file back, or look at the new one and pin it with `keywheel plugin add {name}`"
            ),
            Self::Downgrade { .. } => "put a newer version there; to go back on purpose remove the plugin's entry from plugins.lock first".into(),
            Self::Unsigned { path, .. } => format!(
                "put the publisher's signature of exactly this file beside it, as {}.minisig; its key stands in `publishers` of `[plugins]`",
                shown(path)
            ),
            Self::Signature { .. } => "get file and signature anew from the publisher; if its key is another one now, list that in `publishers` of `[plugins]`, once you know it from the publisher".into(),
            Self::Version { .. } => "give it a version such as 1.2.3 in manifest.toml".into(),
            Self::Duplicate { .. } => "remove one of the two files".into(),
            Self::Unknown { .. } => "`keywheel plugin list` shows what is in the plugin folder".into(),
            Self::NotPinned { name } => format!("look at what it asks for and pin it with `keywheel plugin add {name}`"),
            Self::Gone { .. } => "put the file with that digest back into the plugin folder".into(),
            Self::Changed { name } => format!("look at what is there now: `keywheel plugin add {name}`"),
            Self::Engine(_) | Self::Thread(_) => return None,
        })
    }

    /// The file or folder that it is about.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Read { path, .. }
            | Self::NoFolder { path }
            | Self::Write { path, .. }
            | Self::Symlink { path }
            | Self::NotAFile { path }
            | Self::Precompiled { path }
            | Self::Owner { path, .. }
            | Self::Writable { path, .. }
            | Self::TooLarge { path, .. }
            | Self::Manifest { path, .. }
            | Self::Compile { path, .. }
            | Self::CompileTimeout { path, .. }
            | Self::World { path, .. }
            | Self::Contract { path, .. }
            | Self::Export { path, .. }
            | Self::MoreThanGranted { path, .. }
            | Self::Digest { path, .. }
            | Self::Downgrade { path, .. }
            | Self::Unsigned { path, .. }
            | Self::Signature { path, .. }
            | Self::Version { path, .. }
            | Self::Duplicate { path, .. }
            | Self::Policy { path, .. } => Some(path),
            Self::Unknown { .. }
            | Self::NotPinned { .. }
            | Self::Gone { .. }
            | Self::Changed { .. }
            | Self::Engine(_)
            | Self::Thread(_) => None,
        }
    }
}
