//! Files. No world of Keywheel has any; the plugins of an interpreted language import those of WASI all the same, and so does this one.

use keywheel_sdk::error::error;
use keywheel_sdk::{Error, ErrorKind};

use super::Attack;
use crate::{Config, worked};

/// As much of it as it takes to write a name.
#[allow(clippy::same_length_and_capacity, reason = "generated")]
mod wasi {
    wit_bindgen::generate!({
        inline: r#"
        package keywheel:hostile;

        world files {
            import wasi:filesystem/preopens@0.2.0;
        }

        package wasi:filesystem@0.2.0 {
            interface types {
                enum error-code {
                    access, would-block, already, bad-descriptor, busy, deadlock, quota, exist,
                    file-too-large, illegal-byte-sequence, in-progress, interrupted, invalid,
                    io, is-directory, loop, too-many-links, message-size, name-too-long,
                    no-device, no-entry, no-lock, insufficient-memory, insufficient-space,
                    not-directory, not-empty, not-recoverable, unsupported, no-tty,
                    no-such-device, overflow, not-permitted, pipe, read-only, invalid-seek,
                    text-file-busy, cross-device,
                }
                resource descriptor {
                    create-directory-at: func(path: string) -> result<_, error-code>;
                }
            }

            interface preopens {
                use types.{descriptor};
                get-directories: func() -> list<tuple<descriptor, string>>;
            }
        }
        "#,
        generate_all,
    });
}

pub(super) const ALL: &[(&str, Attack)] = &[("tell-a-file-name", |_, config| tell_a_file_name(config))];

/// A folder whose name is the secret, in each folder that it was given.
fn tell_a_file_name(config: &Config) -> Result<(), Error> {
    let folders = wasi::wasi::filesystem::preopens::get_directories();
    if folders.is_empty() {
        return Err(error(ErrorKind::Invalid, "attack.no-folder", "it was given no folder"));
    }
    for (folder, _) in &folders {
        if folder.create_directory_at(&super::outlets::plain(config)).is_ok() {
            return Err(worked("it has written a name into a folder"));
        }
    }
    Err(worked("it was given a folder"))
}
