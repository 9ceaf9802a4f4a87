//! `cargo xtask plugins`: every plugin as a packed component, in one folder; and the guest of `tests/hostile`, which no folder
//! of plugins holds.

mod guest;
mod toolchain;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use keywheel_manifest::{Digest, Manifest};
use wit_component::ComponentEncoder;

use crate::process;
use toolchain::{TARGET, Toolchain};

pub(crate) use guest::hostile;

/// Where to.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// The folder for the components; left out: target/plugins.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Build the guest of tests/hostile too, into target/hostile.
    #[arg(long)]
    hostile: bool,
}

/// A plugin of the workspace: a package with a `manifest.toml` beside its `Cargo.toml`.
struct Source {
    folder: PathBuf,
    package: String,
    manifest: Manifest,
}

/// Builds what the options name.
///
/// # Errors
/// As [`run`].
pub(crate) fn chore(root: &Path, options: &Options) -> anyhow::Result<bool> {
    run(root, options)?;
    if options.hostile {
        hostile(root)?;
    }
    Ok(true)
}

/// Gives the folder with the components.
///
/// # Errors
/// No toolchain for guests; a plugin does not build, or its manifest is wrong.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<PathBuf> {
    let out = std::path::absolute(options.out.clone().unwrap_or_else(|| root.join("target/plugins")))?;
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let workspace = root.join("plugins");
    let sources = sources(&workspace)?;
    let toolchain = toolchain::choose()?;
    let stamp = stamp(root, toolchain, &["plugins"])?;
    let stamp_file = out.join(".stamp");
    let files: Vec<_> = sources
        .iter()
        .map(|source| out.join(format!("{}.wasm", source.manifest.name)))
        .collect();
    let is_current = fs::read_to_string(&stamp_file).is_ok_and(|text| text == stamp)
        && files.iter().all(|file| file.is_file());
    if is_current {
        println!("plugins: {} up to date in {}", files.len(), out.display());
        return Ok(out);
    }
    println!("plugins: building {} with {toolchain}", sources.len());
    let packages: Vec<&str> = sources.iter().map(|source| source.package.as_str()).collect();
    let modules = build(root, &workspace, toolchain, &packages)?;
    for ((source, file), module) in sources.iter().zip(&files).zip(&modules) {
        let packed = pack(module, source)?;
        write(file, &packed)?;
        println!(
            "plugins: {} {} ({} KB, {})",
            source.manifest.name,
            source.manifest.version,
            packed.len() / 1024,
            Digest::of(&packed)
        );
    }
    write(&stamp_file, stamp.as_bytes())?;
    println!("plugins: {} built into {}", files.len(), out.display());
    Ok(out)
}

fn sources(workspace: &Path) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(workspace).with_context(|| format!("cannot read {}", workspace.display()))? {
        let folder = entry?.path();
        let file = folder.join("manifest.toml");
        if !file.is_file() {
            continue;
        }
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let in_file = || format!("{} is wrong", file.display());
        let schema_file = folder.join(Manifest::schema_file(&text).with_context(in_file)?);
        let schema = fs::read_to_string(&schema_file)
            .with_context(|| format!("cannot read {}", schema_file.display()))?;
        let manifest = Manifest::from_toml(&text, &schema).with_context(in_file)?;
        let cargo: toml::Table = fs::read_to_string(folder.join("Cargo.toml"))?.parse()?;
        let package = cargo
            .get("package")
            .and_then(|package| package.get("name"))
            .and_then(toml::Value::as_str);
        let package = package
            .with_context(|| format!("{} has no package name", folder.join("Cargo.toml").display()))?
            .to_owned();
        sources.push(Source {
            folder,
            package,
            manifest,
        });
    }
    sources.sort_by(|one, other| one.folder.cmp(&other.folder));
    ensure!(
        !sources.is_empty(),
        "no plugin has a manifest.toml in {}",
        workspace.display()
    );
    Ok(sources)
}

/// Compiles packages of a workspace to core modules; where they are, in order. What both workspaces stand on is built once.
fn build(
    root: &Path,
    workspace: &Path,
    toolchain: Toolchain,
    packages: &[&str],
) -> anyhow::Result<Vec<PathBuf>> {
    let target = root.join("plugins/target").join(toolchain.folder());
    let mut cargo = process::cargo(workspace);
    cargo
        .args(["build", "--release", "--locked", "--target", TARGET])
        .env("CARGO_TARGET_DIR", &target);
    for package in packages {
        cargo.args(["--package", package]);
    }
    toolchain.prepare(&mut cargo);
    process::run(&mut cargo)?;
    let folder = target.join(TARGET).join("release");
    let module = |package: &&str| folder.join(format!("{}.wasm", package.replace('-', "_")));
    Ok(packages.iter().map(module).collect())
}

/// The component that a core module describes.
fn encode(module: &Path, package: &str) -> anyhow::Result<Vec<u8>> {
    let bytes = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let encode = || {
        ComponentEncoder::default()
            .validate(true)
            .module(&bytes)?
            .encode()
    };
    encode().with_context(|| format!("{package} makes no component"))
}

/// The same with the manifest written in.
fn pack(module: &Path, source: &Source) -> anyhow::Result<Vec<u8>> {
    keywheel_manifest::pack(&encode(module, &source.package)?, &source.manifest)
        .with_context(|| format!("{} cannot be packed", source.package))
}

/// Whole or not at all: a test may read the folder meanwhile.
fn write(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if fs::read(file).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let fresh = file.with_extension(format!("{}.new", std::process::id()));
    fs::write(&fresh, bytes)
        .and_then(|()| fs::rename(&fresh, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Changes when a source, the contract, the encoder or the toolchain does.
fn stamp(root: &Path, toolchain: Toolchain, sources: &[&str]) -> anyhow::Result<String> {
    let mut files = Vec::new();
    let shared = ["wit", "host/manifest/src", "host/xtask/src/plugins"];
    for folder in sources.iter().chain(&shared) {
        collect(&root.join(folder), &mut files)?;
    }
    files.push(root.join("host/xtask/src/plugins.rs"));
    files.sort();
    let mut text = format!("{toolchain} {}\n", toolchain.version()?);
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        writeln!(
            text,
            "{} {}",
            Digest::of(&bytes),
            file.strip_prefix(root).unwrap_or(&file).display()
        )?;
    }
    Ok(Digest::of(text.as_bytes()).to_string())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        } else if path.file_name().is_some_and(|name| name != "target") {
            collect(&path, files)?;
        }
    }
    Ok(())
}
