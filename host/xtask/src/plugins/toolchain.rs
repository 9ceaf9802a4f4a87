//! What compiles guests. In this order: the target of the active toolchain, if it is installed; `rustup target add`, which
//! may be refused or hang where only package registries are reached; Debian's own compiler for the web, which builds the
//! standard library from its sources.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::process;

/// The target of every guest: nothing but what the contract imports.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";

const VARIABLE: &str = "KEYWHEEL_GUEST_TOOLCHAIN";
const RUSTUP_LIMIT: Duration = Duration::from_secs(20);
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", "lld-22"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LINKER: &str = "/usr/lib/llvm-22/bin/wasm-ld";

/// A way to compile guests that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toolchain {
    /// The active toolchain, with the target's standard library.
    Active,
    /// Debian's `rustc-web`; the standard library is built with the guests.
    Debian,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "the active toolchain",
            Self::Debian => "Debian's rustc-web",
        })
    }
}

impl Toolchain {
    /// Of its build, below `plugins/target`: another compiler would rebuild everything in a shared one.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Active => "guest-active",
            Self::Debian => "guest-debian",
        }
    }

    pub(super) fn version(self) -> anyhow::Result<String> {
        let rustc = if self == Self::Debian {
            DEBIAN_RUSTC
        } else {
            "rustc"
        };
        process::output(Command::new(rustc).arg("--version"))
    }

    /// Makes a `cargo build` use it.
    pub(super) fn prepare(self, cargo: &mut Command) {
        cargo
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        if self == Self::Debian {
            cargo
                .arg("-Zbuild-std=std,panic_abort")
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTC", DEBIAN_RUSTC)
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER);
        }
    }
}

/// The first way that works, or the one that the environment names.
pub(super) fn choose() -> anyhow::Result<Toolchain> {
    let wanted = std::env::var(VARIABLE).unwrap_or_default();
    match wanted.as_str() {
        "installed" if is_installed()? => Ok(Toolchain::Active),
        "installed" => {
            bail!("the active toolchain lacks {TARGET}: `rustup target add {TARGET}`, or unset {VARIABLE}")
        }
        "rustup" if add_by_rustup()? => Ok(Toolchain::Active),
        "rustup" => {
            bail!("`rustup target add {TARGET}` did not work: unset {VARIABLE}, or set it to `debian`")
        }
        "" if is_installed()? || add_by_rustup()? => Ok(Toolchain::Active),
        "" | "debian" => debian(),
        other => bail!("{VARIABLE}={other} is unknown: expected `installed`, `rustup` or `debian`"),
    }
}

fn is_installed() -> anyhow::Result<bool> {
    let sysroot = process::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    Ok(Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(TARGET)
        .join("lib")
        .is_dir())
}

fn add_by_rustup() -> anyhow::Result<bool> {
    println!(
        "plugins: installing the target {TARGET} by rustup (at most {} s)",
        RUSTUP_LIMIT.as_secs()
    );
    let mut rustup = Command::new("rustup");
    rustup
        .args(["target", "add", TARGET])
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null());
    // Not there, refused, or too slow: the next way is as good.
    Ok(process::run_within(&mut rustup, RUSTUP_LIMIT).unwrap_or(false) && is_installed()?)
}

fn debian() -> anyhow::Result<Toolchain> {
    let missing: Vec<_> = DEBIAN_PACKAGES
        .into_iter()
        .filter(|package| !has_package(package))
        .collect();
    if !missing.is_empty() {
        let by_hand = format!("apt-get install --no-install-recommends {}", missing.join(" "));
        let user = process::output(Command::new("id").arg("-u")).unwrap_or_default();
        if user.trim() != "0" {
            bail!("guests need {TARGET}: `rustup target add {TARGET}`, or, as root on Debian, `{by_hand}`");
        }
        println!(
            "plugins: installing Debian's {} (about 800 MB)",
            missing.join(", ")
        );
        apt(&["update", "-qq"])?;
        let options = ["install", "-qq", "-y", "--no-install-recommends"];
        apt(&[&options[..], &missing].concat()).with_context(|| format!("try it by hand: `{by_hand}`"))?;
    }
    for file in [DEBIAN_RUSTC, DEBIAN_LINKER] {
        if !Path::new(file).is_file() {
            bail!(
                "{file} is missing although {} are installed",
                DEBIAN_PACKAGES.join(", ")
            );
        }
    }
    Ok(Toolchain::Debian)
}

fn has_package(name: &str) -> bool {
    let status = process::output(
        Command::new("dpkg-query")
            .args(["-W", "-f=${db:Status-Abbrev}", name])
            .stderr(Stdio::null()),
    );
    status.is_ok_and(|status| status.starts_with("ii"))
}

fn apt(arguments: &[&str]) -> anyhow::Result<()> {
    let mut apt = Command::new("apt-get");
    apt.args(["-o", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    process::run(&mut apt)
}
