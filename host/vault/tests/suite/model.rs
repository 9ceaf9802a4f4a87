//! The vault against a model of it, over long random histories. The seed is printed when one fails.

use std::collections::BTreeMap;

use keywheel_model::{Stage, VersionId};
use keywheel_vault::{Author, Embedded, Promotion, Rider, Vault};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::{Home, name, pending, store, text};

const NAMES: [&str; 3] = ["app/a", "app/b", "c"];

/// What the vault should hold: for each name its versions in the order of writing.
#[derive(Default)]
struct Model(BTreeMap<&'static str, Vec<(VersionId, Stage, u64, String)>>);

impl Model {
    fn at(&self, name: &str, stage: Stage) -> Option<usize> {
        self.0.get(name)?.iter().rposition(|version| version.1 == stage)
    }

    fn id_at(&self, name: &str, stage: Stage) -> Option<VersionId> {
        self.at(name, stage).map(|at| self.0[name][at].0.clone())
    }

    fn set(&mut self, name: &'static str, at: usize, stage: Stage) {
        if let Some(versions) = self.0.get_mut(name) {
            versions[at].1 = stage;
        }
    }

    fn make_current(&mut self, name: &'static str) {
        if let Some(old) = self.at(name, Stage::Current) {
            self.set(name, old, Stage::Previous);
        }
    }
}

struct History {
    vault: Embedded,
    model: Model,
    random: StdRng,
    run: u64,
}

impl History {
    async fn step(&mut self, by: &Author, name: &'static str) {
        match self.random.random_range(0..5) {
            0 => self.put(by, name).await,
            1 => self.promote(by, name).await,
            2 => self.retire(by, name, Stage::Pending, Stage::Abandoned).await,
            3 => self.retire(by, name, Stage::Previous, Stage::Revoked).await,
            _ => self.roll_back(by, name).await,
        }
    }

    async fn put(&mut self, by: &Author, name: &'static str) {
        let text = format!("value-{}", self.random.random_range(0..3));
        let result = self
            .vault
            .put_pending(by, pending(name, &text), Rider::none())
            .await;
        let same = self
            .model
            .0
            .get(name)
            .into_iter()
            .flatten()
            .rev()
            .find(|version| {
                matches!(version.1, Stage::Pending | Stage::Current)
                    && version.2 == self.run
                    && version.3 == text
            });
        if let Some(same) = same {
            assert_eq!(result.expect("repeated"), same.0);
        } else if self.model.at(name, Stage::Pending).is_some() {
            assert_eq!(result.expect_err("pending").code(), "vault.pending-exists");
        } else {
            let id = result.expect("pending");
            self.model
                .0
                .entry(name)
                .or_default()
                .push((id, Stage::Pending, self.run, text));
        }
    }

    async fn promote(&mut self, by: &Author, name: &'static str) {
        let Some(at) = self.model.at(name, Stage::Pending) else {
            return;
        };
        let id = self.model.0[name][at].0.clone();
        let wrong_head = self.random.random_bool(0.2);
        let expected = if wrong_head {
            Some(VersionId::from_number(7))
        } else {
            self.model.id_at(name, Stage::Current)
        };
        let promotion = Promotion {
            name: crate::name(name),
            pending: id,
            expected_current: expected,
            also: Vec::new(),
        };
        let result = self.vault.promote(by, promotion, Rider::none()).await;
        if wrong_head {
            assert_eq!(result.expect_err("moved").code(), "vault.head-moved");
        } else {
            result.expect("promote");
            self.model.make_current(name);
            self.model.set(name, at, Stage::Current);
        }
    }

    async fn retire(&mut self, by: &Author, name: &'static str, from: Stage, to: Stage) {
        let Some(count) = self.model.0.get(name).map(Vec::len).filter(|count| *count > 0) else {
            return;
        };
        let at = self.random.random_range(0..count);
        let (id, stage, ..) = self.model.0[name][at].clone();
        let result = match to {
            Stage::Revoked => {
                self.vault
                    .revoke(by, &crate::name(name), &id, Rider::none())
                    .await
            }
            _ => {
                self.vault
                    .abandon(by, &crate::name(name), &id, Rider::none())
                    .await
            }
        };
        if stage == from || stage == to || to == Stage::Revoked && stage == Stage::Abandoned {
            result.expect("retire");
            self.model.set(name, at, to);
        } else {
            assert_eq!(result.expect_err("its stage").code(), "vault.stage");
        }
    }

    async fn roll_back(&mut self, by: &Author, name: &'static str) {
        let Some(count) = self.model.0.get(name).map(Vec::len).filter(|count| *count > 0) else {
            return;
        };
        let at = self.random.random_range(0..count);
        let (to, _, _, text) = self.model.0[name][at].clone();
        let current = self.model.id_at(name, Stage::Current);
        let before = self
            .vault
            .head(&crate::name(name))
            .await
            .expect("head")
            .versions
            .len();
        let result = self
            .vault
            .roll_back(
                by,
                &crate::name(name),
                &to,
                current.as_ref(),
                Vec::new(),
                Rider::none(),
            )
            .await;
        let after = self
            .vault
            .head(&crate::name(name))
            .await
            .expect("head")
            .versions
            .len();
        match result {
            Ok(id) if after == before => assert_eq!(Some(id), current, "repeated"),
            Ok(id) => {
                assert!(self.model.at(name, Stage::Pending).is_none());
                self.model.make_current(name);
                // A rollback is no value of the run's own: run 0 stands for that.
                self.model
                    .0
                    .entry(name)
                    .or_default()
                    .push((id, Stage::Current, 0, text));
            }
            Err(error) => {
                assert_eq!(error.code(), "vault.stage");
                assert!(self.model.at(name, Stage::Pending).is_some());
            }
        }
    }

    async fn compare(&self) {
        for name in NAMES {
            let head = self.vault.head(&crate::name(name)).await.expect("head");
            let expected = self.model.0.get(name).map_or(&[][..], Vec::as_slice);
            let found: Vec<_> = head
                .versions
                .iter()
                .rev()
                .map(|version| (version.id.clone(), version.stage))
                .collect();
            let stages: Vec<_> = expected
                .iter()
                .map(|(id, stage, ..)| (id.clone(), *stage))
                .collect();
            assert_eq!(found, stages, "{name}");
            for (id, _, _, expected) in expected {
                assert_eq!(
                    text(&self.vault.read(&crate::name(name), id).await.expect("value")),
                    expected
                );
            }
        }
    }
}

#[tokio::test]
async fn random_histories_agree_with_the_model_also_after_reopening() {
    for seed in 0..6 {
        println!("seed {seed}");
        let mut home = Home::new().await;
        let mut history = History {
            vault: home.vault.clone(),
            model: Model::default(),
            random: StdRng::seed_from_u64(seed),
            run: 0,
        };
        for run in 1..=12 {
            history.run = run;
            let by = home.author(run, &NAMES).await;
            for _ in 0..12 {
                home.clock.advance(1);
                let at = history.random.random_range(0..NAMES.len());
                history.step(&by, NAMES[at]).await;
            }
            history.compare().await;
            home.release(&by).await;
            if run % 4 == 0 {
                let History {
                    vault,
                    model,
                    random,
                    run,
                } = history;
                drop(vault);
                let (dir, clock, recovery) = home.close();
                let key = dir.path().join("key");
                let vault = Embedded::open(store(dir.path(), &clock), Some(&key))
                    .await
                    .expect("reopen");
                history = History {
                    vault: vault.clone(),
                    model,
                    random,
                    run,
                };
                home = Home {
                    dir,
                    clock,
                    vault,
                    recovery,
                };
                history.compare().await;
            }
        }
        assert!(
            history
                .vault
                .head(&name(NAMES[0]))
                .await
                .expect("head")
                .versions
                .len()
                > 3,
            "something happened"
        );
    }
}
