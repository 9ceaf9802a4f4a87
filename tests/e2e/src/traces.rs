//! Where a secret has left a trace: in output, in files, in logs.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use keywheel_kit::Needles;

use crate::Host;

impl Host {
    /// Where a secret shows, plain or encoded: in anything that was printed, in any file of the host, in further text.
    ///
    /// # Panics
    /// When the host's files cannot be read.
    pub fn leaks(&self, secrets: &[String], further: &[(&str, &str)]) -> Vec<String> {
        self.leaks_since(SystemTime::UNIX_EPOCH, secrets, further)
    }

    /// The same without the files that nobody has changed since a time: where no command knew the secret before it, they cannot have it.
    ///
    /// # Panics
    /// When the host's files cannot be read.
    pub fn leaks_since(
        &self,
        since: SystemTime,
        secrets: &[String],
        further: &[(&str, &str)],
    ) -> Vec<String> {
        let mut places = vec![("output".to_owned(), self.printed.lock().unwrap().clone())];
        places.extend(
            further
                .iter()
                .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())),
        );
        collect_files(&self.folder(), since, &mut places);
        let needles = Needles::new(secrets.iter().flat_map(|secret| encodings(secret)).collect());
        let in_place = |(place, bytes): &(String, Vec<u8>)| {
            let found = needles.found_in(bytes).into_iter();
            let told = found.map(|needle| format!("{place}: {}", String::from_utf8_lossy(needle)));
            told.collect::<Vec<_>>()
        };
        places.iter().flat_map(in_place).collect()
    }

    /// No value of `secrets` shows in anything that the host printed or keeps, nor in `logs`, given by name.
    ///
    /// # Panics
    /// When one does; and when a value that lies there open is not found.
    #[track_caller]
    pub fn left_no_trace(&self, secrets: &[String], logs: &[(&str, &str)]) {
        let control = self.file("state/control");
        fs::write(&control, secrets.last().unwrap()).unwrap();
        assert_eq!(self.leaks(secrets, &[]).len(), 1, "what lies there open is found");
        fs::remove_file(&control).unwrap();
        assert_eq!(self.leaks(secrets, logs), Vec::<String>::new());
    }
}

fn collect_files(folder: &Path, since: SystemTime, into: &mut Vec<(String, Vec<u8>)>) {
    // A file's time is that of the kernel's last tick.
    let is_new = |path: &Path| {
        let changed = fs::metadata(path).unwrap().modified().unwrap();
        changed + Duration::from_secs(1) >= since
    };
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_files(&path, since, into);
        } else if !path.is_symlink() && is_new(&path) {
            into.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
}

/// A value as it may show: plain, as hex, and as base64 at each of the three alignments without what its neighbours change.
fn encodings(secret: &str) -> Vec<Vec<u8>> {
    let hex = |upper: bool| {
        let digits = secret.bytes().map(|byte| {
            if upper {
                format!("{byte:02X}")
            } else {
                format!("{byte:02x}")
            }
        });
        digits.collect::<String>().into_bytes()
    };
    let mut all = vec![secret.as_bytes().to_vec(), hex(false), hex(true)];
    for shift in 0..3_usize {
        let mut padded = vec![0; shift];
        padded.extend_from_slice(secret.as_bytes());
        let whole = padded.len() / 3 * 3;
        let text = BASE64_STANDARD.encode(&padded[..whole]);
        all.push(text[if shift == 0 { 0 } else { 4 }..].as_bytes().to_vec());
    }
    all
}
