//! What a person is told of a parked run: the way out of each cause.

use keywheel_config::Rotation;
use keywheel_model::{RunId, SecretName, SlotClass};
use keywheel_workflow::{Cause, Choice, Parked, Phase, State, Wish};

/// One node of a target accepts a credential, and another refuses it.
pub(crate) const NODES_DIFFER: &str = "nodes.differ";

/// In what a plugin says of a login: every connection that the account may have is taken. Says nothing of the password.
const NO_CONNECTION_LEFT: &str = "SQLSTATE 53300";

/// The way out of a run that is parked for its target's sake, by what it waits for and where it stands.
pub(crate) fn way_out_of_target(state: &State, parked: &Parked, run: &RunId) -> String {
    if parked.detail.contains(NO_CONNECTION_LEFT) {
        return no_connection_left(state, parked, run);
    }
    let words = way_out(Cause::Target, run);
    if !state.promoted || !state.takes(Choice::ApplyCurrent) {
        return words;
    }
    format!(
        "{words}; if the target, or one of its nodes, does not have the vault's current value any more, that only asks again: \
         `keywheel run resume {run} --apply-current` puts it on each of them"
    )
}

fn no_connection_left(state: &State, parked: &Parked, run: &RunId) -> String {
    let valid = match parked.back_to {
        Phase::Prove if state.settings.class == SlotClass::C => {
            "; the target has been given the new value and refuses the old one, which is still current in the vault. \
             `run cancel` sets the old one there again at once, and stays parked until its proof finds a connection, too"
        }
        Phase::ProveUndone => {
            "; the old value, current in the vault, was set on the target again: only the login that proves it is missing"
        }
        _ => "",
    };
    format!(
        "end a session of the account, or raise its limit (PostgreSQL: ALTER ROLE … CONNECTION LIMIT), then `keywheel run resume {run}`{valid}"
    )
}

/// The same of one that somebody has asked to be given up, while its plugin or its grant is gone.
pub(crate) fn way_out_as_wished(run: &RunId, wish: Wish) -> String {
    let words = match wish {
        Wish::Cancel => "the cancel",
        Wish::RollBack => "the roll-back",
        Wish::GiveUp => "the end",
    };
    format!(
        "put the plugin and its grant back (`keywheel plugin list`), then `keywheel run resume {run}`: {words} that was asked for is done then"
    )
}

/// The ways out where the key file that is named is gone.
pub const KEY_FILE_IS_GONE: &str = "where the service manager gives it to the host, start the service: commands go through it; else put the file back from its copy (mode 0400, of the host's user); or give a passphrase or the recovery identity on a \
     terminal, and make a new key file with `keywheel vault slot add --key-file FILE`: docs/operators.md, Key slots";

/// How a vault stands that has no key file, for it is meant to be so.
pub const NEEDS_PASSPHRASE: &str = "sealed (needs the passphrase)";

/// What a person can do about a parked run.
pub(crate) fn way_out(cause: Cause, run: &RunId) -> String {
    let words = way_back(cause, run);
    let may_be_gone = matches!(
        cause,
        Cause::Target
            | Cause::Account
            | Cause::NoAccount
            | Cause::Tls
            | Cause::NothingAccepted
            | Cause::Withdrawn
    );
    if !may_be_gone {
        return words;
    }
    format!(
        "{words}; if that target is gone for good, or stands elsewhere now: `keywheel run cancel {run} --give-up --reason TEXT` ends the run as it \
         stands (docs/operators.md, A target that is gone)"
    )
}

fn way_back(cause: Cause, run: &RunId) -> String {
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
                "the target took none of the kept values, and the vault's was put on again: find out who set another one there, or which password rule kept the new one out, then `{resume}`"
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
            format!(
                "put the plugin and its grant back (`keywheel plugin list`), or write the lines that the message names into the grant, then `{resume}`"
            )
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
        Cause::NotAsked => format!(
            "let the target ask this account for its password (PostgreSQL: `scram-sha-256` in pg_hba.conf; Redis: `ACL SETUSER … resetpass >…`), then `{resume}`; a value that it refuses then is given up, and another can be imported"
        ),
        Cause::NoAccount => format!(
            "make the account on the target, with the password that was imported and the rights it needs, then `{resume}`; or `keywheel run cancel {run}`, if it is another server or name that is meant"
        ),
        Cause::Tls => format!(
            "no retry helps: make the server's certificate and `host`, `trust` fit (docs/operators.md, Certificates), then `{resume}`; the run keeps the settings it began with but for the files of `[trust]`: if `host` or `trust` was wrong, `keywheel run cancel {run}` before the promotion, and start again"
        ),
        Cause::Slots => format!(
            "look at the target's two keys: neither is what the vault or this run holds; then `{resume}`"
        ),
    }
}

/// The way past a failed step, by its code and its words; none where they say nothing of it. With the rotation it names the secret.
pub fn way_past(code: &str, message: &str, rotation: Option<&Rotation>) -> Option<String> {
    // An SQLSTATE stands without its prefix here.
    let words = match code.strip_prefix("sql.").unwrap_or(code) {
        "tls.name" => {
            "write the name that is in the server's certificate as `host`, or have one made for this name: docs/operators.md, Certificates"
        }
        "tls.untrusted" => {
            "name the authority that issued the server's certificate in a trust set, or have the certificate made anew: docs/operators.md, Certificates"
        }
        "tls.missing" => {
            "is this the port of that server? Then switch TLS on in it; or allow plaintext in words: `transport = \"plaintext\"` in the rotation's `config`, and in the grant"
        }
        "tls.clock" => "set the clock of this machine, and keep it set (NTP)",
        "login.not-asked" => {
            "let the target ask this account for its password (PostgreSQL: `scram-sha-256` in pg_hba.conf; Redis: `ACL SETUSER … resetpass >…`)"
        }
        "account.missing" => "make the account on the target; or is it another server or name that is meant?",
        code if is_admin_refused(code) => return Some(admin_refused(rotation)),
        "run.input" => {
            return rotation.map(|rotation| {
                let inputs: Vec<_> = rotation
                    .inputs
                    .iter()
                    .map(|(name, secret)| of_input(rotation, name, secret))
                    .collect();
                inputs.join(", ")
            });
        }
        NODES_DIFFER => {
            "one node has the credential, another was set back or changed by hand: `keywheel run resume RUN --apply-current`, of a run that is parked \
             or waits for consumers, puts the vault's current value on each; else set it on that node by hand"
        }
        "nodes.behind" => {
            "it is asked again: has it replayed the change (PostgreSQL: `SELECT pg_wal_replay_resume()` there, its log), and do its own rules let the account in (pg_hba.conf)?"
        }
        "53300" => {
            "end a session of that role, or raise its CONNECTION LIMIT or the server's max_connections"
        }
        "28000" => "let the administrator log in from this machine (PostgreSQL: pg_hba.conf, LOGIN)",
        "3d000" => "correct `database` in the rotation's configuration: the server has none of that name",
        "net.other-server" => {
            "correct `host` and `port` in the rotation's configuration, or use the plugin of the server that is there"
        }
        "net.forbidden-address" if message.contains(keywheel_target::dial::LOOPBACK) => {
            "write `localhost`, or the address itself, as `host` in the rotation's configuration and in the grant"
        }
        "net.unresolved" => "correct `host`, or mend DNS",
        "net.timeout" if message.contains(keywheel_target::tls::SHAKING_HANDS) => {
            "does the server speak TLS on this port, from the first byte? Switch it on there, or allow plaintext in words, in the rotation's configuration and in the grant; else see that the server answers at all"
        }
        "net.unreachable" | "net.timeout" | "net.lost" => {
            "see that the server runs, that it is its port, and that this machine reaches it (firewall, `host`, `port`)"
        }
        "net.unsafe-stream" if message.contains("in plaintext") => return Some(unsafe_stream(rotation)),
        "net.unsafe-stream" => {
            "no grant allows it: the plugin leaves the server's certificate unchecked, which is a fault of the plugin"
        }
        "run.budget" => {
            "look why logins failed; then wait, or raise `probes` in the rotation, say to `probes = { logins = 10 }` (an open run takes that): `run resume` tries at once"
        }
        "policy.denied" => "write those lines if the plugin is to do this, and try again",
        "plugin.cpu" => {
            "is this machine overloaded? Try again; `cpu` in `[limits]` of keywheel.toml is how long a plugin may compute"
        }
        _ => return None,
    };
    Some(words.to_owned())
}

/// The administrator's login was refused. A subject's refusal is a verdict, and none of these codes.
fn is_admin_refused(code: &str) -> bool {
    matches!(
        code.strip_prefix("sql.").unwrap_or(code),
        "admin.refused" | "28p01" | "1045"
    )
}

/// Servers do not tell a wrong name from a wrong password.
fn admin_refused(rotation: Option<&Rotation>) -> String {
    let refused = "the target refuses the administrator's name or password: see `admin` in the";
    let Some(rotation) = rotation else {
        return format!(
            "{refused} rotation's configuration; if it is the password, `keywheel secret import` it under the name that `inputs` of the rotation has"
        );
    };
    let inputs = &rotation.inputs;
    let input = match inputs.len() {
        1 => inputs.iter().next(),
        _ => inputs.iter().find(|(name, _)| name.as_str() == "admin"),
    };
    let import = input.map_or_else(
        || "`keywheel secret import` it under the name that `inputs` has".to_owned(),
        |(name, secret)| of_input(rotation, name, secret),
    );
    format!(
        "{refused} configuration of rotation {}; if it is the password, {import}",
        rotation.name
    )
}

/// Which secret an input is, and the command that puts it there.
pub(crate) fn of_input(rotation: &Rotation, input: &str, secret: &SecretName) -> String {
    format!(
        "input `{input}` of rotation {} is secret {secret}: `keywheel secret import {secret}`",
        rotation.name
    )
}

/// The way out of a run that is parked over a failure which says more than that something is wrong with its target.
pub(crate) fn way_out_of_code(
    code: &str,
    state: &State,
    run: &RunId,
    rotation: Option<&Rotation>,
) -> Option<String> {
    if is_admin_refused(code) {
        return Some(format!(
            "{}, then `keywheel run resume {run}`",
            admin_refused(rotation)
        ));
    }
    (code == NODES_DIFFER && state.takes(Choice::ApplyCurrent)).then(|| {
        format!(
            "one node was set back, or changed by hand: `keywheel run resume {run} --apply-current` puts the vault's current value on each of them; \
             once they agree again, `keywheel run resume {run}`"
        )
    })
}

fn unsafe_stream(rotation: Option<&Rotation>) -> String {
    let explain = rotation.map_or_else(
        || "`keywheel policy explain` shows what is granted".to_owned(),
        |rotation| {
            format!(
                "`keywheel policy explain {}` shows what is granted",
                rotation.name
            )
        },
    );
    format!(
        "use TLS; or, to send secrets in plaintext, write those lines (`plaintext` in `hosts` of the grant): {explain}"
    )
}
