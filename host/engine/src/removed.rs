//! Runs that are not over and whose rotation was taken out of the configuration, or rotates another account now (rule P12). They go on with what
//! they have pinned. What must not begin meanwhile is a run on their secret or on their accounts.

use std::sync::Arc;

use keywheel_config::{Config, Rotation};
use keywheel_manifest::Manifest;
use keywheel_model::{Clock, RotationName, RunId, SecretName};
use keywheel_store::{Options, Reader};

use crate::engine::{Engine, Inner, open_store};
use crate::journal::read_state;
use crate::shown::view_of;
use crate::view::RunView;
use crate::{Error, settings};

/// The open runs whose rotation a configuration does not have, by its state alone: without vault and plugins.
///
/// # Errors
/// [`Error::NoState`], [`Error::Store`] (in use); a state that cannot be read.
pub async fn runs_without_rotation(config: &Config, clock: Arc<dyn Clock>) -> Result<Vec<RunView>, Error> {
    let store = open_store(config, Options::new(clock)).await?;
    let rows = store.read(|reader| Ok::<_, Error>(reader.open_runs()?)).await?;
    let removed = rows.iter().filter(|row| config.rotation(&row.rotation).is_none());
    removed
        .map(|row| {
            let mut view = view_of(row, &read_state(row)?, false);
            view.removed = true;
            Ok(view)
        })
        .collect()
}

/// A run that is not over, and what it changes, where the configuration of now keeps nobody away from that.
pub(crate) struct Stray {
    run: RunId,
    rotation: RotationName,
    secret: SecretName,
    accounts: Vec<String>,
}

impl Engine {
    /// Open runs whose rotation the configuration does not have any more, oldest first.
    ///
    /// # Errors
    /// The store; a state that cannot be read.
    pub async fn removed_runs(&self) -> Result<Vec<RunView>, Error> {
        let mut runs = self.open_runs().await?;
        runs.retain(|run| run.removed);
        Ok(runs)
    }

    /// Refuses while a run of the secret is not over.
    ///
    /// # Errors
    /// [`Error::OpenRun`]; the store.
    pub(crate) async fn check_no_open_run(&self, secret: &SecretName) -> Result<(), Error> {
        let secret = secret.clone();
        self.inner
            .store
            .read_here(move |reader| match reader.open_run_of(&secret)? {
                Some(run) => Err(refused_by(reader, &secret, run)?),
                None => Ok(()),
            })
            .await
    }
}

impl Inner {
    /// Refuses to begin on an account that the open run of another secret changes. `config check` keeps two rotations off one account, but not
    /// a new rotation off the run of one that the configuration had before.
    pub(crate) async fn check_accounts(&self, rotation: &Rotation, manifest: &Manifest) -> Result<(), Error> {
        let accounts = settings::principals(rotation, manifest);
        // Runs that this host begins are of the configuration, and no strays.
        let strays = self.strays.get_or_try_init(|| self.find_strays()).await?;
        for stray in strays {
            let is_shared = stray.accounts.iter().any(|account| accounts.contains(account));
            if stray.secret == rotation.secret || !is_shared {
                continue;
            }
            let (_, saved) = self.journal.load(&stray.run).await?;
            if !saved.state.is_over() {
                return Err(Error::AccountInUse {
                    rotation: rotation.name.clone(),
                    run: stray.run.clone(),
                    by: stray.rotation.clone(),
                    forward: saved.state.past_no_return(),
                });
            }
        }
        Ok(())
    }

    async fn find_strays(&self) -> Result<Vec<Stray>, Error> {
        let rows = self
            .store
            .read(|reader| Ok::<_, Error>(reader.open_runs()?))
            .await?;
        let mut strays = Vec::new();
        for row in rows {
            let accounts: Vec<String> = row.principal.lines().map(str::to_owned).collect();
            let configured = self
                .config
                .rotation(&row.rotation)
                .and_then(|rotation| Some((self.plugin(&rotation.plugin).ok()?, rotation)))
                .map(|(plugin, rotation)| settings::principals(&rotation, plugin.manifest()));
            if configured.as_ref() != Some(&accounts) {
                strays.push(Stray {
                    run: row.id,
                    rotation: row.rotation,
                    secret: row.secret,
                    accounts,
                });
            }
        }
        Ok(strays)
    }
}

/// The refusal that the open run of a secret is. What can be done about it depends on where that run stands.
pub(crate) fn refused_by(reader: &Reader<'_>, secret: &SecretName, run: RunId) -> Result<Error, Error> {
    let forward = match reader.run(&run)? {
        Some(row) => read_state(&row)?.past_no_return(),
        None => false,
    };
    Ok(Error::OpenRun {
        secret: secret.clone(),
        run,
        forward,
    })
}
