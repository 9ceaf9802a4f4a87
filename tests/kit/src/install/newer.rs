//! MySQL: on the system, or Debian's packages of a newer release unpacked beside it and run with the loader and the libraries of that.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{Installed, Server, cache_folder, debs_in, private, program_in, system_folders};
use crate::account::Account;
use crate::command;

/// The release that has MySQL. It moves on: what comes is looked at.
const SUITE: &str = "sid";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The first with two passwords for an account.
const OLDEST: [u32; 3] = [8, 0, 14];

/// A MySQL of the system, else of the newer release.
pub(super) fn mysql() -> Result<Installed> {
    let on_system = system_folders().into_iter().map(|folder| Installed {
        folder,
        libraries: None,
        loader: None,
    });
    // Debian's MariaDB calls a program by that name, too.
    let real = |installed: &Installed| {
        installed.program("mysqld").is_file() && is_mysql(&version(installed).unwrap_or_default())
    };
    if let Some(installed) = on_system.into_iter().find(real) {
        return Ok(installed);
    }
    let unpacked = unpacked()
        .with_context(|| format!("the release `{SUITE}` of Debian, which has it, could not be unpacked"))?;
    let version = version(&unpacked)?;
    ensure!(
        is_mysql(&version),
        "the release `{SUITE}` of Debian now has `{}`, which is no MySQL of 8.0.14 or newer",
        version.trim()
    );
    Ok(unpacked)
}

fn version(installed: &Installed) -> Result<String> {
    command::run(
        installed
            .command(Account::own(), "mysqld")
            .args(["--no-defaults", "--version"]),
    )
}

/// `mysqld  Ver 9.7.4-2 for debian-linux-gnu …`
fn is_mysql(said: &str) -> bool {
    let Some((_, version)) = said.split_once("Ver ") else {
        return false;
    };
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    let version = [(); 3].map(|()| numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0));
    !said.contains("MariaDB") && version >= OLDEST
}

fn unpacked() -> Result<Installed> {
    let cache = cache_folder()?.join(format!("mysql-{SUITE}"));
    let root = cache.join("root");
    if !root.join("complete").is_file() {
        fs::create_dir_all(&root)?;
        // Other test programs may be at it, too: whoever is done first has made it.
        let lock = fs::File::create(cache.join("lock"))?;
        lock.lock()?;
        if !root.join("complete").is_file() {
            for deb in download(&cache)? {
                command::run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&root))?;
            }
            fs::remove_dir_all(cache.join("archives"))?;
            fs::remove_dir_all(cache.join("lists"))?;
            fs::write(root.join("complete"), "")?;
        }
    }
    let folder = root
        .join("usr/lib")
        .join(format!("{}-linux-gnu", env::consts::ARCH));
    let loader = fs::read_dir(&folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("ld-linux"))
        })
        .context("the unpacked packages have no loader")?;
    let private = root.join("usr/lib/mysql/private");
    let programs = root.join("usr/bin");
    ensure!(
        program_in(&programs, "mysqld").is_file(),
        "the unpacked packages have no `mysqld`"
    );
    Ok(Installed {
        folder: programs,
        libraries: Some(format!("{}:{}", folder.display(), private.display())),
        loader: Some(loader),
    })
}

/// All that the server needs, as if nothing were installed.
fn download(cache: &Path) -> Result<Vec<PathBuf>> {
    ensure!(
        Path::new(KEYRING).is_file(),
        "{KEYRING} is missing: install the package `debian-archive-keyring`"
    );
    let (sources, status) = (cache.join("sources.list"), cache.join("status"));
    let mirror = mirror()?;
    fs::write(
        &sources,
        format!("deb [signed-by={KEYRING}] {mirror} {SUITE} main\n"),
    )?;
    fs::write(&status, "")?;
    let mut options = private(cache)?;
    for (key, value) in [
        ("Dir::Etc::sourcelist", sources.as_path()),
        ("Dir::Etc::sourceparts", Path::new("/dev/null")),
        ("Dir::Etc::preferencesparts", Path::new("/dev/null")),
        ("Dir::State::status", status.as_path()),
    ] {
        options.extend(["-o".to_owned(), format!("{key}={}", value.display())]);
    }
    let apt = |arguments: &[&str]| command::run(Command::new("apt-get").args(&options).args(arguments));
    apt(&["-qq", "update"])?;
    let install = ["-qq", "-y", "--download-only", "install"];
    apt(&[&install, Server::MySql.packages()].concat())?;
    debs_in(cache)
}

/// Where the system has its own packages from.
fn mirror() -> Result<String> {
    for file in ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"] {
        let text = fs::read_to_string(file).unwrap_or_default();
        for line in text.lines() {
            let words = line.split_whitespace();
            let is_source = line.starts_with("URIs:") || line.starts_with("deb ");
            let mut addresses = words.filter(|word| word.starts_with("http"));
            if let Some(address) = addresses.next().filter(|_| is_source) {
                return Ok(address.to_owned());
            }
        }
    }
    bail!("/etc/apt names no mirror of Debian")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mysql_is_told_from_a_mariadb_and_from_one_that_is_too_old() {
        for (said, is) in [
            (
                "/usr/sbin/mysqld  Ver 9.7.4-2 for debian-linux-gnu on x86_64 ((Debian))",
                true,
            ),
            ("mysqld  Ver 8.0.14 for Linux", true),
            ("mysqld  Ver 8.0.13 for Linux", false),
            (
                "mysqld  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu",
                false,
            ),
            ("", false),
        ] {
            assert_eq!(is_mysql(said), is, "{said}");
        }
    }
}
