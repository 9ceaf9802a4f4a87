use async_trait::async_trait;
use keywheel_model::{RunId, SecretBytes, SecretName, VersionId};
use keywheel_store::{Reader, SealedKind, Transaction};

use super::Embedded;
use super::versions::VALUE_LIMIT;
use crate::{
    Author, Capabilities, Change, Error, Escrowed, Head, Origin, Output, Pending, Promotion, Rider,
    SecretValue, Vault,
};

impl Embedded {
    /// A change of the vault and its rider in one transaction.
    async fn change<T: Send + 'static>(
        &self,
        rider: Rider,
        change: impl FnOnce(&Self, &Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let vault = self.clone();
        self.store()
            .write(move |tx| {
                let value = change(&vault, tx)?;
                rider.ride(tx)?;
                Ok(value)
            })
            .await
    }

    /// For the few versions of one secret that matter, and one value.
    async fn look_here<T>(
        &self,
        look: impl FnOnce(&Self, &Reader<'_>) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        self.store().read_here(|reader| look(self, reader)).await
    }

    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Self, &Reader<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let vault = self.clone();
        self.store().read(move |reader| look(&vault, reader)).await
    }
}

#[async_trait]
impl Vault for Embedded {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            compare_and_set: true,
            shares_transaction: true,
            pending_stage: true,
            points_at_old_material: true,
            value_limit: VALUE_LIMIT,
        }
    }

    async fn ready(&self) -> Result<(), Error> {
        if self.is_sealed() {
            Err(Error::Sealed)
        } else {
            Ok(())
        }
    }

    async fn names(&self) -> Result<Vec<SecretName>, Error> {
        self.ready().await?;
        self.look(|_, reader| Ok(reader.secrets()?)).await
    }

    async fn head(&self, name: &SecretName) -> Result<Head, Error> {
        let name = name.clone();
        self.look(move |vault, reader| vault.head_in(reader, &name)).await
    }

    async fn live(&self, name: &SecretName, also: &[VersionId]) -> Result<Head, Error> {
        let (name, also) = (name.clone(), also.to_vec());
        self.look_here(move |vault, reader| vault.live_in(reader, &name, &also))
            .await
    }

    async fn lives(&self, names: &[(SecretName, Vec<VersionId>)]) -> Result<Vec<Result<Head, Error>>, Error> {
        let names = names.to_vec();
        self.look(move |vault, reader| {
            let read = |(name, also): &(SecretName, Vec<VersionId>)| vault.live_in(reader, name, also);
            Ok(names.iter().map(read).collect())
        })
        .await
    }

    async fn history(&self, name: &SecretName) -> Result<Vec<Change>, Error> {
        let name = name.clone();
        self.look(move |vault, reader| vault.history_in(reader, &name))
            .await
    }

    async fn read(&self, name: &SecretName, version: &VersionId) -> Result<SecretBytes, Error> {
        let (name, version) = (name.clone(), version.clone());
        self.look_here(move |vault, reader| vault.read_in(reader, &name, &version))
            .await
    }

    async fn values(
        &self,
        versions: &[(SecretName, VersionId)],
    ) -> Result<Vec<Result<SecretBytes, Error>>, Error> {
        let versions = versions.to_vec();
        self.look(move |vault, reader| {
            let read = |(name, version): &(SecretName, VersionId)| vault.read_in(reader, name, version);
            Ok(versions.iter().map(read).collect())
        })
        .await
    }

    async fn put_pending(&self, by: &Author, pending: Pending, rider: Rider) -> Result<VersionId, Error> {
        let by = by.clone();
        self.change(rider, move |vault, tx| vault.put_pending_in(tx, &by, &pending))
            .await
    }

    async fn put_output(
        &self,
        by: &Author,
        name: &SecretName,
        pending: &VersionId,
        output: Output,
        rider: Rider,
    ) -> Result<VersionId, Error> {
        let (by, name, pending) = (by.clone(), name.clone(), pending.clone());
        self.change(rider, move |vault, tx| {
            vault.put_output_in(tx, &by, &name, &pending, &output)
        })
        .await
    }

    async fn import(&self, by: &Author, mut pending: Pending, rider: Rider) -> Result<VersionId, Error> {
        pending.secret.metadata.labels.origin = Origin::Imported;
        self.put_pending(by, pending, rider).await
    }

    async fn promote(&self, by: &Author, promotion: Promotion, rider: Rider) -> Result<(), Error> {
        let by = by.clone();
        self.change(rider, move |vault, tx| vault.promote_in(tx, &by, &promotion))
            .await
    }

    async fn abandon(
        &self,
        by: &Author,
        name: &SecretName,
        version: &VersionId,
        rider: Rider,
    ) -> Result<(), Error> {
        let (by, name, version) = (by.clone(), name.clone(), version.clone());
        self.change(rider, move |vault, tx| vault.abandon_in(tx, &by, &name, &version))
            .await
    }

    async fn revoke(
        &self,
        by: &Author,
        name: &SecretName,
        version: &VersionId,
        rider: Rider,
    ) -> Result<(), Error> {
        let (by, name, version) = (by.clone(), name.clone(), version.clone());
        self.change(rider, move |vault, tx| vault.revoke_in(tx, &by, &name, &version))
            .await
    }

    async fn roll_back(
        &self,
        by: &Author,
        name: &SecretName,
        to: &VersionId,
        expected_current: Option<&VersionId>,
        also: Vec<Output>,
        rider: Rider,
    ) -> Result<VersionId, Error> {
        let (by, name, to, expected) = (by.clone(), name.clone(), to.clone(), expected_current.cloned());
        self.change(rider, move |vault, tx| {
            vault.roll_back_in(tx, &by, &name, &to, expected.as_ref(), &also)
        })
        .await
    }

    async fn put_back(
        &self,
        by: &Author,
        name: &SecretName,
        to: &VersionId,
        also: Vec<Output>,
        rider: Rider,
    ) -> Result<VersionId, Error> {
        let (by, name, to) = (by.clone(), name.clone(), to.clone());
        self.change(rider, move |vault, tx| {
            vault.put_back_in(tx, &by, &name, &to, &also)
        })
        .await
    }

    async fn annotate(
        &self,
        by: &Author,
        name: &SecretName,
        version: &VersionId,
        key: &str,
        value: &str,
        rider: Rider,
    ) -> Result<(), Error> {
        let (by, name, version) = (by.clone(), name.clone(), version.clone());
        let (key, value) = (key.to_owned(), value.to_owned());
        self.change(rider, move |vault, tx| {
            vault.annotate_in(tx, &by, &name, &version, (&key, &value))
        })
        .await
    }

    async fn put_escrow(
        &self,
        by: &Author,
        key: &str,
        secret: SecretValue,
        rider: Rider,
    ) -> Result<(), Error> {
        let (by, key) = (by.clone(), key.to_owned());
        self.change(rider, move |vault, tx| {
            vault.put_escrow_in(tx, &by, &key, &secret)
        })
        .await
    }

    async fn escrow(&self, run: &RunId, key: &str) -> Result<Option<SecretValue>, Error> {
        let (run, key) = (run.clone(), key.to_owned());
        self.look(move |vault, reader| vault.open_sealed(reader, SealedKind::Escrow, &run, &key))
            .await
    }

    async fn escrows(&self, run: Option<&RunId>) -> Result<Vec<Escrowed>, Error> {
        let run = run.cloned();
        self.look(move |vault, reader| vault.escrows_in(reader, run.as_ref()))
            .await
    }

    async fn remove_escrow(&self, by: &Author, key: &str, rider: Rider) -> Result<(), Error> {
        let (by, key) = (by.clone(), key.to_owned());
        self.change(rider, move |vault, tx| vault.remove_escrow_in(tx, &by, &key))
            .await
    }

    async fn put_state(
        &self,
        by: &Author,
        key: &str,
        secret: SecretValue,
        rider: Rider,
    ) -> Result<(), Error> {
        let (by, key) = (by.clone(), key.to_owned());
        self.change(rider, move |vault, tx| vault.put_state_in(tx, &by, &key, &secret))
            .await
    }

    async fn state(&self, run: &RunId, key: &str) -> Result<Option<SecretValue>, Error> {
        let (run, key) = (run.clone(), key.to_owned());
        self.look(move |vault, reader| vault.open_sealed(reader, SealedKind::State, &run, &key))
            .await
    }

    async fn remove_state(&self, by: &Author, key: &str, rider: Rider) -> Result<(), Error> {
        let (by, key) = (by.clone(), key.to_owned());
        self.change(rider, move |vault, tx| vault.remove_state_in(tx, &by, &key))
            .await
    }
}
