//! Whether every record that is kept still opens.

use keywheel_model::SecretName;
use keywheel_store::SealedKind;

use super::Embedded;
use crate::{Error, RecordFault, Records};

/// Faults that are told one by one: enough to see what happened, and a bound on memory however much is damaged.
const FAULTS_TOLD: usize = 50;

impl Embedded {
    /// Opens every record: the value of each version of each secret, and what runs have in escrow and as secret state. One value at
    /// a time is in memory, and wiped.
    ///
    /// # Errors
    /// [`Error::Sealed`]; what the store refuses. A record that does not open is no error: it is told.
    pub async fn check_records(&self) -> Result<Records, Error> {
        self.keyring()?;
        let mut records = Records::default();
        let store = &self.inner.store;
        let names = store.read(|reader| Ok::<_, Error>(reader.secrets()?)).await?;
        for name in names {
            records.add(self.check_secret(name).await?);
        }
        for kind in [SealedKind::Escrow, SealedKind::State] {
            records.add(self.check_sealed(kind).await?);
        }
        Ok(records)
    }

    async fn check_secret(&self, name: SecretName) -> Result<Records, Error> {
        let vault = self.clone();
        let look = move |reader: &keywheel_store::Reader<'_>| {
            let mut records = Records::default();
            for version in reader.versions(&name)? {
                let opened = vault
                    .read_in(reader, &name, &version.id)
                    .and_then(|_| super::look::metadata(reader, &version));
                records.note(version.stage.as_str(), opened.map(|_| ()))?;
            }
            Ok::<_, Error>(records)
        };
        self.inner.store.read(look).await
    }

    async fn check_sealed(&self, kind: SealedKind) -> Result<Records, Error> {
        let vault = self.clone();
        let look = move |reader: &keywheel_store::Reader<'_>| {
            let mut records = Records::default();
            let kept = reader.sealed_of(None, kind)?.into_iter();
            let kept: Vec<_> = kept.map(|sealed| (sealed.run, sealed.key)).collect();
            for (run, key) in kept {
                let opened = vault.open_sealed(reader, kind, &run, &key);
                records.note("of a run", opened.map(|_| ()))?;
            }
            Ok::<_, Error>(records)
        };
        self.inner.store.read(look).await
    }
}

impl Records {
    /// Counts a record that opens, and tells of one that does not. An error that says nothing of the record stays one.
    fn note(&mut self, what: &'static str, opened: Result<(), Error>) -> Result<(), Error> {
        match opened {
            Ok(()) => self.sound += 1,
            Err(error @ (Error::Damaged { .. } | Error::NewerFormat { .. })) => {
                self.faulty += 1;
                if self.faults.len() < FAULTS_TOLD {
                    self.faults.push(RecordFault { what, error });
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn add(&mut self, other: Self) {
        self.sound += other.sound;
        self.faulty += other.faulty;
        self.faults.extend(other.faults);
        self.faults.truncate(FAULTS_TOLD);
    }
}
