//! The vault beside a plain map of what it should hold, over random histories with new keys, restarts, seals and keys that do not fit.

#![allow(clippy::expect_used, reason = "a test may stop")]

mod model;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keywheel_model::{Clock, RunId, SecretBytes, SecretName, Stage, Timestamp, VersionId};
use keywheel_properties::budget;
use keywheel_store::{LeaseKey, LeaseRequest, Options, Store};
use keywheel_vault::{
    Author, Embedded, Error, Metadata, NewSlot, Origin, Pending, Promotion, RecoveryIdentity, Rider,
    SecretValue, Unlock, Vault,
};
use model::{At, Believed, Key, Model, Move, NAMES};
use proptest_state_machine::{StateMachineTest, prop_state_machine};
use tokio::runtime::Runtime;

/// Each look at it is a millisecond later: no two versions are made at the same time.
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000 + self.0.fetch_add(1, Ordering::Relaxed))
    }
}

struct Subject {
    runtime: Runtime,
    dir: tempfile::TempDir,
    clock: Arc<Ticking>,
    vault: Option<Embedded>,
    recovery: SecretBytes,
    by: Author,
}

fn open(dir: &Path, clock: &Arc<Ticking>) -> Store {
    let clock: Arc<dyn Clock> = Arc::<Ticking>::clone(clock);
    Store::open(&dir.join("state"), Options::new(clock)).expect("store")
}

fn name(at: usize) -> SecretName {
    format!("app/{at}").parse().expect("name")
}

fn secret(value: &[u8]) -> SecretValue {
    SecretValue {
        value: SecretBytes::copy_of(value),
        metadata: Metadata::text(Origin::Generated),
    }
}

fn stage(at: At) -> Stage {
    match at {
        At::Pending => Stage::Pending,
        At::Current => Stage::Current,
        At::Previous => Stage::Previous,
        At::Revoked => Stage::Revoked,
        At::Abandoned => Stage::Abandoned,
    }
}

async fn lease(vault: &Embedded, run: u64) -> Author {
    let run = RunId::from_number(run);
    let request = LeaseRequest {
        run: run.clone(),
        holder: "test".to_owned(),
        keys: (0..NAMES).map(|at| LeaseKey::Secret(name(at))).collect(),
        until: Timestamp::from_unix_ms(u64::from(u32::MAX)),
    };
    let fence = vault.store().write(move |tx| tx.acquire_leases(&request)).await;
    Author {
        run,
        fence: fence.expect("leases"),
    }
}

impl Subject {
    fn vault(&self) -> &Embedded {
        self.vault.as_ref().expect("open")
    }

    fn key_file(&self) -> PathBuf {
        self.dir.path().join("key")
    }

    async fn release(&self) {
        let by = self.by.clone();
        let done = self
            .vault()
            .store()
            .write(move |tx| tx.release_leases(&by.run, by.fence))
            .await;
        done.expect("released");
    }

    /// The versions of a name, oldest first.
    async fn ids(&self, at: usize) -> Vec<VersionId> {
        let head = self.vault().head(&name(at)).await.expect("head");
        head.versions
            .into_iter()
            .rev()
            .map(|version| version.id)
            .collect()
    }

    /// One of them, or one that is none.
    async fn id(&self, at: usize, version: usize) -> VersionId {
        let ids = self.ids(at).await;
        ids.get(version)
            .cloned()
            .unwrap_or_else(|| VersionId::from_number(7))
    }

    async fn believed(&self, at: usize, believed: Believed) -> Option<VersionId> {
        let head = self.vault().head(&name(at)).await.expect("head");
        match believed {
            Believed::Right => head.current().map(|version| version.id.clone()),
            Believed::Nothing => None,
            Believed::Other => Some(VersionId::from_number(7)),
        }
    }

    fn pending(at: usize, value: &[u8]) -> Pending {
        Pending {
            name: name(at),
            secret: secret(value),
            outputs: Vec::new(),
        }
    }

    /// A change of one version's stage or annotations; the version, where the call gives one.
    async fn change(&self, action: &Move) -> Result<Option<VersionId>, Error> {
        let (vault, by, none) = (self.vault(), &self.by, Rider::none);
        match action {
            Move::Put {
                name: at,
                value,
                imported: true,
            } => vault
                .import(by, Self::pending(*at, value), none())
                .await
                .map(Some),
            Move::Put { name: at, value, .. } => vault
                .put_pending(by, Self::pending(*at, value), none())
                .await
                .map(Some),
            Move::Promote {
                name: at,
                version,
                believed,
            } => {
                let promotion = Promotion {
                    name: name(*at),
                    pending: self.id(*at, *version).await,
                    expected_current: self.believed(*at, *believed).await,
                    also: Vec::new(),
                };
                vault.promote(by, promotion, none()).await.map(|()| None)
            }
            Move::Abandon { name: at, version } => {
                let id = self.id(*at, *version).await;
                vault.abandon(by, &name(*at), &id, none()).await.map(|()| None)
            }
            Move::Revoke { name: at, version } => {
                let id = self.id(*at, *version).await;
                vault.revoke(by, &name(*at), &id, none()).await.map(|()| None)
            }
            Move::RollBack {
                name: at,
                version,
                believed,
            } => {
                let (id, current) = (self.id(*at, *version).await, self.believed(*at, *believed).await);
                vault
                    .roll_back(by, &name(*at), &id, current.as_ref(), Vec::new(), none())
                    .await
                    .map(Some)
            }
            Move::Annotate {
                name: at,
                version,
                key,
                value,
            } => {
                let id = self.id(*at, *version).await;
                vault
                    .annotate(by, &name(*at), &id, key, value, none())
                    .await
                    .map(|()| None)
            }
            Move::Stale { name: at, value } => {
                let stale = Author {
                    fence: keywheel_model::Fence(by.fence.0 - 1),
                    ..by.clone()
                };
                vault
                    .put_pending(&stale, Self::pending(*at, value), none())
                    .await
                    .map(Some)
            }
            other => self.of_run(other).await.map(|()| None),
        }
    }

    /// A change of what a run keeps, or of the keys.
    async fn of_run(&self, action: &Move) -> Result<(), Error> {
        let (vault, by, none) = (self.vault(), &self.by, Rider::none);
        match action {
            Move::PutEscrow { key, value } => vault.put_escrow(by, key, secret(value), none()).await,
            Move::RemoveEscrow { key } => vault.remove_escrow(by, key, none()).await,
            Move::PutState { key, value } => vault.put_state(by, key, secret(value), none()).await,
            Move::RemoveState { key } => vault.remove_state(by, key, none()).await,
            Move::Rewrap => vault.rewrap(none()).await.map(drop),
            Move::Rekey => vault
                .rekey(vec![Unlock::KeyFile(self.key_file())], Vec::new(), none())
                .await
                .map(drop),
            Move::Seal { key } => self.seal(*key).await,
            other => unreachable!("{other:?} is no call"),
        }
    }

    /// Sealed, it says so to everybody; open again, it is what it was.
    async fn seal(&self, key: Key) -> Result<(), Error> {
        let vault = self.vault();
        vault.seal();
        for code in [
            vault.head(&name(0)).await.expect_err("sealed").code(),
            vault
                .put_pending(&self.by, Self::pending(0, b"x"), Rider::none())
                .await
                .expect_err("sealed")
                .code(),
            vault
                .put_state(&self.by, "k", secret(b"x"), Rider::none())
                .await
                .expect_err("sealed")
                .code(),
            vault.rewrap(Rider::none()).await.expect_err("sealed").code(),
        ] {
            assert_eq!(code, "vault.sealed");
        }
        let other = RecoveryIdentity::generate()
            .and_then(|identity| identity.to_text())
            .expect("identity");
        let opened = vault.unseal(match key {
            Key::File => Unlock::KeyFile(self.key_file()),
            Key::Recovery => Unlock::Recovery(self.recovery.duplicate()),
            Key::OtherFile => Unlock::KeyFile(self.dir.path().join("other/key")),
            Key::OtherRecovery => Unlock::Recovery(other),
        });
        let opened = opened.await;
        assert_eq!(vault.is_sealed(), opened.is_err());
        if opened.is_err() {
            vault
                .unseal(Unlock::KeyFile(self.key_file()))
                .await
                .expect("the right key");
        }
        opened
    }

    async fn compare(&self, model: &Model) {
        for (at, expected) in model.names.iter().enumerate() {
            let head = self.vault().head(&name(at)).await.expect("head");
            assert_eq!(head.versions.len(), expected.len());
            for (version, expected) in head.versions.iter().rev().zip(expected) {
                assert_eq!(version.stage, stage(expected.at));
                assert_eq!(version.metadata.annotations, expected.annotations);
                let value = self.vault().read(&name(at), &version.id).await.expect("value");
                assert_eq!(value.expose(), expected.value);
            }
        }
        let kept = self.vault().escrows(None).await.expect("escrow");
        assert_eq!(kept.len(), model.escrow.len());
        for ((run, key), expected) in &model.escrow {
            let found = self
                .vault()
                .escrow(&RunId::from_number(*run), key)
                .await
                .expect("escrow");
            assert_eq!(found.expect("kept").value.expose(), expected);
        }
        for ((run, key), expected) in &model.state {
            let found = self
                .vault()
                .state(&RunId::from_number(*run), key)
                .await
                .expect("state");
            assert_eq!(found.expect("kept").value.expose(), expected);
        }
        let records = self.vault().check_records().await.expect("checked");
        assert_eq!(records.faulty, 0);
    }
}

impl StateMachineTest for Subject {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(model: &Model) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let clock = Arc::new(Ticking(AtomicU64::new(0)));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime");
        let identity = RecoveryIdentity::generate().expect("identity");
        let recovery = identity.to_text().expect("text");
        let (vault, by) = runtime.block_on(async {
            // The key of another vault, which does not fit this one.
            let other = dir.path().join("other");
            std::fs::create_dir(&other).expect("folder");
            let slots = vec![NewSlot::KeyFile(other.join("key"))];
            Embedded::init(open(&other, &clock), &identity, slots, Rider::none())
                .await
                .expect("other");
            let slots = vec![NewSlot::KeyFile(dir.path().join("key"))];
            let vault = Embedded::init(open(dir.path(), &clock), &identity, slots, Rider::none())
                .await
                .expect("vault");
            let by = lease(&vault, model.run).await;
            (vault, by)
        });
        Self {
            runtime,
            dir,
            clock,
            vault: Some(vault),
            recovery,
            by,
        }
    }

    fn apply(mut subject: Self, model: &Model, action: Move) -> Self {
        match action {
            Move::NextRun => {
                subject.runtime.block_on(subject.release());
                subject.by = subject.runtime.block_on(lease(subject.vault(), model.run));
            }
            Move::Restart => {
                subject.vault = None;
                let store = open(subject.dir.path(), &subject.clock);
                let opened = subject
                    .runtime
                    .block_on(Embedded::open(store, Some(&subject.key_file())));
                subject.vault = Some(opened.expect("opened"));
                // The run was never begun in the journal: nobody answers for its lease.
                subject.by = subject.runtime.block_on(lease(subject.vault(), model.run));
            }
            action => {
                let answer = subject.runtime.block_on(async {
                    match subject.change(&action).await {
                        Err(error) => Err(error.code()),
                        Ok(None) => Ok(None),
                        Ok(Some(id)) => {
                            let at = match &action {
                                Move::Put { name, .. } | Move::RollBack { name, .. } => *name,
                                other => unreachable!("{other:?} gives no version"),
                            };
                            Ok(subject.ids(at).await.iter().position(|known| *known == id))
                        }
                    }
                });
                assert_eq!(Some(answer), model.answer, "{action:?}");
            }
        }
        subject
    }

    fn check_invariants(subject: &Self, model: &Model) {
        subject.runtime.block_on(subject.compare(model));
    }
}

prop_state_machine! {
    #![proptest_config(budget(24))]

    #[test]
    fn the_vault_holds_what_a_plain_map_holds(sequential 1..50 => Subject);
}
