//! `keywheel plugin pack`.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use keywheel_manifest::{Digest, Manifest};
use serde::Serialize;
use wit_component::ComponentEncoder;

use crate::cmd::Context;
use crate::cmd::plugin::folder::FILE_HINT;
use crate::cmd::plugin::{folder, manifest_failure};
use crate::errors::Failure;
use crate::exit_code::ExitCode;

/// Writes a manifest into a component.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The component or core module, as it came from the compiler
    component: PathBuf,
    /// The manifest; the schema that it names lies beside it
    #[arg(default_value = "manifest.toml")]
    manifest: PathBuf,
    /// Write the packed component here instead of over the component
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// What was written: `-o json` of `plugin pack`.
#[derive(Debug, Serialize)]
struct Packed {
    /// The plugin's name.
    name: String,
    /// Its version.
    version: String,
    /// The file that was written.
    file: PathBuf,
    /// `sha256:` and the digest of the file.
    digest: String,
}

/// # Errors
/// The component or the manifest is not valid, or a file cannot be read or written.
pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let manifest = read_manifest(&arguments.manifest)?;
    let packed = pack(&arguments.component, &manifest)?;
    let file = arguments.to.as_ref().unwrap_or(&arguments.component);
    replace(file, &packed).map_err(|error| {
        Failure::because(
            ExitCode::Unexpected,
            "plugin.write",
            format!("cannot write \"{}\"", file.display()),
            &error,
        )
        .hint(FILE_HINT)
    })?;
    let written = Packed {
        name: manifest.name.to_string(),
        version: manifest.version.clone(),
        file: file.clone(),
        digest: Digest::of(&packed).to_string(),
    };
    context.output.data(&written, |_| {
        format!(
            "packed {} {} into \"{}\" ({})\n",
            written.name,
            written.version,
            file.display(),
            written.digest
        )
    })?;
    Ok(ExitCode::Ok)
}

/// What a compiler writes is a component, or a core module that describes one.
fn pack(file: &Path, manifest: &Manifest) -> Result<Vec<u8>, Failure> {
    let bytes = folder::bytes(file)?;
    let packed = match keywheel_manifest::pack(&bytes, manifest) {
        Err(keywheel_manifest::Error::CoreModule) => {
            keywheel_manifest::pack(&component_of(file, &bytes)?, manifest)
        }
        other => other,
    };
    packed.map_err(|error| manifest_failure(format!("cannot pack \"{}\"", file.display()), &error))
}

fn component_of(file: &Path, module: &[u8]) -> Result<Vec<u8>, Failure> {
    let encoder = ComponentEncoder::default().validate(true).module(module);
    let encoded = encoder.and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| {
        let message = format!("\"{}\" is a core module that makes no component", file.display());
        Failure::because(ExitCode::ConfigInvalid, "plugin.core-module", message, &*error)
            .hint("build it with the bindings of `wit/`: plugins/sdk has them for Rust")
    })
}

fn read_manifest(path: &Path) -> Result<Manifest, Failure> {
    let invalid = |error: &keywheel_manifest::Error| {
        manifest_failure(format!("\"{}\" is not valid", path.display()), error)
    };
    let text = read_text(path)?;
    let schema = Manifest::schema_file(&text).map_err(|error| invalid(&error))?;
    let schema = read_text(&path.parent().unwrap_or(Path::new("")).join(schema))?;
    Manifest::from_toml(&text, &schema).map_err(|error| invalid(&error))
}

fn read_text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        let exit = if error.kind() == io::ErrorKind::NotFound {
            ExitCode::NotFound
        } else {
            ExitCode::ConfigInvalid
        };
        Failure::because(
            exit,
            "plugin.file",
            format!("cannot read \"{}\"", path.display()),
            &error,
        )
    })
}

/// Whole or not at all: a new file, then renamed over the old one.
fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = fs::File::create_new(&beside).and_then(|mut new| {
        new.write_all(bytes)?;
        new.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&beside, file));
    if renamed.is_err() {
        // The error that counts is the first one.
        let _ = fs::remove_file(&beside);
    }
    renamed
}
