//! A plugin that has come to know a secret (a target told it in a form that no scan can know) tries to say it: in everything that
//! takes a text. Wherever the value would be kept, shown or sent, the step ends as a reflection; and no row, file or line has it.

use keywheel_hostile::{Attack, On, Seen, attack_with, hidden};

/// The old credential has letters and digits alone, so that it can stand in a name.
#[track_caller]
fn tells(does: &str, on: On, step: &str) -> Seen {
    let plugin = if on == On::Redis {
        "hostile-redis"
    } else {
        "hostile-postgres"
    };
    let attack = Attack {
        plugin,
        on,
        does,
        step,
        ..Attack::HONEST
    };
    attack_with(&attack, |subject| hidden(&subject.old))
}

macro_rules! outlets {
    ($($name:ident = $does:literal on $server:ident;)+) => {
        $(#[test]
        fn $name() {
            tells($does, On::$server, "create").parks("create", "plugin.reflection", "reflection");
        })+
    };
}

outlets! {
    a_log_line = "tell-a-log" on Redis;
    a_log_field = "tell-a-log-field" on Redis;
    a_log_fields_name = "tell-a-log-field-name" on Redis;
    a_state_value = "tell-a-state-value" on Redis;
    a_state_key = "tell-a-state-key" on Redis;
    a_secret_states_key = "tell-a-secret-states-key" on Redis;
    an_annotation = "tell-an-annotation" on Redis;
    an_annotations_key = "tell-an-annotations-key" on Redis;
    an_idempotency_keys_label = "tell-an-idempotency-key" on Redis;
    an_outputs_name = "tell-an-output" on Redis;
    a_question = "tell-a-question" on Redis;
    a_questions_key = "tell-a-questions-key" on Redis;
    an_errors_message = "tell-an-error" on Redis;
    a_panics_message = "tell-a-panic" on Redis;
    an_errors_code = "tell-an-errors-code" on Redis;
    a_media_type = "tell-a-media-type" on Redis;
    a_concealed_media_type = "tell-a-concealed-media-type" on Redis;
    a_name_in_a_document = "tell-a-name-in-json" on Redis;
    a_derivations_name = "tell-a-derivation" on Redis;
    a_host_to_look_up = "tell-a-host" on Redis;
    a_server_name_in_tls = "tell-a-server-name" on Redis;
    a_frame_that_is_refused = "tell-a-frame" on Redis;
    a_user_name = "tell-a-user-name" on Postgres;
    a_database = "tell-a-database" on Postgres;
    an_sql_identifier = "tell-an-identifier" on Postgres;
}

#[test]
fn a_plan() {
    tells("tell", On::Redis, "plan").parks("plan", "plugin.reflection", "reflection");
}

#[test]
fn why_a_person_has_to_act() {
    tells("blocked", On::Redis, "create").parks("create", "plugin.reflection", "reflection");
}

#[test]
fn why_it_cannot_be_done() {
    tells("impossible", On::Redis, "apply").parks("apply", "plugin.reflection", "reflection");
}

/// The component imports WASI's files, as those of interpreted languages do. There is no folder in which it could write a name.
#[test]
fn a_file_name() {
    tells("tell-a-file-name", On::Redis, "create").gives_up(40, "create", "attack.no-folder");
}

/// Not granted: refused before the name is looked at.
#[test]
fn another_secrets_name() {
    let seen = tells("tell-a-vaults-name", On::Redis, "create");
    seen.parks("create", "manifest.capability", "withdrawn")
        .denied("manifest.capability");
}

#[test]
fn a_notification() {
    let seen = tells("tell-people", On::Redis, "create");
    seen.parks("create", "host.not-offered", "withdrawn")
        .denied("host.not-offered");
}

#[test]
fn a_question_for_a_secret() {
    let seen = tells("ask-for-a-secret", On::Redis, "create");
    seen.parks("create", "host.not-offered", "withdrawn")
        .denied("host.not-offered");
}

/// Kept, encrypted like any secret; and never a credential.
#[test]
fn a_token_that_begins_with_it() {
    tells("tell-a-token", On::Redis, "create").goes_through();
}
#[test]
fn a_concealed_secret() {
    tells("tell-a-concealed-secret", On::Redis, "create").goes_through();
}
