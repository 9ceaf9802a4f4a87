//! Ways to say a secret that the guest has come to know: everything that takes a text and is kept, shown or sent somewhere.

use keywheel_sdk::account::password;
use keywheel_sdk::bindings::keywheel::core::secrets::{Composer, conceal, generate_token};
use keywheel_sdk::bindings::keywheel::net::tcp::{Channel, TlsOptions};
use keywheel_sdk::bindings::keywheel::notify::notify;
use keywheel_sdk::bindings::keywheel::vault::vault;
use keywheel_sdk::error::error;
use keywheel_sdk::resp::Piece;
use keywheel_sdk::sql::{Piece as Part, Session as Database, connector};
use keywheel_sdk::{Error, ErrorKind, Run, runtime};

use super::{Attack, pending};
use crate::{Config, honest, worked};

pub(super) const ALL: &[(&str, Attack)] = &[
    ("tell-a-log", |_, config| log(&plain(config), &[])),
    ("tell-a-log-field", |_, config| log("x", &[("field".to_owned(), plain(config))])),
    ("tell-a-log-field-name", |_, config| log("x", &[(plain(config), "x".to_owned())])),
    ("tell-a-state-value", |_, config| runtime::set_state("key", plain(config).as_bytes())),
    ("tell-a-state-key", |_, config| runtime::set_state(&plain(config), b"value")),
    ("tell-a-secret-states-key", |_, config| runtime::set_secret_state(&plain(config), &password(48)?)),
    ("tell-an-annotation", |run, config| run.annotate("key", &plain(config))),
    ("tell-an-annotations-key", |run, config| run.annotate(&plain(config), "value")),
    ("tell-an-idempotency-key", |run, config| log(&run.idempotency_key(&plain(config)), &[])),
    ("tell-an-output", |run, config| run.set_output(&plain(config), &password(48)?)),
    ("tell-a-question", |run, config| run.ask("key", &plain(config)).map(drop)),
    ("tell-a-questions-key", |run, config| run.ask(&plain(config), "which?").map(drop)),
    ("ask-for-a-secret", |run, _| run.ask("key", "which password is it?").map(drop)),
    ("tell-an-error", |_, config| Err(error(ErrorKind::Invalid, "attack.tells", plain(config)))),
    ("tell-an-errors-code", |_, config| Err(error(ErrorKind::Invalid, &plain(config), "x"))),
    ("tell-a-panic", |_, config| panic!("{}", plain(config))),
    ("tell-a-media-type", tell_a_media_type),
    ("tell-a-concealed-media-type", tell_a_concealed_media_type),
    ("tell-a-name-in-json", tell_a_name_in_json),
    ("tell-a-derivation", |run, config| run.input("planted")?.derive(&plain(config), "").map(drop)),
    ("tell-a-token", tell_a_token),
    ("tell-a-host", |_, config| host(config, &format!("{}.example", plain(config)), &config.host)),
    ("tell-a-server-name", |_, config| host(config, &config.host, &plain(config))),
    ("another-server-name", |_, config| host(config, &config.host, config.with())),
    ("tell-a-vaults-name", |_, config| vault::get(&plain(config), None).map(drop)),
    ("tell-people", |_, config| notify::send("key", notify::Severity::Info, "title", &plain(config))),
    ("tell-a-frame", tell_a_frame),
    ("tell-a-user-name", |run, config| login(run, config, &plain(config), "postgres")),
    ("tell-a-database", |run, config| login(run, config, &config.admin, &plain(config))),
    ("tell-an-identifier", tell_an_identifier),
    ("tell-a-concealed-secret", |_, config| {
        runtime::set_secret_state("key", &conceal(plain(config).as_bytes(), "text/plain")?)
    }),
];

/// What the guest has come to know: the test tells it in a form that no scan can know, each letter as the one after it.
pub(crate) fn plain(config: &Config) -> String {
    config.with().bytes().map(|byte| char::from(byte - 1)).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "every attack may fail")]
fn log(message: &str, fields: &[(String, String)]) -> Result<(), Error> {
    runtime::log(runtime::Level::Warn, message, fields);
    Ok(())
}

fn tell_a_media_type(run: &Run, config: &Config) -> Result<(), Error> {
    let composer = Composer::new(&format!("text/{}", plain(config)));
    composer.secret(&password(48)?, "raw")?;
    run.set_pending(&Composer::finish(composer)?)
}

fn tell_a_concealed_media_type(_run: &Run, config: &Config) -> Result<(), Error> {
    let known = conceal(b"nothing at all", &format!("text/{}", plain(config)))?;
    runtime::set_secret_state("key", &known)
}

/// The host keeps where in a document a secret stands.
fn tell_a_name_in_json(run: &Run, config: &Config) -> Result<(), Error> {
    let composer = Composer::new("application/json");
    composer.text(&format!(r#"{{"{}":""#, plain(config)))?;
    composer.secret(&password(48)?, "json")?;
    composer.text(r#""}"#)?;
    run.set_pending(&Composer::finish(composer)?)
}

/// As the beginning of a token, which a hash on the target then gives away to nobody, and the vault keeps.
fn tell_a_token(_run: &Run, config: &Config) -> Result<(), Error> {
    runtime::set_secret_state("key", &generate_token(&plain(config), 16, "hex")?)
}

/// The name is looked up by somebody's server, or stands in the greeting of TLS.
fn host(config: &Config, name: &str, server_name: &str) -> Result<(), Error> {
    Channel::connect_tls(name, config.port, &TlsOptions::new(server_name), 1000)?;
    Err(worked("it connected"))
}

/// In a command that has a secret in it, so that the refusal says what to declare.
fn tell_a_frame(run: &Run, config: &Config) -> Result<(), Error> {
    let fresh = pending(run)?;
    let word = plain(config);
    let said =
        honest::redis(run, config)?.call(&[[Piece::Text("SET")], [Piece::Text(&word)], [Piece::Secret(&fresh)]])?;
    Err(worked(&format!("it was sent: {said:?}")))
}

fn login(run: &Run, config: &Config, user: &str, database: &str) -> Result<(), Error> {
    let login = connector("postgres", (&config.host, config.port), false, Some(&config.trust), (user, database));
    login.password(&run.input("admin")?);
    Database::open(login).map(drop)
}

fn tell_an_identifier(run: &Run, config: &Config) -> Result<(), Error> {
    let fresh = pending(run)?.derive("postgres.scram-sha-256", "")?;
    let name = plain(config);
    let pieces = [Part::Text("ALTER ROLE "), Part::Name(&name), Part::Text(" PASSWORD "), Part::Secret(&fresh)];
    honest::database(run, config)?.execute(&pieces)?;
    Err(worked("it was sent"))
}
