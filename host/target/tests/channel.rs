//! Byte streams: certificates, the way into TLS, bounds, what a loss means.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use keywheel_kit::{Authority, BlackHole, Identity};
use keywheel_model::{Effect, ErrorKind, SecretBytes};
use keywheel_target::channel::Channel;
use keywheel_target::dial::{Allow, Dialer};
use keywheel_target::tls::{TlsOptions, TrustStore, Unfit, Verify, examine};
use keywheel_target::{Deadline, Error, Outbound};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn rules(texts: &[&str]) -> Vec<Allow> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_millis(300))
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A TLS server of one connection that sends what it read to the caller.
async fn tls_server(authority: &Authority, names: &[&str]) -> (u16, tokio::task::JoinHandle<Vec<u8>>) {
    serve(&authority.issue(names).unwrap()).await
}

async fn serve(identity: &Identity) -> (u16, tokio::task::JoinHandle<Vec<u8>>) {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let (listener, port) = listener().await;
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = tokio_rustls::TlsAcceptor::from(Arc::new(config))
            .accept(stream)
            .await
        else {
            return Vec::new();
        };
        let mut read = Vec::new();
        let _ = stream.read_to_end(&mut read).await;
        read
    });
    (port, served)
}

fn outbound(authority: &Authority) -> Outbound {
    let mut trust = TrustStore::new();
    trust.add_pem("test", authority.pem().as_bytes()).unwrap();
    Outbound::new(Dialer::system(), trust)
}

async fn connect(outbound: &Outbound, port: u16, options: &TlsOptions) -> Result<Channel, Error> {
    Channel::connect_tls(
        outbound,
        &rules(&[&format!("127.0.0.1:{port} tls")]),
        "127.0.0.1",
        port,
        options,
        Deadline::after(Duration::from_secs(10)),
    )
    .await
}

#[tokio::test]
async fn a_wrong_name_and_an_untrusted_chain_are_told_apart() {
    let authority = Authority::new().unwrap();
    let outbound = outbound(&authority);
    let (port, _served) = tls_server(&authority, &["wrong.invalid"]).await;
    let error = connect(
        &outbound,
        port,
        &TlsOptions::for_name("localhost").trusting("test"),
    )
    .await
    .unwrap_err();
    assert!(matches!(error, Error::TlsName { .. }), "{error:?}");
    assert_eq!(error.effect(), Effect::None);
    let (port, _served) = tls_server(&Authority::new().unwrap(), &["localhost"]).await;
    let error = connect(
        &outbound,
        port,
        &TlsOptions::for_name("localhost").trusting("test"),
    )
    .await
    .unwrap_err();
    assert!(matches!(error, Error::TlsUntrusted { .. }), "{error:?}");
    assert!(
        connect(
            &outbound,
            port,
            &TlsOptions::for_name("localhost").trusting("other")
        )
        .await
        .is_err()
    );
}

/// What a trust set of these files makes of a server that shows this certificate.
async fn shown(trusted: &[&str], identity: &Identity) -> Result<(), String> {
    let mut trust = TrustStore::new();
    for pem in trusted {
        trust.add_pem("test", pem.as_bytes()).unwrap();
    }
    let outbound = Outbound::new(Dialer::system(), trust);
    let (port, _served) = serve(identity).await;
    let options = TlsOptions::for_name("localhost").trusting("test");
    let channel = connect(&outbound, port, &options).await;
    channel.map(|_| ()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn what_is_said_of_a_trust_file_is_what_a_handshake_does_with_it() {
    let authority = Authority::new().unwrap();
    let issued = authority.issue(&["localhost"]).unwrap();
    let own = Identity::self_signed(&["localhost"], false).unwrap();
    let both = Identity::self_signed(&["localhost"], true).unwrap();

    assert_eq!(examine(authority.pem().as_bytes()), Ok(()));
    assert_eq!(shown(&[authority.pem()], &issued).await, Ok(()));

    // A server's own that signed itself is trusted for that server alone.
    assert_eq!(examine(own.certificate_pem.as_bytes()), Ok(()));
    assert_eq!(shown(&[&own.certificate_pem], &own).await, Ok(()));

    // One that an authority issued is no root: whoever has only that trusts nobody.
    assert_eq!(
        examine(issued.certificate_pem.as_bytes()),
        Err(Unfit::NoAuthority)
    );
    let refused = shown(&[&issued.certificate_pem], &issued).await.unwrap_err();
    assert!(
        refused.contains("no authority that is trusted here issued it"),
        "{refused}"
    );
    let chain = format!("{}{}", issued.certificate_pem, authority.pem());
    assert_eq!(examine(chain.as_bytes()), Ok(()));
    assert_eq!(shown(&[&chain], &issued).await, Ok(()));

    // What `openssl req -x509` makes is an authority: it may sign a server's, and not be one.
    assert_eq!(examine(both.certificate_pem.as_bytes()), Ok(()));
    let refused = shown(&[&both.certificate_pem], &both).await.unwrap_err();
    assert!(refused.contains("CA:TRUE"), "{refused}");

    // A server's own whose time is over is refused, and said to be. An authority counts beyond its dates.
    let old = Identity::expired(&["localhost"], false).unwrap();
    assert_eq!(examine(old.certificate_pem.as_bytes()), Err(Unfit::Expired));
    let refused = shown(&[&old.certificate_pem], &old).await.unwrap_err();
    assert!(refused.contains("expired"), "{refused}");
    let old = Identity::expired(&["localhost"], true).unwrap();
    assert_eq!(examine(old.certificate_pem.as_bytes()), Ok(()));

    // Each file of a set counts.
    let other = Authority::new().unwrap();
    assert_eq!(shown(&[authority.pem(), other.pem()], &issued).await, Ok(()));
    assert_eq!(shown(&[other.pem(), authority.pem()], &issued).await, Ok(()));
    assert!(shown(&[other.pem()], &issued).await.is_err());

    assert_eq!(examine(b""), Err(Unfit::Empty));
    assert_eq!(examine(issued.key_pem.as_bytes()), Err(Unfit::Empty));
    assert_eq!(examine(&authority.pem().as_bytes()[..200]), Err(Unfit::NotPem));
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(examine(text.as_bytes()), Err(Unfit::Unreadable));
}

#[tokio::test]
async fn a_stream_that_is_only_inspected_shows_its_certificate_and_takes_no_secret() {
    let authority = Authority::new().unwrap();
    let (port, served) = tls_server(&Authority::new().unwrap(), &["wrong.invalid"]).await;
    let options = TlsOptions {
        verify: Verify::InspectOnly,
        ..TlsOptions::for_name("localhost")
    };
    let mut channel = connect(&outbound(&authority), port, &options).await.unwrap();
    assert_eq!(channel.peer_certificates().len(), 1);
    let error = channel
        .write_secret(&SecretBytes::copy_of(b"hunter2"), soon())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::UnsafeStream { .. }));
    assert_eq!(error.effect(), Effect::None);
    channel.write(b"public", soon()).await.unwrap();
    drop(channel);
    assert_eq!(served.await.unwrap(), b"public");
}

#[tokio::test]
async fn plaintext_takes_a_secret_only_where_a_rule_says_so_in_words() {
    let (listener, port) = listener().await;
    let outbound = outbound(&Authority::new().unwrap());
    for (word, taken) in [("tls", false), ("plaintext", true)] {
        let allowed = rules(&[&format!("127.0.0.1:{port} {word}")]);
        let mut channel = Channel::connect(&outbound, &allowed, "127.0.0.1", port, soon())
            .await
            .unwrap();
        let _peer = listener.accept().await.unwrap();
        let written = channel
            .write_secret(&SecretBytes::copy_of(b"hunter2"), soon())
            .await;
        assert_eq!(written.is_ok(), taken, "{word}");
    }
}

#[tokio::test]
async fn bytes_that_came_before_tls_make_the_upgrade_fail() {
    let (listener, port) = listener().await;
    let outbound = outbound(&Authority::new().unwrap());
    let allowed = rules(&[&format!("127.0.0.1:{port} tls")]);
    let mut channel = Channel::connect(&outbound, &allowed, "127.0.0.1", port, soon())
        .await
        .unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.write_all(b"220 ready\r\n250 injected\r\n").await.unwrap();
    assert_eq!(
        channel.read_until(b"\r\n", 100, soon()).await.unwrap(),
        b"220 ready\r\n"
    );
    let error = channel
        .start_tls(&outbound, &TlsOptions::for_name("localhost"), soon())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
}

#[tokio::test]
async fn a_black_hole_ends_at_the_deadline_without_effect_before_and_maybe_after_a_write() {
    let hole = BlackHole::start().unwrap();
    let outbound = outbound(&Authority::new().unwrap());
    let allowed = rules(&[&format!("127.0.0.1:{} plaintext", hole.port())]);
    let options = TlsOptions::for_name("localhost").trusting("test");
    let error = Channel::connect_tls(&outbound, &allowed, "127.0.0.1", hole.port(), &options, soon())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Timeout {
                effect: Effect::None,
                ..
            }
        ),
        "{error:?}"
    );
    let mut channel = Channel::connect(&outbound, &allowed, "127.0.0.1", hole.port(), soon())
        .await
        .unwrap();
    let error = channel.read(10, soon()).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Timeout, Effect::None));
    channel.write(b"SET\r\n", soon()).await.unwrap();
    let error = channel.read(10, soon()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Timeout, Effect::Maybe)
    );
}

#[tokio::test]
async fn reads_are_bounded_and_an_end_before_the_delimiter_is_a_loss() {
    let (listener, port) = listener().await;
    let outbound = outbound(&Authority::new().unwrap());
    let allowed = rules(&[&format!("127.0.0.1:{port} plaintext")]);
    let mut channel = Channel::connect(&outbound, &allowed, "127.0.0.1", port, soon())
        .await
        .unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.write_all(b"abcdefgh").await.unwrap();
    assert!(matches!(
        channel.read_until(b"\n", 4, soon()).await,
        Err(Error::Limit { .. })
    ));
    assert_eq!(channel.read(3, soon()).await.unwrap(), b"abc");
    assert!(
        channel
            .read_exact_secret(2, soon())
            .await
            .unwrap()
            .same_as(&SecretBytes::copy_of(b"de"))
    );
    drop(peer);
    assert!(matches!(
        channel.read_until(b"\n", 100, soon()).await,
        Err(Error::Lost { .. })
    ));
    assert_eq!(channel.read(100, soon()).await.unwrap(), b"fgh");
    assert_eq!(channel.read(100, soon()).await.unwrap(), b"");
}
