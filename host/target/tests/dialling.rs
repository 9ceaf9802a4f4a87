//! What may be dialled: rules, addresses, a hostile resolver.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keywheel_model::{Effect, ErrorKind};
use keywheel_target::dial::{Allow, Dialer, Resolver};
use keywheel_target::{Deadline, Error};
use tokio::net::TcpListener;

/// Answers each question with the next list, and counts the questions.
struct Scripted {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let answers = answers
            .iter()
            .rev()
            .map(|list| list.iter().map(|a| a.parse().unwrap()).collect())
            .collect();
        Arc::new(Self {
            answers: Mutex::new(answers),
            asked: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl Resolver for Scripted {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.answers
            .lock()
            .unwrap()
            .pop()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

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

#[tokio::test]
async fn a_host_or_port_that_no_rule_names_is_denied_without_a_question_to_the_resolver() {
    let resolver = Scripted::new(&[&["9.9.9.9"]]);
    let dialer = Dialer::with_resolver(resolver.clone());
    for (host, port) in [
        ("other.example", 443),
        ("db.example", 444),
        ("sub.db.example", 443),
        ("9.9.9.9", 443),
    ] {
        let error = dialer
            .dial(&rules(&["db.example:443 tls"]), host, port, soon())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::NotAllowed { .. }), "{host}: {error}");
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Denied, Effect::None));
    }
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn metadata_and_its_wrappings_are_denied_even_where_a_rule_names_them() {
    for address in [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "fe80::1",
        "fd00:ec2::254",
        "168.63.129.16",
        "100.100.100.200",
        "224.0.0.1",
        "0.0.0.0",
    ] {
        let dialer = Dialer::with_resolver(Scripted::new(&[&[address]]));
        let rules = rules(&[
            "metadata.google.internal:80 plaintext",
            "0.0.0.0/0:80 plaintext",
            "[::]/0:80 plaintext",
        ]);
        for host in ["metadata.google.internal", address] {
            let error = dialer.dial(&rules, host, 80, soon()).await.unwrap_err();
            assert!(
                matches!(error, Error::Forbidden { .. }),
                "{host} {address}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn odd_spellings_of_an_address_are_denied_before_anything_is_dialled() {
    let dialer = Dialer::system();
    let rules = rules(&["0.0.0.0/0:80 plaintext", "*.internal:80 plaintext"]);
    for host in [
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "metadata.google.internal.",
        "user@127.0.0.1",
        "127.0.0.1\r\nx",
    ] {
        let error = dialer.dial(&rules, host, 80, soon()).await.unwrap_err();
        assert!(matches!(error, Error::Host { .. }), "{host}: {error}");
    }
}

#[tokio::test]
async fn a_rebound_name_is_resolved_once_and_the_checked_address_dialled() {
    let (listener, port) = listener().await;
    let resolver = Scripted::new(&[&["127.0.0.1"], &["169.254.169.254"]]);
    let dialer = Dialer::with_resolver(resolver.clone());
    let allowed = rules(&[
        &format!("db.example:{port} tls"),
        &format!("127.0.0.1:{port} tls"),
    ]);
    let dialled = dialer.dial(&allowed, "db.example", port, soon()).await.unwrap();
    assert_eq!(dialled.address, listener.local_addr().unwrap());
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 1);
    let error = dialer
        .dial(&allowed, "db.example", port, soon())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Forbidden { .. }),
        "the second answer is checked anew: {error}"
    );
}

#[tokio::test]
async fn a_granted_name_that_leads_to_loopback_is_denied_until_loopback_is_named() {
    let (_listener, port) = listener().await;
    let dial = |texts: Vec<String>, host: &'static str, answer: &'static str| async move {
        let allowed: Vec<Allow> = texts.iter().map(|text| text.parse().unwrap()).collect();
        Dialer::with_resolver(Scripted::new(&[&[answer]]))
            .dial(&allowed, host, port, soon())
            .await
    };
    let named = format!("db.example:{port} tls");
    let error = dial(vec![named.clone()], "db.example", "127.0.0.1")
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Forbidden { .. }) && error.hint().is_some(),
        "{error}"
    );
    assert!(matches!(
        dial(vec![named.clone()], "db.example", "::1").await,
        Err(Error::Forbidden { .. })
    ));
    assert!(matches!(
        dial(vec![named.clone()], "db.example", "64:ff9b::7f00:1").await,
        Err(Error::Forbidden { .. })
    ));
    assert!(
        dial(
            vec![named, format!("127.0.0.0/8:{port} tls")],
            "db.example",
            "127.0.0.1"
        )
        .await
        .is_ok()
    );
    assert!(
        dial(vec![format!("localhost:{port} tls")], "localhost", "127.0.0.1")
            .await
            .is_ok()
    );
    assert!(
        dial(vec![format!("127.0.0.1:{port} tls")], "127.0.0.1", "9.9.9.9")
            .await
            .is_ok()
    );
    assert!(matches!(
        dial(vec![format!("127.0.0.1:{port} tls")], "localhost", "127.0.0.1").await,
        Err(Error::NotAllowed { .. })
    ));
}

#[tokio::test]
async fn private_addresses_open_by_an_exact_name_or_a_network_but_not_by_a_pattern_or_in_a_mixed_answer() {
    let opened = |texts: &'static [&'static str], answer: &'static [&'static str]| async move {
        let dialer = Dialer::with_resolver(Scripted::new(&[answer]));
        let found = dialer.addresses(&rules(texts), "db.x.example", 1, soon()).await;
        found
            .map(|list| {
                list.iter()
                    .map(|address| address.ip().to_string())
                    .collect::<Vec<_>>()
            })
            .map_err(|error| error.code().into_owned())
    };
    let denied = Err("net.forbidden-address".to_owned());
    assert_eq!(
        opened(&["db.x.example:1 tls"], &["10.0.0.1", "10.0.0.1"]).await,
        Ok(vec!["10.0.0.1".to_owned()])
    );
    assert_eq!(opened(&["*.x.example:1 tls"], &["10.0.0.1"]).await, denied);
    assert_eq!(
        opened(&["*.x.example:1 tls", "10.0.0.0/8:1 tls"], &["10.0.0.1"]).await,
        Ok(vec!["10.0.0.1".to_owned()])
    );
    assert_eq!(
        opened(&["*.x.example:1 tls", "10.0.0.0/8:2 tls"], &["10.0.0.1"]).await,
        denied
    );
    assert_eq!(
        opened(
            &["db.x.example:1 tls"],
            &["10.0.0.1", "9.9.9.9", "127.0.0.1", "169.254.169.254"]
        )
        .await,
        Ok(vec!["9.9.9.9".to_owned()])
    );
    assert_eq!(
        opened(&["*.x.example:1 tls"], &["10.0.0.1", "fd00::1", "2002:7f00:1::"]).await,
        denied
    );
    assert_eq!(
        opened(&["db.x.example:1 tls"], &[]).await,
        Err("net.unresolved".to_owned())
    );
}

#[tokio::test]
async fn the_hosts_own_listeners_stay_closed() {
    let (listener, port) = listener().await;
    let dialer = Dialer::system().closing([listener.local_addr().unwrap()]);
    let error = dialer
        .dial(
            &rules(&[&format!("127.0.0.1:{port} plaintext")]),
            "127.0.0.1",
            port,
            soon(),
        )
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Forbidden { .. }), "{error}");
}

#[tokio::test]
async fn a_closed_port_is_unreachable_and_an_unknown_name_unresolved() {
    let (listener, port) = listener().await;
    drop(listener);
    let error = Dialer::system()
        .dial(
            &rules(&[&format!("127.0.0.1:{port} tls")]),
            "127.0.0.1",
            port,
            soon(),
        )
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }));
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Unavailable, Effect::None)
    );
    let dialer = Dialer::with_resolver(Scripted::new(&[]));
    let error = dialer
        .dial(&rules(&["gone.example:1 tls"]), "gone.example", 1, soon())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unresolved { .. }));
}
