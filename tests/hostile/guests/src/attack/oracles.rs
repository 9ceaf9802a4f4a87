//! Questions whose answers tell something of a secret: whether it equals a guess, how long it is, what is in it.

use keywheel_sdk::account::password;
use keywheel_sdk::bindings::keywheel::core::secrets::{Composer, PasswordPolicy, conceal, generate_password};
use keywheel_sdk::resp::Piece;
use keywheel_sdk::{Error, Run, runtime};

use super::Attack;
use crate::{Config, honest, worked};

pub(super) const ALL: &[(&str, Attack)] = &[
    ("compare-a-guess", compare_a_guess),
    ("compare-composed", compare_composed),
    ("compare-for-ever", compare_for_ever),
    ("derive-composed", derive_composed),
    ("public-part-of-a-secret", public_part_of_a_secret),
    ("break-out-of-json", break_out_of_json),
    ("log-in-with-a-guess", log_in_with_a_guess),
    ("a-guess-as-password", a_guess_as_password),
    ("text-as-password", text_as_password),
    ("weak-password", weak_password),
    ("measure-by-a-frame", measure_by_a_frame),
    ("measure-by-the-vault", measure_by_the_vault),
];

fn compare_a_guess(run: &Run, config: &Config) -> Result<(), Error> {
    let guess = conceal(config.with().as_bytes(), "text/plain")?;
    let equal = run.input("planted")?.matches(&guess)?;
    Err(worked(&format!("it was told that its guess is {equal}")))
}

/// The guess with a secret of nothing in it, so that it is not the guest's alone.
fn compare_composed(run: &Run, config: &Config) -> Result<(), Error> {
    let composer = Composer::new("text/plain");
    composer.text(config.with())?;
    composer.secret(&run.input("admin")?, "raw")?;
    let equal = run.input("planted")?.matches(&Composer::finish(composer)?)?;
    Err(worked(&format!("it was told that its composition is {equal}")))
}

/// One bit each, for as long as it lasts.
fn compare_for_ever(run: &Run, _config: &Config) -> Result<(), Error> {
    let planted = run.input("planted")?;
    for asked in 0..100_u32 {
        runtime::log(runtime::Level::Info, &format!("comparison {asked}"), &[]);
        planted.matches(&password(48)?)?;
    }
    Err(worked("it compared a hundred times"))
}

/// Of known text and a secret: a hash that the target shows is then a guess that can be tried at home.
fn derive_composed(run: &Run, _config: &Config) -> Result<(), Error> {
    let composer = Composer::new("text/plain");
    composer.text("known-to-me")?;
    composer.secret(&run.input("planted")?, "raw")?;
    Composer::finish(composer)?.derive("redis.sha256", "")?;
    Err(worked("it has a hash of known text and a secret"))
}

/// Puts a secret into the place that is public in every document.
fn public_part_of_a_secret(run: &Run, _config: &Config) -> Result<(), Error> {
    let composer = Composer::new("application/json");
    composer.text(r#"{"username":"nobody","password":""#)?;
    composer.secret(&password(48)?, "json")?;
    composer.text(r#""}"#)?;
    let document = Composer::finish(composer)?.with_part("json", "/username", &run.input("planted")?)?;
    let name = document.public_part("json", "/username")?;
    Err(worked(&format!("a secret of {} characters was read as a user name", name.len())))
}

/// Fails where the secret holds a quote: what fails tells a character.
fn break_out_of_json(run: &Run, _config: &Config) -> Result<(), Error> {
    let composer = Composer::new("application/json");
    composer.text(r#"{"a":""#)?;
    composer.secret(&run.input("planted")?, "raw")?;
    composer.text(r#""}"#)?;
    Composer::finish(composer)?;
    Err(worked("a secret went into a document as it is: whether that works tells what is in it"))
}

/// A shape for it is declared and granted: `AUTH user {state:guess}`.
fn log_in_with_a_guess(_run: &Run, config: &Config) -> Result<(), Error> {
    let guess = conceal(config.with().as_bytes(), "text/plain")?;
    runtime::set_secret_state("guess", &guess)?;
    let answer = honest::connect(config)?.call(&[
        [Piece::Text("AUTH")],
        [Piece::Text(&config.user)],
        [Piece::Secret(&guess)],
    ])?;
    Err(worked(&format!("it tried a guess: {answer:?}")))
}

fn a_guess_as_password(run: &Run, config: &Config) -> Result<(), Error> {
    run.set_pending(&conceal(config.with().as_bytes(), "text/plain")?)?;
    Err(worked("a value that it knows became the credential"))
}

fn text_as_password(run: &Run, config: &Config) -> Result<(), Error> {
    let composer = Composer::new("text/plain");
    composer.text(config.with())?;
    run.set_pending(&Composer::finish(composer)?)?;
    Err(worked("a text that it wrote became the credential"))
}

/// The host generates it, of two characters.
fn weak_password(run: &Run, _config: &Config) -> Result<(), Error> {
    let policy = PasswordPolicy::new(40);
    policy.alphabet("ab")?;
    run.set_pending(&generate_password(&policy)?)?;
    Err(worked("a password of 40 bits became the credential"))
}

/// As much text beside the secret as one frame may just not have: what it is refused with would tell which of both is longer.
fn measure_by_a_frame(run: &Run, config: &Config) -> Result<(), Error> {
    let filler = "x".repeat((64 << 10) - 64);
    let said = honest::redis(run, config)?.call(&[
        &[Piece::Text("SET")][..],
        &[Piece::Text("k")],
        &[Piece::Text(&filler), Piece::Secret(&run.input("planted")?)],
    ])?;
    Err(worked(&format!("it was sent: {said:?}")))
}

/// As much known text around the secret as the vault may just not keep of one value.
fn measure_by_the_vault(run: &Run, _config: &Config) -> Result<(), Error> {
    let block = conceal(&[b'x'; 15_000], "text/plain")?;
    let composer = Composer::new("text/plain");
    for _ in 0..63 {
        composer.secret(&block, "raw")?;
    }
    composer.text(&"x".repeat((1 << 20) - 63 * 15_000 - 64))?;
    composer.secret(&run.input("planted")?, "raw")?;
    let kept = Composer::finish(composer).and_then(|whole| runtime::set_secret_state("measure", &whole));
    // Either answer tells it whether the secret has more than 64 bytes.
    Err(worked(&format!("it was told whether it fits: {:?}", kept.is_ok())))
}
