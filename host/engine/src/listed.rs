//! Rotations of tables (`each`): the accepted rows are in the store, and looked up there one at a time. A start compares digests and reads no row.

use std::sync::Arc;

use keywheel_config::{CheckedRow, Config, Listed, Problems, Row};
use keywheel_model::{Clock, RotationName, SecretName, Timestamp};
use keywheel_schedule::{Facts, Planned};
use keywheel_store::{ListedRow, NewListed, Store};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::Error;
use crate::engine::blocking;
use crate::kept::kept;

/// Under which it is kept what was accepted.
const KEY: &str = "listed";

/// So many rows are written in one transaction: others write between two of them.
const STEP: usize = 1_000;

/// So many rows are looked at together by who goes through all.
const PAGE: u32 = 500;

/// What was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Accepted {
    /// Which rows of the store count.
    generation: u64,
    /// Of all that decides what the rotations are.
    digest: String,
    /// The same without the rows.
    basis: String,
    /// Of what they were checked against.
    manifests: String,
    count: usize,
    /// Whether what is known of each was taken over.
    watched: bool,
}

/// The rows of a generation.
#[derive(Clone)]
struct Stored {
    store: Store,
    generation: u64,
    count: usize,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl Stored {
    /// Of a store that cannot be read nothing is known; whoever asks is refused, and nothing is started.
    fn believed<T: Default>(read: Result<T, keywheel_store::Error>) -> T {
        read.unwrap_or_else(|error| {
            tracing::error!(%error, "the rotations of tables cannot be read");
            T::default()
        })
    }
}

fn row(row: ListedRow) -> Row {
    Row {
        name: row.name,
        table: usize::try_from(row.part).unwrap_or(usize::MAX),
        cells: row.cells,
    }
}

impl Listed for Stored {
    fn named(&self, name: &RotationName) -> Option<Row> {
        let read = self.store.glance(|reader| reader.listed(self.generation, name));
        Self::believed(read).map(row)
    }

    fn of_secret(&self, secret: &SecretName) -> Option<Row> {
        let read = self
            .store
            .glance(|reader| reader.listed_of_secret(self.generation, secret));
        Self::believed(read).map(row)
    }

    fn page(&self, after: Option<&RotationName>) -> Vec<Row> {
        let read = self
            .store
            .glance(|reader| reader.listed_page(self.generation, after, PAGE));
        Self::believed(read).into_iter().map(row).collect()
    }

    fn count(&self) -> usize {
        self.count
    }
}

/// Whether the tables of a configuration are taken into the store, or only looked up there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tables {
    /// Rows that are not those that were accepted are checked, and take their place.
    Take,
    /// Rows that are not those that were accepted are read from their files.
    Look,
}

/// Has a configuration find the rotations of its tables.
///
/// # Errors
/// [`Error::Config`] with what is wrong with rows: those that were accepted before stay; the store.
pub(crate) async fn settle(
    config: &mut Config,
    store: &Store,
    clock: &Arc<dyn Clock>,
    tables: Tables,
) -> Result<(), Error> {
    let accepted = store
        .read(|reader| kept::<Accepted>(KEY, reader.meta(KEY)?))
        .await?
        .unwrap_or_default();
    if config.tables().is_empty() {
        if tables == Tables::Take && accepted.count > 0 {
            let none = Accepted {
                generation: accepted.generation + 1,
                watched: true,
                ..Accepted::default()
            };
            let generation = none.generation;
            accept(store, none).await?;
            while store.write(move |tx| tx.forget_watched(generation)).await? {}
        }
        return Ok(());
    }
    let asked = config.clone();
    let digest = blocking(move || asked.digest()).await??;
    let manifests = config.manifests();
    let is_same =
        accepted.digest == digest && manifests.as_ref().is_none_or(|now| *now == accepted.manifests);
    let accepted = match manifests {
        _ if is_same => accepted,
        Some(manifests) if tables == Tables::Take => {
            take(config, store, clock.now(), (digest, manifests), accepted).await?
        }
        // What a lost plugin would say of them nobody knows: they are looked up, and none is started.
        _ => return Ok(()),
    };
    config.set_listed(Some(Arc::new(Stored {
        store: store.clone(),
        generation: accepted.generation,
        count: accepted.count,
    })));
    if !accepted.watched && tables == Tables::Take {
        watch(store, accepted).await?;
    }
    Ok(())
}

/// Checks every row and has them take the place of those that were accepted before, all at once.
async fn take(
    config: &Config,
    store: &Store,
    now: Timestamp,
    (digest, manifests): (String, String),
    before: Accepted,
) -> Result<Accepted, Error> {
    let generation = before.generation + 1;
    let counts = before.generation;
    while store.write(move |tx| tx.forget_listed(counts)).await? {}
    let basis = config.basis();
    let is_like = basis == before.basis && manifests == before.manifests;
    let like = is_like.then_some(counts);
    let (sender, mut rows) = mpsc::channel::<Vec<NewListed>>(2);
    let read = config.clone();
    let reading = blocking(move || check(&read, now, &sender));
    let writing = async move {
        // Whoever reads is told of an error by that nobody takes any more.
        while let Some(rows) = rows.recv().await {
            store
                .write(move |tx| tx.stage_listed(generation, like, &rows))
                .await?;
        }
        Ok::<_, Error>(())
    };
    let (read, written) = tokio::join!(reading, writing);
    written?;
    let accepted = Accepted {
        generation,
        digest,
        basis,
        manifests,
        count: read??,
        watched: false,
    };
    accept(store, accepted.clone()).await?;
    Ok(accepted)
}

async fn accept(store: &Store, accepted: Accepted) -> Result<(), Error> {
    let text = serde_json::json!(accepted).to_string();
    store
        .write(move |tx| Ok::<_, Error>(tx.set_meta(KEY, &text)?))
        .await
}

/// Takes over what is known of each rotation; what is gone is forgotten. After a crash it is begun anew.
async fn watch(store: &Store, accepted: Accepted) -> Result<(), Error> {
    let generation = accepted.generation;
    let mut last: Option<RotationName> = None;
    loop {
        let after = last.clone();
        last = store
            .write(move |tx| tx.watch_listed(generation, after.as_ref()))
            .await?;
        if last.is_none() {
            break;
        }
    }
    while store.write(move |tx| tx.forget_watched(generation)).await? {}
    let watched = Accepted {
        watched: true,
        ..accepted
    };
    accept(store, watched).await
}

/// Reads and checks all rows. How many there are.
fn check(config: &Config, now: Timestamp, sender: &mpsc::Sender<Vec<NewListed>>) -> Result<usize, Problems> {
    let (mut count, mut rows) = (0, Vec::with_capacity(STEP));
    for checked in config.check_rows(now) {
        rows.push(new(checked?, now));
        count += 1;
        if rows.len() == STEP {
            let full = std::mem::replace(&mut rows, Vec::with_capacity(STEP));
            if sender.blocking_send(full).is_err() {
                // It could not be written, and that is what is told.
                return Ok(count);
            }
        }
    }
    // As before.
    let _ = sender.blocking_send(rows);
    Ok(count)
}

fn new(checked: CheckedRow, now: Timestamp) -> NewListed {
    let rotation = checked.rotation;
    let facts = Facts {
        first_seen: Some(now),
        ..Facts::default()
    };
    let look = match rotation.schedule.plan(&rotation.name).next(&facts, now) {
        Planned::Due(next) => Some(next.due),
        Planned::Idle(_) | Planned::Blocked(_) => None,
    };
    NewListed {
        row: ListedRow {
            name: rotation.name,
            part: u32::try_from(checked.table).unwrap_or(u32::MAX),
            cells: checked.cells,
        },
        secret: rotation.secret,
        plugin: rotation.plugin,
        target: checked.targets,
        look,
    }
}
