//! Opening the host's state for a command, and stopping it with Ctrl-C.

use std::path::Path;
use std::sync::Arc;

use keywheel_config::{Config, Draft};
use keywheel_engine::{Engine, Stop, SystemClock, Unlock};
use keywheel_model::SecretBytes;
use tokio::signal::unix::{SignalKind, signal};

use crate::cmd::plugin::folder;
use crate::cmd::policy::grants;
use crate::cmd::{Context, ours};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::Output;
use crate::secret_input::Source;

/// The configuration, checked against the plugins and the grants.
///
/// # Errors
/// Every problem.
pub(crate) fn checked(mut draft: Draft, context: &Context) -> Result<Config, Failure> {
    draft.examine_trust(keywheel_engine::examine_trust_file);
    draft.examine_hooks(keywheel_engine::examine_program);
    let found = folder::read(&draft.plugins().dir)?;
    let policy = grants::read(draft.policies_dir())?;
    let checked = draft.check(&found.manifests, &grants::subjects(&policy));
    if checked.is_err() {
        // A plugin that is missed may be one of these.
        for broken in &found.broken {
            context.output.warn(&broken.to_string());
        }
    }
    Ok(checked?)
}

/// The same for commands that start something: a plugin's file or a trust set's that is lost stops the rotations that need it, and no other.
///
/// # Errors
/// Every other problem.
pub(crate) fn checked_apart(mut draft: Draft, context: &Context) -> Result<Config, Failure> {
    draft.examine_trust(keywheel_engine::examine_trust_file);
    draft.examine_hooks(keywheel_engine::examine_program);
    let found = folder::read(&draft.plugins().dir)?;
    let policy = grants::read(draft.policies_dir())?;
    let checked = draft.check_apart(&found.manifests, &grants::subjects(&policy));
    let is_whole = |config: &Config| config.samples().all(|one| config.usable(one).is_ok());
    if !checked.as_ref().is_ok_and(is_whole) {
        // A plugin that is missed may be one of these.
        for broken in &found.broken {
            context.output.warn(&broken.to_string());
        }
    }
    Ok(checked?)
}

/// The host's state, for commands that look: a plugin that is gone does not stop them.
///
/// # Errors
/// The configuration is not valid, the state is in use, the vault's key is wrong.
pub(crate) async fn open(context: &Context) -> Result<Engine, Failure> {
    if let Some(host) = &context.host {
        return Ok(host.engine.clone());
    }
    Ok(Engine::open(ours::config(context)?, Arc::new(SystemClock)).await?)
}

/// The same for commands that look at nothing but the vault, as it lies there: nobody is asked for a key, plugins and trust sets are not looked at.
///
/// # Errors
/// As [`open`], but for what is not looked at.
pub(crate) async fn open_vault_to_look(context: &Context) -> Result<Engine, Failure> {
    if let Some(host) = &context.host {
        return Ok(host.engine.clone());
    }
    Ok(Engine::open_vault_alone(ours::config(context)?, Arc::new(SystemClock)).await?)
}

/// The same with the vault unsealed if there is a key file or somebody to ask: for a look at all that can be seen, also where others can
/// change what decides for the host.
///
/// # Errors
/// As [`open`]; a wrong passphrase.
pub(crate) async fn open_to_examine(context: &Context) -> Result<Engine, Failure> {
    let engine = if let Some(host) = &context.host {
        host.engine.clone()
    } else {
        let config = keywheel_config::load(&context.global.config)?;
        Engine::open(config, Arc::new(SystemClock)).await?
    };
    if context.output.is_interactive() {
        return unsealed(engine, context).await;
    }
    Ok(engine)
}

/// The same, for a look at what needs attention: the passphrase of a host that is meant to have no key file is asked for where somebody may be
/// asked. A key file that is gone is something to tell, and not to ask about.
///
/// # Errors
/// As [`open`]; a wrong passphrase.
pub(crate) async fn open_to_look(context: &Context) -> Result<Engine, Failure> {
    let engine = open(context).await?;
    if engine.needs_passphrase() && context.output.is_interactive() {
        return unsealed(engine, context).await;
    }
    Ok(engine)
}

/// The same with the vault unsealed: a passphrase is asked for where there is no key file.
///
/// # Errors
/// As [`open`]; nobody may be asked.
pub(crate) async fn open_unsealed(context: &Context) -> Result<Engine, Failure> {
    unsealed(open(context).await?, context).await
}

/// The same for commands that need the vault and nothing else: plugins and trust sets are not looked at.
///
/// # Errors
/// As [`open_unsealed`], but for what is not looked at.
pub(crate) async fn open_vault(context: &Context) -> Result<Engine, Failure> {
    if context.host.is_some() {
        return open_unsealed(context).await;
    }
    let engine = Engine::open_vault_alone(ours::config(context)?, Arc::new(SystemClock)).await?;
    unsealed(engine, context).await
}

/// The same, with a configuration that was checked: for commands that start something. What a lost file stops is refused rotation by rotation. A rotation that was taken out under its open run
/// is warned of: the run keeps everybody else off its secret and its account by itself.
///
/// # Errors
/// As [`open_unsealed`]; the configuration does not fit the plugins.
pub(crate) async fn open_checked(context: &Context) -> Result<Engine, Failure> {
    let engine = if let Some(host) = &context.host {
        host.engine.clone()
    } else {
        let config = checked_apart(ours::draft(context)?, context)?;
        Engine::open(config, Arc::new(SystemClock)).await?
    };
    for run in engine.removed_runs().await? {
        context
            .output
            .warn(&format!("{}: {}", run.removed_words(), run.removed_way_out()));
    }
    unsealed(engine, context).await
}

async fn unsealed(engine: Engine, context: &Context) -> Result<Engine, Failure> {
    if engine.vault().is_sealed() {
        let output = &context.output;
        let missing = engine.missing_key_file().map(missing_key_file);
        if !output.is_interactive() {
            let message = match &missing {
                Some(missing) => format!("the vault is sealed: {missing}"),
                None => "the vault is sealed and nobody may be asked for its passphrase".to_owned(),
            };
            let hint = match missing {
                Some(_) => keywheel_engine::KEY_FILE_IS_GONE,
                None => "name a key file: `key_file` in `[vault]`; or run the command on a terminal",
            };
            return Err(Failure::new(ExitCode::Auth, "vault.sealed", message).hint(hint));
        }
        if let Some(missing) = missing {
            output.warn(&missing);
        }
        let key = Source::Input.read("passphrase of the vault, or its recovery identity", output)?;
        engine.unseal(unlock_by(key)).await?;
    }
    Ok(engine)
}

/// What somebody has given to open the vault: a recovery identity is known by how it begins.
pub(crate) fn unlock_by(key: SecretBytes) -> Unlock {
    if key.expose().starts_with(b"AGE-SECRET-KEY-1") {
        Unlock::Recovery(key)
    } else {
        Unlock::Passphrase(key)
    }
}

fn missing_key_file(path: &Path) -> String {
    format!("its key file \"{}\" is not there", path.display())
}

/// A stop that Ctrl-C and SIGTERM ask for. The second one leaves at once: a run is made to survive that.
///
/// # Errors
/// The signals cannot be listened to.
pub(crate) fn stop_on_signal(output: &Output) -> Result<Stop, Failure> {
    let unheard = |error| {
        Failure::because(
            ExitCode::Unexpected,
            "host.signals",
            "cannot listen to signals",
            &error,
        )
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unheard)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(unheard)?;
    let (stopper, stop) = Stop::pair();
    let output = output.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if first {
                output.say("stopping at the next journalled point; once more leaves at once");
                stopper.stop();
            } else {
                std::process::exit(ExitCode::TimedOut.number().into());
            }
        }
    });
    Ok(stop)
}
