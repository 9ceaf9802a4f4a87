//! What a person is told of a parked run: the way out of each cause.

use keywheel_model::RunId;
use keywheel_workflow::{Cause, Wish};

/// The same of one that somebody has asked to be given up, while its plugin or its grant is gone.
pub(crate) fn way_out_as_wished(run: &RunId, wish: Wish) -> String {
    let words = match wish {
        Wish::Cancel => "the cancel",
        Wish::RollBack => "the roll-back",
    };
    format!(
        "put the plugin and its grant back (`keywheel plugin list`), then `keywheel run resume {run}`: {words} that was asked for is done then"
    )
}

/// What a person can do about a parked run.
pub(crate) fn way_out(cause: Cause, run: &RunId) -> String {
    let resume = format!("keywheel run resume {run}");
    match cause {
        Cause::Blocked => format!("do what the plugin asks for, then `{resume}`"),
        Cause::Vault => format!("see `keywheel vault status`; once the vault answers, `{resume}`"),
        Cause::Target => {
            format!("see that the target can be reached and its administrator may do this, then `{resume}`")
        }
        Cause::Account => format!("unlock or enable the account on the target, then `{resume}`"),
        Cause::Budget => {
            format!("wait until the account's budget of failed logins has room again, then `{resume}`")
        }
        Cause::ByHand => {
            format!(
                "somebody wrote the secret by hand: `{resume} --accept-head` if that value is right, `{resume} --apply-current` to put the vault's value on the target"
            )
        }
        Cause::AdoptionRequired => {
            format!(
                "`keywheel run cancel {run}`, then import the credential in use (`keywheel secret import`), or set a new one over it by `first = \"set\"` in the rotation"
            )
        }
        Cause::BothRejected => {
            format!(
                "the target took neither value and the vault's was applied again: look at its password rules, then `{resume}`"
            )
        }
        Cause::NothingAccepted => {
            format!(
                "the target refuses every kept version: set the vault's current value there by hand, or `{resume} --apply-current`"
            )
        }
        Cause::Restored => {
            format!(
                "vault or target is from an older state: `{resume} --apply-current` puts the vault's value on the target, `{resume}` tries the kept versions again"
            )
        }
        Cause::Withdrawn => {
            format!("put the plugin and its grant back (`keywheel plugin list`), then `{resume}`")
        }
        Cause::Limited => format!("give the account the rights it needs, then `{resume}`"),
        Cause::StillAlive => format!(
            "make the target refuse the previous credential (sessions, caches, a second place where it is set), then `{resume}`"
        ),
        Cause::Impossible => format!(
            "read the message: before the promotion `keywheel run cancel {run}`; after it put the vault's current value on the target by hand, then `{resume}`"
        ),
        Cause::Reflection => format!(
            "a live secret was withheld from the plugin: see which and where in the message; before the promotion `keywheel run cancel {run}`; once the target or the plugin shows it no more, `{resume}`"
        ),
        Cause::Slots => format!(
            "look at the target's two keys: neither is what the vault or this run holds; then `{resume}`"
        ),
    }
}
