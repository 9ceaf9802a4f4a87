//! A small file system of its own: a disk that can be full (`ENOSPC`).

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::command::run;

/// The whole of it.
const MEBIBYTES: u32 = 64;

/// A tmpfs over a folder, which has what the folder had. When dropped what is in it then lies in the folder itself.
///
/// Mounting takes root, or a user and mount namespace in which the process may (`cargo xtask crash` begins one).
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts it over a folder that nobody has open.
    ///
    /// # Errors
    /// This process may not mount; the folder cannot be copied.
    pub fn mount_over(folder: &Path) -> Result<Self> {
        let kept = kept_beside(folder);
        fs::rename(folder, &kept).with_context(|| format!("cannot move {}", folder.display()))?;
        match mounted(folder) {
            Ok(disk) => {
                copy(&kept, folder)?;
                fs::remove_dir_all(&kept)?;
                Ok(disk)
            }
            Err(error) => {
                fs::remove_dir(folder)?;
                fs::rename(&kept, folder)?;
                Err(error)
            }
        }
    }

    /// Whether this process may mount one.
    ///
    /// # Errors
    /// It may not: why.
    pub fn probe() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let disk = folder.path().join("disk");
        fs::create_dir(&disk)?;
        Self::mount_over(&disk).map(drop)
    }

    /// Leaves room for so many bytes.
    ///
    /// # Errors
    /// The file that takes up the rest cannot be written.
    pub fn leave(&self, bytes: u64) -> Result<()> {
        let mut ballast = File::create(self.ballast())?;
        let chunk = vec![0; 1 << 16];
        while ballast.write_all(&chunk).is_ok() {}
        let length = ballast.metadata()?.len();
        ensure!(length > bytes, "the disk has no more than {length} bytes of room");
        ballast.set_len(length - bytes)?;
        Ok(())
    }

    /// Gives all room back.
    ///
    /// # Errors
    /// There is nothing that takes it up.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.ballast()).context("nothing fills the disk")
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.free();
        let kept = kept_beside(&self.folder);
        let moved = fs::create_dir(&kept)
            .map_err(Into::into)
            .and_then(|()| copy(&self.folder, &kept));
        let unmounted = Command::new("umount").arg(&self.folder).output();
        if moved.is_ok() && unmounted.is_ok_and(|output| output.status.success()) {
            // What a test then misses it tells by itself.
            let _ = fs::remove_dir(&self.folder).and_then(|()| fs::rename(&kept, &self.folder));
        }
    }
}

fn mounted(folder: &Path) -> Result<SmallDisk> {
    fs::create_dir(folder)?;
    let options = format!("size={MEBIBYTES}m,mode=0700");
    run(Command::new("mount")
        .args(["-t", "tmpfs", "-o", &options, "keywheel-test"])
        .arg(folder))?;
    Ok(SmallDisk {
        folder: folder.to_owned(),
    })
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").arg("-a").arg(from.join(".")).arg(to)).map(drop)
}

fn kept_beside(folder: &Path) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(".kept");
    name.into()
}
