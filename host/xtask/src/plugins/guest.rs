//! The guest of `tests/hostile`: one component without a manifest, which its tests pack under one manifest after the other.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{build, encode, stamp, toolchain, write};

const PACKAGE: &str = "keywheel-hostile-guest";

/// Gives the file with the component.
///
/// # Errors
/// No toolchain for guests; it does not build.
pub(crate) fn hostile(root: &Path) -> anyhow::Result<PathBuf> {
    let folder = root.join("target/hostile");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (file, stamp_file) = (folder.join("guest.wasm"), folder.join(".stamp"));
    let toolchain = toolchain::choose()?;
    let stamp = stamp(root, toolchain, &["tests/hostile/guests", "plugins/sdk"])?;
    if file.is_file() && fs::read_to_string(&stamp_file).is_ok_and(|text| text == stamp) {
        println!("plugins: the hostile guest is up to date in {}", folder.display());
        return Ok(file);
    }
    println!("plugins: building the hostile guest with {toolchain}");
    let modules = build(root, &root.join("tests/hostile/guests"), toolchain, &[PACKAGE])?;
    let module = modules.first().context("cargo built nothing")?;
    write(&file, &encode(module, PACKAGE)?)?;
    write(&stamp_file, stamp.as_bytes())?;
    Ok(file)
}
