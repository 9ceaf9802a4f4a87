//! A secret on its way to where it has no business: another account, another name, another server, another step.

use keywheel_sdk::account::password;
use keywheel_sdk::bindings::keywheel::core::secrets::Composer;
use keywheel_sdk::bindings::keywheel::sql::sql::{Connection, Connector, Statement};
use keywheel_sdk::bindings::keywheel::vault::vault::{self, Write};
use keywheel_sdk::error::error;
use keywheel_sdk::nodes::Node;
use keywheel_sdk::resp::{Piece, Session};
use keywheel_sdk::sql::Piece as Part;
use keywheel_sdk::{Error, ErrorKind, Run, Secret, runtime};

use super::{Attack, pending};
use crate::{Config, honest, worked};

const TIMEOUT_MS: u32 = 5_000;

pub(super) const ALL: &[(&str, Attack)] = &[
    ("echo", |run, config| send(run, config, &["ECHO"])),
    ("store", |run, config| send(run, config, &["SET", "stash"])),
    ("store-in-another-account", |run, config| send(run, config, &["ACL", "SETUSER", "other"])),
    ("store-without-a-hash", |run, config| send(run, config, &["ACL", "SETUSER", &config.user])),
    ("select", |run, config| statement(run, config, "SELECT ", "")),
    ("insert", |run, config| statement(run, config, "INSERT INTO stash VALUES (", ")")),
    ("second-statement", |run, config| statement(run, config, "ALTER ROLE nobody PASSWORD ", "; SELECT 1")),
    ("write-secret", write_secret),
    ("swallow", swallow),
    ("unstored", unstored),
    ("set-in-plan", set_in_plan),
    ("write-in-plan", write_in_plan),
    ("another-server", another_server),
    ("another-scheme", another_scheme),
    ("another-secret", |_, config| vault::get(config.with(), None).and(Err(worked("it was given another secret")))),
    ("write-another-secret", write_another_secret),
    ("another-input", |run, config| run.input(config.with()).and(Err(worked("it was given another input")))),
    ("input-as-pending", |run, _| {
        run.set_pending(&run.input("planted")?).and(Err(worked("another secret is pending")))
    }),
    ("current-as-pending", current_as_pending),
    ("hash-as-pending", hash_as_pending),
    ("input-in-a-document", input_in_a_document),
    ("keep-a-handle", keep_a_handle),
    ("use-the-kept-handle", use_the_kept_handle),
    ("guess-a-handle", |_, _| use_handle(77)),
    ("leave-a-transaction-open", leave_a_transaction_open),
    ("read-an-error", read_an_error),
    ("spoil-the-session", spoil_the_session),
    ("another-host", another_host),
    ("odd-hosts", odd_hosts),
    ("sockets", sockets),
    ("remove-current", remove_current),
];

/// The pending version, in the clear, as the last word of a command.
fn send(run: &Run, config: &Config, words: &[&str]) -> Result<(), Error> {
    let fresh = pending(run)?;
    let mut arguments: Vec<[Piece<'_>; 1]> = words.iter().map(|word| [Piece::Text(word)]).collect();
    arguments.push([Piece::Secret(&fresh)]);
    let said = honest::redis(run, config)?.call(&arguments)?;
    Err(worked(&format!("it was sent: {said:?}")))
}

fn statement(run: &Run, config: &Config, before: &'static str, after: &'static str) -> Result<(), Error> {
    let fresh = pending(run)?;
    let pieces = [Part::Text(before), Part::Secret(&fresh), Part::Text(after)];
    honest::database(run, config)?.query(&pieces)?;
    Err(worked("it was sent"))
}

/// As bytes, which no shape describes.
fn write_secret(run: &Run, config: &Config) -> Result<(), Error> {
    use keywheel_sdk::bindings::keywheel::net::tcp::{Channel, TlsOptions};
    let options = TlsOptions::new(&config.host);
    options.trust(&config.trust);
    let channel = Channel::connect_tls(&config.host, config.port, &options, TIMEOUT_MS)?;
    channel.write_secret(&run.input("planted")?)?;
    Err(worked("it was sent as it is"))
}

/// An unfinished script, so that the login that comes next on the channel is its argument: it says each letter as the one after it.
fn swallow(run: &Run, config: &Config) -> Result<(), Error> {
    use keywheel_sdk::bindings::keywheel::net::frames::{Frame, receive};
    use keywheel_sdk::bindings::keywheel::net::tcp::{Channel, TlsOptions};
    let options = TlsOptions::new(&config.host);
    options.trust(&config.trust);
    let channel = Channel::connect_tls(&config.host, config.port, &options, TIMEOUT_MS)?;
    channel.write(b"AUTH anyone anything\r\n")?;
    channel.read(64, TIMEOUT_MS)?;
    let script = "return (ARGV[1]:gsub('.', function(c) return string.char((c:byte() + 1) % 256) end))";
    let script = format!("*4\r\n$4\r\nEVAL\r\n${}\r\n{script}\r\n$1\r\n0\r\n$62\r\n", script.len());
    channel.write(script.as_bytes())?;
    let frame = Frame::new("resp");
    frame.bytes(b"AUTH");
    frame.bytes(config.admin.as_bytes());
    frame.secret(&run.input("admin")?, "raw");
    Frame::send(frame, &channel)?;
    let answer = receive(&channel, "resp", 4096, TIMEOUT_MS)?;
    if answer.len() > 8 { Err(worked(&format!("it was shown {} bytes", answer.len()))) } else { Ok(()) }
}

/// A password that a crash of the host would lose.
fn unstored(run: &Run, config: &Config) -> Result<(), Error> {
    let hash = password(48)?.derive("redis.sha256", "")?;
    honest::set_user(&honest::redis(run, config)?, config, "#", &hash)?;
    Err(worked("the target took a password that nobody has"))
}

fn set_in_plan(run: &Run, config: &Config) -> Result<(), Error> {
    let current = run.current()?.ok_or_else(|| worked("there is no current version"))?;
    honest::set_user(&honest::redis(run, config)?, config, "#", &current.derive("redis.sha256", "")?)?;
    Err(worked("the target was changed in `plan`"))
}

fn write_in_plan(_run: &Run, config: &Config) -> Result<(), Error> {
    use keywheel_sdk::bindings::keywheel::net::tcp::{Channel, TlsOptions};
    let options = TlsOptions::new(&config.host);
    options.trust(&config.trust);
    let channel = Channel::connect_tls(&config.host, config.port, &options, TIMEOUT_MS)?;
    channel.write(b"FLUSHALL\r\n")?;
    Err(worked("bytes were written in `plan`"))
}

/// On this machine, where the attacker listens.
fn another_server(run: &Run, config: &Config) -> Result<(), Error> {
    let port = config.with().parse().unwrap_or(1);
    let session = Session::connect(&Node { host: config.host.clone(), port }, false, Some(&config.trust), TIMEOUT_MS)?;
    session.authenticate(&config.admin, &run.input("admin")?)?;
    Err(worked("a secret went to another server"))
}

/// The same server, where anybody on the way can read.
fn another_scheme(run: &Run, config: &Config) -> Result<(), Error> {
    let node = Node { host: config.host.clone(), port: config.with().parse().unwrap_or(1) };
    let session = Session::connect(&node, true, None, TIMEOUT_MS)?;
    session.authenticate(&config.admin, &run.input("admin")?)?;
    Err(worked("a secret went out in the clear"))
}

fn write_another_secret(run: &Run, config: &Config) -> Result<(), Error> {
    Write::commit(Write::new(config.with(), &run.input("planted")?))?;
    Err(worked("a secret was stored under another name"))
}

/// Nothing would have been rotated, and the old credential would have been called new.
fn current_as_pending(run: &Run, _config: &Config) -> Result<(), Error> {
    let current = run.current()?.ok_or_else(|| worked("there is no current version"))?;
    run.set_pending(&current)?;
    Err(worked("the credential in use is the new one"))
}

fn hash_as_pending(run: &Run, _config: &Config) -> Result<(), Error> {
    let current = run.current()?.ok_or_else(|| worked("there is no current version"))?;
    run.set_pending(&current.derive("redis.sha256", "")?)?;
    Err(worked("a hash is pending, and the target lists it"))
}

/// Another secret as the password of a document that becomes the credential.
fn input_in_a_document(run: &Run, _config: &Config) -> Result<(), Error> {
    let composer = Composer::new("application/json");
    composer.text(r#"{"username":"app","password":""#)?;
    composer.secret(&password(48)?, "json")?;
    composer.text(r#""}"#)?;
    let document = Composer::finish(composer)?.with_part("json", "/password", &run.input("planted")?)?;
    run.set_pending(&document)?;
    Err(worked("another secret is pending"))
}

/// Notes the number of a handle, for a later step.
fn keep_a_handle(run: &Run, _config: &Config) -> Result<(), Error> {
    let secret = run.input("planted")?;
    let number = secret.handle();
    std::mem::forget(secret);
    use_handle(number).map_err(|problem| worked(&format!("its own handle is none: {}", problem.message)))?;
    runtime::set_state("handle", number.to_string().as_bytes())
}

/// The secret behind the number that an earlier step had for it.
fn use_the_kept_handle(_run: &Run, _config: &Config) -> Result<(), Error> {
    let kept = runtime::get_state("handle")?.unwrap_or_default();
    let number = String::from_utf8_lossy(&kept).parse().unwrap_or(0);
    use_handle(number)?;
    Err(worked("a handle outlived its step"))
}

#[expect(unsafe_code, reason = "a guest makes of its own memory what it likes: this is what the host has to stand")]
fn use_handle(number: u32) -> Result<(), Error> {
    let secret = unsafe { Secret::from_handle(number) };
    secret.derive("redis.sha256", "").map(|_| std::mem::forget(secret))
}

/// The administrator's connection, in a transaction.
fn transaction(run: &Run, config: &Config) -> Result<Connection, Error> {
    let login = Connector::new("postgres");
    login.host(&config.host, config.port);
    login.user(&config.admin);
    login.database("postgres");
    login.trust(&config.trust);
    login.password(&run.input("admin")?);
    let connection = Connector::open(login)?;
    connection.begin()?;
    Ok(connection)
}

fn leave_a_transaction_open(run: &Run, config: &Config) -> Result<(), Error> {
    let connection = transaction(run, config)?;
    if let Some(pending) = run.pending()? {
        let statement = Statement::new(&connection);
        statement.text("ALTER ROLE ")?;
        statement.identifier(&config.user)?;
        statement.text(" PASSWORD ")?;
        statement.secret_literal(&pending.derive("postgres.scram-sha-256", "")?)?;
        connection.execute(&statement)?;
    }
    // Neither committed nor rolled back, and not even closed.
    std::mem::forget(connection);
    Ok(())
}

/// What the server says of a statement with a secret in it quotes what it likes. The test has it fail.
fn read_an_error(run: &Run, config: &Config) -> Result<(), Error> {
    let verifier = pending(run)?.derive("postgres.scram-sha-256", "")?;
    let pieces =
        [Part::Text("ALTER ROLE "), Part::Name(&config.user), Part::Text(" PASSWORD "), Part::Secret(&verifier)];
    match honest::database(run, config)?.execute(&pieces) {
        Err(problem) if !problem.message.contains("canceling statement") => Err(problem),
        said => Err(worked(&format!("it was told: {said:?}"))),
    }
}

/// Leaves the administrator's session, which the host may use again, so that nobody can change anything in it.
fn spoil_the_session(run: &Run, config: &Config) -> Result<(), Error> {
    let connection = transaction(run, config)?;
    let statement = Statement::new(&connection);
    // Looks like a question, and changes the session; in a transaction that is kept, so that it would stay.
    statement.text("SELECT set_config('default_transaction_read_only', 'on', false)")?;
    connection.query(&statement)?;
    connection.commit()?;
    Err(error(ErrorKind::Invalid, "attack.left", "the session is spoilt"))
}

/// Where nobody has said that it may go.
fn another_host(_run: &Run, config: &Config) -> Result<(), Error> {
    dial(config, config.with())
}

fn dial(config: &Config, host: &str) -> Result<(), Error> {
    use keywheel_sdk::bindings::keywheel::net::tcp::{Channel, TlsOptions};
    let options = TlsOptions::new(&config.host);
    options.trust(&config.trust);
    Channel::connect_tls(host, config.port, &options, TIMEOUT_MS)?;
    Err(worked(&format!("it has reached {host:?}")))
}

/// Other ways to write the granted host, this machine, or where clouds keep their credentials. Each refusal is logged.
fn odd_hosts(_run: &Run, config: &Config) -> Result<(), Error> {
    let hosts = [
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "127.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "::ffff:a9fe:a9fe",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "metadata.google.internal",
        "user@localhost",
        "localhost@evil.example",
        "localhost#",
        "localhost/",
        "localhost\r\nHost: x",
        "localhost\0",
        "local\u{ad}host",
        "\u{ff4c}ocalhost",
        "",
    ];
    let mut last = worked("no host was tried");
    for host in hosts {
        last = dial(config, host).err().unwrap_or_else(|| worked(host));
        if last.code == "attack.worked" {
            break;
        }
        runtime::log(runtime::Level::Warn, &format!("refused {host:?}: {}", last.code), &[]);
    }
    Err(last)
}

/// Services of this machine, by the folders of their sockets. Each refusal is logged.
fn sockets(_run: &Run, config: &Config) -> Result<(), Error> {
    let mut last = worked("no socket was tried");
    for folder in ["/run/postgresql", "/run/../run/postgresql", "/tmp", "/", "./run", "@postgresql"] {
        for driver in ["postgres", "mysql", "mssql"] {
            for plaintext in [true, false] {
                let login = Connector::new(driver);
                login.host(folder, config.port);
                login.user(&config.admin);
                if plaintext {
                    login.plaintext();
                }
                last = Connector::open(login).err().unwrap_or_else(|| worked(folder));
                if last.code == "attack.worked" {
                    return Err(last);
                }
                runtime::log(runtime::Level::Warn, &format!("refused {folder:?}: {}", last.code), &[]);
            }
        }
    }
    Err(last)
}

/// What clients use, before anything else is proved to work.
fn remove_current(run: &Run, config: &Config) -> Result<(), Error> {
    let current = run.current()?.ok_or_else(|| worked("there is no current version"))?;
    let hash = current.derive("redis.sha256", "")?;
    honest::set_user(&honest::redis(run, config)?, config, "!", &hash)?.accepted()?;
    Err(worked("the credential in use was removed"))
}
