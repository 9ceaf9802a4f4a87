//! Frames and replies against a real Redis.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use keywheel_kit::{Login, Proxy, Redis, RedisOptions};
use keywheel_model::{Effect, SecretBytes};
use keywheel_target::channel::Channel;
use keywheel_target::dial::{Allow, Dialer};
use keywheel_target::frame::{Frame, Framing};
use keywheel_target::resp::{Bounds, Reply, Status, read_reply};
use keywheel_target::scram::sha256_hex;
use keywheel_target::tls::{TlsOptions, TrustStore};
use keywheel_target::{Deadline, Error, Outbound};

struct Client {
    channel: Channel,
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

impl Client {
    async fn connect(server: &Redis, port: u16) -> Result<Self, Error> {
        let mut trust = TrustStore::new();
        trust.add_pem("redis", server.ca_pem().as_bytes()).unwrap();
        let outbound = Outbound::new(Dialer::system(), trust);
        let rules: Vec<Allow> = vec![format!("localhost:{port} tls").parse().unwrap()];
        let options = TlsOptions::for_name(server.host()).trusting("redis");
        let channel =
            Channel::connect_tls(&outbound, &rules, server.host(), port, &options, deadline()).await?;
        Ok(Self { channel })
    }

    async fn call(
        &mut self,
        words: &[&[u8]],
        secret: Option<(&[u8], SecretBytes)>,
        deadline: Deadline,
    ) -> Result<Reply, Error> {
        let mut frame = Frame::new(Framing::Resp);
        for word in words {
            frame.bytes(word)?;
        }
        if let Some((before, secret)) = secret {
            frame.open(0)?;
            frame.bytes(before)?;
            frame.secret(secret)?;
            frame.close()?;
        }
        self.channel.write_secret(&frame.finish()?, deadline).await?;
        read_reply(&mut self.channel, Bounds::default(), deadline).await
    }

    async fn login(server: &Redis, user: &str, password: &str) -> Result<(Self, Status), Error> {
        let mut client = Self::connect(server, server.port()).await?;
        let status = client.auth(user, password).await?;
        Ok((client, status))
    }

    async fn auth(&mut self, user: &str, password: &str) -> Result<Status, Error> {
        let reply = self
            .call(
                &[b"AUTH", user.as_bytes()],
                Some((b"", SecretBytes::copy_of(password.as_bytes()))),
                deadline(),
            )
            .await?;
        Ok(reply.status())
    }
}

#[tokio::test]
async fn hashed_passwords_are_added_and_removed_and_both_log_in_between() {
    let server = Redis::start(RedisOptions::default()).unwrap();
    server.create_user("app", "old-password").unwrap();
    let (mut admin, status) = Client::login(&server, server.admin_user(), server.admin_password())
        .await
        .unwrap();
    assert_eq!(status, Status::Simple("OK".into()));
    let hostile = "n'e\"w\\ $4\r\n+OK\r\n\u{1f511}\0x";
    let hash = || sha256_hex(&SecretBytes::copy_of(hostile.as_bytes()));
    let set = admin
        .call(&[b"ACL", b"SETUSER", b"app"], Some((b"#", hash())), deadline())
        .await
        .unwrap();
    assert_eq!(set, Reply::Simple("OK".into()));
    assert_eq!(
        Client::login(&server, "app", hostile).await.unwrap().1,
        Status::Simple("OK".into())
    );
    assert_eq!(server.login("app", "old-password").unwrap(), Login::Accepted);
    let removed = admin
        .call(
            &[b"ACL", b"SETUSER", b"app"],
            Some((b"!", sha256_hex(&SecretBytes::copy_of(b"old-password")))),
            deadline(),
        )
        .await
        .unwrap();
    assert_eq!(removed.status(), Status::Simple("OK".into()));
    assert!(server.login("app", "old-password").unwrap().is_refused());
    assert_eq!(
        Client::login(&server, "app", "old-password").await.unwrap().1,
        Status::Error("WRONGPASS".into())
    );
    let user = admin
        .call(&[b"ACL", b"GETUSER", b"app"], None, deadline())
        .await
        .unwrap();
    assert!(matches!(user, Reply::Array(Some(items)) if items.len() >= 10));
    assert_eq!(
        admin.call(&[b"GET", b"absent"], None, deadline()).await.unwrap(),
        Reply::Bulk(None)
    );
}

#[tokio::test]
async fn a_server_that_quotes_its_argument_shows_the_first_word_only() {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let (mut admin, _) = Client::login(&server, server.admin_user(), server.admin_password())
        .await
        .unwrap();
    let quoted = admin
        .call(
            &[b"ACL", b"SETUSER", b"app"],
            Some((b"X", SecretBytes::copy_of(b"leak-me"))),
            deadline(),
        )
        .await
        .unwrap();
    assert!(
        matches!(&quoted, Reply::Error(text) if text.contains("leak-me")),
        "the server does quote it"
    );
    assert_eq!(quoted.status(), Status::Error("ERR".into()));
    let echoed = admin
        .call(
            &[b"ECHO"],
            Some((b"", SecretBytes::copy_of(b"leak-me"))),
            deadline(),
        )
        .await
        .unwrap();
    assert_eq!(echoed.status(), Status::Other);
}

#[tokio::test]
async fn a_reply_beyond_its_bounds_is_refused_with_effect_maybe() {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let (mut admin, _) = Client::login(&server, server.admin_user(), server.admin_password())
        .await
        .unwrap();
    for bounds in [
        Bounds {
            elements: 2,
            ..Bounds::default()
        },
        Bounds {
            bytes: 16,
            ..Bounds::default()
        },
        Bounds {
            depth: 0,
            ..Bounds::default()
        },
    ] {
        let mut frame = Frame::new(Framing::Resp);
        frame.bytes(b"COMMAND").unwrap();
        admin
            .channel
            .write_secret(&frame.finish().unwrap(), deadline())
            .await
            .unwrap();
        let error = read_reply(&mut admin.channel, bounds, deadline())
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                Error::Limit {
                    effect: Effect::Maybe,
                    ..
                }
            ),
            "{error:?}"
        );
        admin = Client::login(&server, server.admin_user(), server.admin_password())
            .await
            .unwrap()
            .0;
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_is_maybe_and_the_command_did_arrive() {
    let server = Redis::start(RedisOptions::default()).unwrap();
    server.create_user("app", "old-password").unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    let mut admin = Client::connect(&server, proxy.port()).await.unwrap();
    admin
        .auth(server.admin_user(), server.admin_password())
        .await
        .unwrap();
    proxy.swallow_answers();
    let short = Deadline::after(Duration::from_millis(300));
    let error = admin
        .call(
            &[b"ACL", b"SETUSER", b"app"],
            Some((b">", SecretBytes::copy_of(b"new-password"))),
            short,
        )
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Timeout {
                effect: Effect::Maybe,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(server.login("app", "new-password").unwrap(), Login::Accepted);
}

#[tokio::test]
async fn a_certificate_for_another_name_ends_the_connection() {
    let server = Redis::start(RedisOptions {
        wrong_name: true,
        ..RedisOptions::default()
    })
    .unwrap();
    let error = Client::connect(&server, server.port()).await.err().unwrap();
    assert!(matches!(error, Error::TlsName { .. }), "{error:?}");
}
