//! Questions whose answers would tell something of a secret, bit by bit; and credentials that the plugin knows (rules H3, H8, H10).

use keywheel_hostile::{Attack, Seen, attack};

#[track_caller]
fn ask(does: &str, step: &str) -> Seen {
    attack(&Attack {
        plugin: "hostile-careless",
        does,
        step,
        with: "a guess that is long enough",
        ..Attack::HONEST
    })
}

#[test]
fn whether_it_equals_a_guess() {
    ask("compare-a-guess", "create")
        .parks("create", "secret.matches", "withdrawn")
        .denied("secret.matches");
}

#[test]
fn whether_it_equals_a_composition() {
    ask("compare-composed", "create")
        .parks("create", "secret.matches", "withdrawn")
        .denied("secret.matches");
}

/// Sixteen bits of a version, ever.
#[test]
fn comparing_for_as_long_as_it_lasts() {
    let seen = ask("compare-for-ever", "create");
    seen.gives_up(40, "create", "secret.matches");
}

#[test]
fn a_hash_of_known_text_and_a_secret() {
    ask("derive-composed", "create")
        .parks("create", "secret.derive", "withdrawn")
        .denied("secret.derive");
}

#[test]
fn a_secret_in_the_place_of_a_user_name() {
    ask("public-part-of-a-secret", "create")
        .parks("create", "secret.public-part", "withdrawn")
        .denied("secret.public-part");
}

/// The planted secret has a quote in it; one without fails in the same way (`capability/src/secrets/composer.rs`).
#[test]
fn whether_it_holds_a_quote() {
    ask("break-out-of-json", "create").gives_up(40, "create", "secret.encoding");
}

/// Declared and granted, and refused all the same: nobody guesses online.
#[test]
fn a_login_with_a_guess() {
    ask("log-in-with-a-guess", "create")
        .parks("create", "secret.sink", "withdrawn")
        .denied("secret.sink");
}

#[test]
fn a_guess_as_the_new_password() {
    ask("a-guess-as-password", "create")
        .parks("create", "secret.not-a-credential", "withdrawn")
        .denied("secret.not-a-credential");
}

#[test]
fn a_text_as_the_new_password() {
    ask("text-as-password", "create")
        .parks("create", "secret.not-a-credential", "withdrawn")
        .denied("secret.not-a-credential");
}

#[test]
fn a_weak_password() {
    ask("weak-password", "create").gives_up(40, "create", "secret.password-policy");
}

/// Whether a whole fits says how long the secret in it is, where the plugin chose the rest.
#[test]
fn how_long_it_is_by_what_a_frame_may_hold() {
    ask("measure-by-a-frame", "create")
        .gives_up(40, "create", "shape.none")
        .denied("shape.none");
}
#[test]
fn how_long_it_is_by_what_the_vault_keeps() {
    ask("measure-by-the-vault", "create").parks("create", "plugin.composed", "withdrawn");
}
