use std::str::FromStr;

use keywheel_model::{Effect, Epoch, Fence, RunId, StepName, Timestamp};
use rusqlite::{Row, params};

use crate::transaction::at;
use crate::{Error, Reader, Transaction};

/// What a run is about to do to the world outside, written before it does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepName,
    /// Which try of the step, from 1.
    pub attempt: u32,
    /// Which effect of the try, from 1.
    pub seq: u32,
    /// What kind: `sql.execute`, `net.write`, `vault.promote`.
    pub kind: String,
    /// To where: host and port, or a vault's name.
    pub destination: String,
    /// Ids (never values) of the secrets that it carries.
    pub secrets: Vec<String>,
    /// What ends the session that it goes through, as whoever wrote it understands it. None: nothing can.
    pub session: Option<String>,
    /// The fence under which it is done.
    pub fence: Fence,
}

/// How an intended effect ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentOutcome {
    /// Whether it took effect.
    pub effect: Effect,
    /// `ok`, or the error's code.
    pub code: String,
    /// When that was known.
    pub at: Timestamp,
}

/// A row of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentRow {
    /// Its number; grows.
    pub id: u64,
    /// What was intended.
    pub intent: Intent,
    /// In which restore epoch.
    pub epoch: Epoch,
    /// When.
    pub at: Timestamp,
    /// How it ended. None: not known, so it may have taken effect.
    pub outcome: Option<IntentOutcome>,
}

fn effect_word(effect: Effect) -> &'static str {
    match effect {
        Effect::None => "none",
        Effect::Applied => "applied",
        Effect::Maybe => "maybe",
    }
}

fn unreadable(id: u64) -> Error {
    Error::Unreadable {
        what: format!("intent {id}"),
    }
}

/// Columns as read; turned into an [`IntentRow`] outside of rusqlite's closure, where errors can say which row.
type Raw = (
    u64,
    [String; 5],
    u32,
    u32,
    u64,
    u32,
    Timestamp,
    Option<(String, String, u64)>,
    Option<String>,
);

fn read(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let texts = [row.get(1)?, row.get(2)?, row.get(5)?, row.get(6)?, row.get(7)?];
    let outcome = match row.get::<_, Option<String>>(11)? {
        None => None,
        Some(effect) => Some((effect, row.get(12)?, row.get(13)?)),
    };
    Ok((
        row.get(0)?,
        texts,
        row.get(3)?,
        row.get(4)?,
        row.get(8)?,
        row.get(9)?,
        at(row, 10)?,
        outcome,
        row.get(14)?,
    ))
}

fn typed((id, texts, attempt, seq, fence, epoch, at, outcome, session): Raw) -> Result<IntentRow, Error> {
    let [run, step, kind, destination, secrets] = texts;
    let intent = Intent {
        run: RunId::from_str(&run).map_err(|_| unreadable(id))?,
        step: step_from(&step).ok_or_else(|| unreadable(id))?,
        attempt,
        seq,
        kind,
        destination,
        secrets: serde_json::from_str(&secrets).map_err(|_| unreadable(id))?,
        session,
        fence: Fence(fence),
    };
    let outcome = match outcome {
        None => None,
        Some((effect, code, at)) => {
            let effect = [Effect::None, Effect::Applied, Effect::Maybe]
                .into_iter()
                .find(|known| effect_word(*known) == effect)
                .ok_or_else(|| unreadable(id))?;
            Some(IntentOutcome {
                effect,
                code,
                at: Timestamp::from_unix_ms(at),
            })
        }
    };
    Ok(IntentRow {
        id,
        intent,
        epoch: Epoch(epoch),
        at,
        outcome,
    })
}

fn step_from(word: &str) -> Option<StepName> {
    serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
}

impl Reader<'_> {
    /// The journal of a run, in the order of writing.
    ///
    /// # Errors
    /// [`Error::Unreadable`] naming the row.
    pub fn intents(&self, run: &RunId) -> Result<Vec<IntentRow>, Error> {
        let sql = "SELECT i.id, i.run, i.step, i.attempt, i.seq, i.kind, i.destination, i.secrets, i.fence, i.epoch, i.at,
                          o.effect, o.code, o.at, i.session
                   FROM intent i LEFT JOIN intent_outcome o ON o.intent = i.id WHERE i.run = ?1 ORDER BY i.id";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement
            .query_map([run.as_str()], read)?
            .collect::<Result<Vec<_>, _>>()?;
        rows.into_iter().map(typed).collect()
    }
}

impl Reader<'_> {
    /// What was intended since then, by whatever run, and may still take effect: its outcome is not known, or says that it is not.
    /// Newest first.
    ///
    /// # Errors
    /// [`Error::Unreadable`] naming the row.
    pub fn intents_in_doubt(&self, since: Timestamp) -> Result<Vec<IntentRow>, Error> {
        let sql = "SELECT i.id, i.run, i.step, i.attempt, i.seq, i.kind, i.destination, i.secrets, i.fence, i.epoch, i.at,
                          o.effect, o.code, o.at, i.session
                   FROM intent i LEFT JOIN intent_outcome o ON o.intent = i.id ORDER BY i.id DESC";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut found = Vec::new();
        for row in statement.query_map([], read)? {
            let row = typed(row?)?;
            // Rows are in the order of writing: what follows is older.
            if row.at < since {
                break;
            }
            if row
                .outcome
                .as_ref()
                .is_none_or(|outcome| outcome.effect == Effect::Maybe)
            {
                found.push(row);
            }
        }
        Ok(found)
    }
}

impl Transaction<'_> {
    /// Appends an intent; refused unless its fence is live. Returns its number.
    ///
    /// # Errors
    /// [`Error::Stale`]; [`Error::Conflict`] when this place in the run is taken.
    pub fn append_intent(&self, intent: &Intent) -> Result<u64, Error> {
        self.check_fence(&intent.run, intent.fence)?;
        let sql = "INSERT INTO intent (run, step, attempt, seq, kind, destination, secrets, fence, epoch, at, session)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (run, step, attempt, seq) DO NOTHING";
        let secrets = serde_json::Value::from(intent.secrets.clone()).to_string();
        let added = self.connection.prepare_cached(sql)?.execute(params![
            intent.run.as_str(),
            intent.step.as_str(),
            intent.attempt,
            intent.seq,
            intent.kind,
            intent.destination,
            secrets,
            intent.fence.0,
            self.epoch()?.0,
            self.now.as_unix_ms(),
            intent.session
        ])?;
        if added == 0 {
            let Intent {
                run,
                step,
                attempt,
                seq,
                ..
            } = intent;
            return Err(Error::Conflict {
                what: format!("intent {step}/{attempt}/{seq} of run {run}"),
            });
        }
        u64::try_from(self.connection.last_insert_rowid()).map_err(|_| unreadable(0))
    }

    /// Appends how an intent ended. Not fenced: what happened is the truth, whoever holds the lease now. Said twice alike,
    /// it changes nothing.
    ///
    /// # Errors
    /// [`Error::Conflict`] when another outcome stands there.
    pub fn append_outcome(&self, intent: u64, effect: Effect, code: &str) -> Result<(), Error> {
        let sql = "INSERT INTO intent_outcome (intent, effect, code, at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
        let word = effect_word(effect);
        let now = self.now.as_unix_ms();
        if self
            .connection
            .prepare_cached(sql)?
            .execute(params![intent, word, code, now])?
            == 1
        {
            return Ok(());
        }
        let same = "SELECT count(*) FROM intent_outcome WHERE intent = ?1 AND effect = ?2 AND code = ?3";
        let same: u32 = self
            .connection
            .prepare_cached(same)?
            .query_row(params![intent, word, code], |row| row.get(0))?;
        if same == 1 {
            Ok(())
        } else {
            Err(Error::Conflict {
                what: format!("the outcome of intent {intent}"),
            })
        }
    }
}
