use async_trait::async_trait;
use keywheel_model::{RunId, SecretBytes, SecretName, VersionId};

use crate::{
    Author, Capabilities, Change, Error, Escrowed, Head, Output, Pending, Promotion, Rider, SecretValue,
};

/// A place that keeps secrets' values in versions with stages.
///
/// The trait asks for no more than the weakest real vault can give: one without compare-and-set, without a pending stage,
/// whose writes are not idempotent and where current means newest. What such a vault lacks, its back end makes up for with
/// the store, to whose leases, journal and rows every mutating call has access through [`Rider`] and [`Author`].
///
/// **Unreadable is never none (rule P16).** [`Vault::head`] of a sealed, unreachable or damaged vault is an error. An empty
/// head says for certain that nothing was ever stored under the name.
///
/// **Fence.** Each mutating call checks its author's fence inside the transaction that guards it and ends with
/// [`keywheel_store::Error::Stale`] when it is not the live one. Nothing here deletes a version.
///
/// **Repeating.** Each mutating call may be repeated after a crash and then finds its change done.
///
/// # How Azure Key Vault fits
/// Its facts: a write makes a new version that is at once what everybody reads; there is no condition on a write; two equal
/// writes make two versions; a version cannot be deleted, a disabled one cannot be read.
///
/// - `head`: the store's rows (with compare-and-set) joined with the live name's versions, whose tags carry our version id,
///   run and fence. A live version without our tag, or newer than the one that our rows call current, was written by hand:
///   `HeadMoved` for every mutating call until somebody decides (rule P3).
/// - `put_pending`: in one transaction of the store the embedded row (encrypted, compare-and-set) is added; then the sibling
///   `<name>--pending-<run>` is set, with tags, and read back; then the rider rides (rule P4). A repetition finds the row,
///   compares the value, reads the sibling, and writes only what is missing: so writes become idempotent.
/// - `promote`: the live head is read and compared with `expected_current`; the value is set on the live name with the tags
///   of the version; the unversioned name is read back and must be the version just written, else `HeadMoved`; then the rows'
///   stages change and the rider rides, in one transaction. A repetition looks for a live version with our tag first. A late
///   write of an older run shows as a head that is not ours (the drift check writes the right one again).
/// - `abandon`, `revoke`: stages in the rows; for `revoke` the old live version is disabled (never the newest), and the
///   sibling is disabled. Nothing is ever deleted: a deleted name cannot be written for days.
/// - `roll_back`, `put_back`: the old version's value is read inside the back end and set as a new one; tags say of which. The trait
///   takes only ids, so that whoever calls needs no read access.
/// - escrow and secret state stay in the embedded store: they never belong to a live name.
///
/// # How KV version 2 of Vault and OpenBao fits
/// `cas` is the number of the version that was current; stages, run, fence and our version id are custom metadata. Pending
/// lies under a sibling path as above, since a new version is what everybody reads. `cas` makes `promote` refuse a head that
/// moved between the look and the write; the rest is alike. `destroy` and `delete` are not used.
#[async_trait]
pub trait Vault: Send + Sync {
    /// What the back end can do by itself.
    fn capabilities(&self) -> Capabilities;

    /// Whether it can be used now.
    ///
    /// # Errors
    /// [`Error::Sealed`], [`Error::Unreachable`].
    async fn ready(&self) -> Result<(), Error>;

    /// All names, sorted.
    ///
    /// # Errors
    /// [`Error::Sealed`], [`Error::Unreachable`].
    async fn names(&self) -> Result<Vec<SecretName>, Error>;

    /// All versions of a name with their stages, without values.
    ///
    /// # Errors
    /// [`Error::Sealed`], [`Error::Unreachable`], [`Error::Damaged`]; never an empty head in their stead.
    async fn head(&self, name: &SecretName) -> Result<Head, Error>;

    /// Of these the ones that somebody may still need: those that are not revoked, those with the value of one of these or of one of `also`, which are
    /// among them, and the newest, whatever it is. However many versions a name has had, this is few, and no others are read.
    ///
    /// # Errors
    /// As [`Vault::head`].
    async fn live(&self, name: &SecretName, also: &[VersionId]) -> Result<Head, Error>;

    /// [`Vault::live`] of each of these names, in their order: where the vault can, in one look.
    ///
    /// # Errors
    /// That there was no look at all; what one of them met stands in its place.
    async fn lives(&self, names: &[(SecretName, Vec<VersionId>)]) -> Result<Vec<Result<Head, Error>>, Error> {
        let mut heads = Vec::with_capacity(names.len());
        for (name, also) in names {
            heads.push(self.live(name, also).await);
        }
        Ok(heads)
    }

    /// How the stages of a name's versions changed, oldest first.
    ///
    /// # Errors
    /// As [`Vault::head`].
    async fn history(&self, name: &SecretName) -> Result<Vec<Change>, Error>;

    /// The value of a version, whatever its stage.
    ///
    /// # Errors
    /// [`Error::NoVersion`]; [`Error::Damaged`] naming it; as [`Vault::head`].
    async fn read(&self, name: &SecretName, version: &VersionId) -> Result<SecretBytes, Error>;

    /// [`Vault::read`] of each of these versions, in their order: where the vault can, in one look.
    ///
    /// # Errors
    /// As [`Vault::lives`].
    async fn values(
        &self,
        versions: &[(SecretName, VersionId)],
    ) -> Result<Vec<Result<SecretBytes, Error>>, Error> {
        let mut values = Vec::with_capacity(versions.len());
        for (name, version) in versions {
            values.push(self.read(name, version).await);
        }
        Ok(values)
    }

    /// Stores a pending version and its outputs; durable when this returns. Repeated by the same run with the same value it
    /// gives the same version.
    ///
    /// # Errors
    /// [`Error::PendingExists`] when another value or another run's version is pending; [`Error::TooLarge`]; a stale fence.
    async fn put_pending(&self, by: &Author, pending: Pending, rider: Rider) -> Result<VersionId, Error>;

    /// Adds a further name to a pending version of the same run; promoted with it. Repeated alike it changes nothing.
    ///
    /// # Errors
    /// [`Error::PendingExists`] when another value is pending under that name; [`Error::Stage`]; a stale fence.
    async fn put_output(
        &self,
        by: &Author,
        name: &SecretName,
        pending: &VersionId,
        output: Output,
        rider: Rider,
    ) -> Result<VersionId, Error>;

    /// Stores an existing credential as pending: it is adopted when it was proved (rule P15).
    ///
    /// # Errors
    /// As [`Vault::put_pending`].
    async fn import(&self, by: &Author, pending: Pending, rider: Rider) -> Result<VersionId, Error>;

    /// Pending becomes current, current becomes previous; outputs with it. Whoever holds the secret may promote what another run has left pending: an
    /// import, or a version that the target may have been given when its run was given up.
    ///
    /// # Errors
    /// [`Error::HeadMoved`], [`Error::Stage`]; a stale fence.
    async fn promote(&self, by: &Author, promotion: Promotion, rider: Rider) -> Result<(), Error>;

    /// A pending version is given up but kept: it may still land on the target (rule P1). Outputs with it.
    ///
    /// # Errors
    /// [`Error::Stage`] for one that is not pending; a stale fence.
    async fn abandon(
        &self,
        by: &Author,
        name: &SecretName,
        version: &VersionId,
        rider: Rider,
    ) -> Result<(), Error>;

    /// The target refuses a previous or abandoned version, proved: noted, and kept for a horizon (rule P10). Outputs with it.
    ///
    /// # Errors
    /// [`Error::Stage`] for a current or pending one; a stale fence.
    async fn revoke(
        &self,
        by: &Author,
        name: &SecretName,
        version: &VersionId,
        rider: Rider,
    ) -> Result<(), Error>;

    /// A new version with the value of an old one becomes current, and so do its outputs; `also` is for further names that the old one did not have.
    /// History is not rewritten. Returns the new version; repeated by the same run it gives the same one.
    ///
    /// # Errors
    /// [`Error::HeadMoved`], [`Error::NoVersion`]; [`Error::Stage`] for a pending one, or while one is pending; a stale fence.
    async fn roll_back(
        &self,
        by: &Author,
        name: &SecretName,
        to: &VersionId,
        expected_current: Option<&VersionId>,
        also: Vec<Output>,
        rider: Rider,
    ) -> Result<VersionId, Error>;

    /// The same, but pending: for a run that has the target accept it before it promotes it.
    ///
    /// # Errors
    /// [`Error::NoVersion`]; [`Error::Stage`] for a pending one, or while another one is pending; a stale fence.
    async fn put_back(
        &self,
        by: &Author,
        name: &SecretName,
        to: &VersionId,
        also: Vec<Output>,
        rider: Rider,
    ) -> Result<VersionId, Error>;

    /// Sets an annotation of a version.
    ///
    /// # Errors
    /// [`Error::NoVersion`]; a stale fence.
    async fn annotate(
        &self,
        by: &Author,
        name: &SecretName,
        version: &VersionId,
        key: &str,
        value: &str,
        rider: Rider,
    ) -> Result<(), Error>;

    /// Puts a captured secret in the run's escrow; durable when this returns. Under a used key: the same value changes
    /// nothing, another one replaces it.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; a stale fence.
    async fn put_escrow(
        &self,
        by: &Author,
        key: &str,
        secret: SecretValue,
        rider: Rider,
    ) -> Result<(), Error>;

    /// A value from a run's escrow.
    ///
    /// # Errors
    /// As [`Vault::head`].
    async fn escrow(&self, run: &RunId, key: &str) -> Result<Option<SecretValue>, Error>;

    /// What lies in escrow, of one run or of all.
    ///
    /// # Errors
    /// As [`Vault::head`].
    async fn escrows(&self, run: Option<&RunId>) -> Result<Vec<Escrowed>, Error>;

    /// Removes a value from a run's escrow, when it is stored as a version or revoked. Not there: no error.
    ///
    /// # Errors
    /// A stale fence.
    async fn remove_escrow(&self, by: &Author, key: &str, rider: Rider) -> Result<(), Error>;

    /// Sets a run's secret state.
    ///
    /// # Errors
    /// As [`Vault::put_escrow`].
    async fn put_state(&self, by: &Author, key: &str, secret: SecretValue, rider: Rider)
    -> Result<(), Error>;

    /// A run's secret state.
    ///
    /// # Errors
    /// As [`Vault::head`].
    async fn state(&self, run: &RunId, key: &str) -> Result<Option<SecretValue>, Error>;

    /// Removes a run's secret state. Not there: no error.
    ///
    /// # Errors
    /// A stale fence.
    async fn remove_state(&self, by: &Author, key: &str, rider: Rider) -> Result<(), Error>;
}
