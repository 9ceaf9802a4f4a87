//! Where a secret has left a trace: in output, in files, in logs, in arguments and environments.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use keywheel_kit::Search;

use crate::Host;
use crate::processes::Processes;

/// Something that came out.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Where.
    pub place: String,
    /// What.
    pub bytes: Vec<u8>,
}

impl Trace {
    /// Of a place.
    pub fn new(place: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            place: place.into(),
            bytes: bytes.into(),
        }
    }

    /// Every file under a folder, by its path from there.
    ///
    /// # Panics
    /// When one cannot be read.
    pub fn of_files(folder: &Path) -> Vec<Self> {
        Self::of_files_since(folder, SystemTime::UNIX_EPOCH)
    }

    /// The same without those that nobody has changed since a time.
    ///
    /// # Panics
    /// When one cannot be read.
    pub fn of_files_since(folder: &Path, since: SystemTime) -> Vec<Self> {
        let mut traces = Vec::new();
        collect_files(folder, folder, since, &mut traces);
        traces
    }
}

/// By place, the values that show there and how they are written.
pub fn places<'t>(
    search: &Search,
    traces: impl IntoIterator<Item = &'t Trace>,
) -> BTreeMap<(String, String), BTreeSet<&'static str>> {
    let mut found: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for trace in traces {
        for (value, forms) in search.find(&trace.bytes) {
            let at = (trace.place.clone(), value.to_owned());
            found.entry(at).or_default().extend(forms);
        }
    }
    found
}

impl Host {
    /// Whatever the commands of this host have printed; of a [watched](Host::init_watched) one also what could be seen while they ran.
    pub fn traces(&self) -> Vec<Trace> {
        let mut traces = self
            .printed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        traces.extend(self.processes.iter().flat_map(Processes::traces));
        traces
    }

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
        let mut traces = self.traces();
        traces.extend(further.iter().map(|(name, text)| Trace::new(*name, *text)));
        traces.extend(Trace::of_files_since(&self.folder(), since));
        let search = Search::of(secrets.iter().map(|secret| (secret.as_str(), secret.as_bytes())));
        let found = places(&search, &traces);
        let shown = found
            .into_iter()
            .map(|((place, secret), forms)| format!("{place}: {secret} {forms:?}"));
        shown.collect()
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

fn collect_files(root: &Path, folder: &Path, since: SystemTime, into: &mut Vec<Trace>) {
    // A file's time is that of the kernel's last tick.
    let is_new = |path: &Path| {
        let changed = fs::metadata(path).unwrap().modified().unwrap();
        changed + Duration::from_secs(1) >= since
    };
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_files(root, &path, since, into);
        } else if !path.is_symlink() && is_new(&path) {
            let place = path.strip_prefix(root).unwrap().display().to_string();
            into.push(Trace::new(place, fs::read(&path).unwrap()));
        }
    }
}
