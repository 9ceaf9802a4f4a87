use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use keywheel_kit::{Postgres, PostgresOptions};
use keywheel_model::{ErrorKind, SocketFolder, VersionId};
use keywheel_target::Deadline;
use keywheel_target::dial::Allow;
use keywheel_target::postgres::{Access, ConnectOptions, Pool, PoolLimits, Security, Session};

use super::{deadline, outbound, rules, secret, text};

/// A server, and a login by its socket.
fn scene() -> (Postgres, SocketFolder, ConnectOptions) {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let folder: SocketFolder = server.socket_folder().to_str().unwrap().parse().unwrap();
    let (user, password) = (server.admin_user(), secret(server.admin_password()));
    let mut options = ConnectOptions::new(folder.as_str(), server.port(), "postgres", user, Some(password));
    options.security = Security::Plaintext;
    (server, folder, options)
}

#[tokio::test]
async fn a_session_goes_over_the_socket_that_a_rule_names_and_over_no_other() {
    let (server, folder, options) = scene();
    let (outbound, port) = (outbound(&server), server.port());
    let named = [Allow::socket(&folder, port)];
    let pool = Pool::new(PoolLimits::default());
    let version = VersionId::from_number(1);
    let mut session = Session::open(&outbound, &named, &options, deadline())
        .await
        .unwrap();
    let local = "SELECT 1 WHERE inet_server_port() IS NULL";
    let count = session
        .execute(&text(local), Access::Read, deadline())
        .await
        .unwrap();
    assert_eq!(count, 1);
    // A kept one is looked at again.
    let kept = pool
        .checkout(&outbound, &named, &options, &version, deadline())
        .await;
    kept.unwrap().give_back().unwrap();
    let other = [Allow::socket(&folder, port + 1)];
    let refused = pool
        .checkout(&outbound, &other, &options, &version, deadline())
        .await;
    assert_eq!(refused.err().unwrap().code(), "net.not-allowed");

    let elsewhere: SocketFolder = "/run/elsewhere".parse().unwrap();
    for wrong in [
        rules(port),
        vec![Allow::socket(&folder, port + 1)],
        vec![Allow::socket(&elsewhere, port)],
        Vec::new(),
    ] {
        let error = Session::open(&outbound, &wrong, &options, deadline())
            .await
            .err()
            .unwrap();
        assert_eq!(
            (error.code().as_ref(), error.kind()),
            ("net.not-allowed", ErrorKind::Denied)
        );
        assert!(
            error.hint().unwrap().contains(&format!("{folder}:{port} socket")),
            "{error}"
        );
    }
    // Nor does the rule of a socket open a port.
    let mut by_port = super::options(port, server.admin_user(), server.admin_password());
    by_port.security = Security::Plaintext;
    let error = Session::open(&outbound, &named, &by_port, deadline())
        .await
        .err()
        .unwrap();
    assert_eq!(error.code(), "net.not-allowed");
}

#[tokio::test]
async fn a_folder_that_everybody_can_write_to_or_that_has_no_socket_is_told() {
    let (server, folder, options) = scene();
    let (outbound, port) = (outbound(&server), server.port());
    let named = [Allow::socket(&folder, port)];
    let open = async || {
        Session::open(&outbound, &named, &options, deadline())
            .await
            .err()
            .unwrap()
    };
    let mode = |mode| fs::set_permissions(folder.as_str(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o1777);
    assert_eq!(open().await.code(), "net.open-folder");
    mode(0o700);
    fs::remove_file(folder.of_postgres(port)).unwrap();
    assert_eq!(open().await.code(), "net.unreachable");
    drop(server);
    assert_eq!(open().await.code(), "net.unreachable");
}

/// The request to cancel goes the same way.
#[tokio::test]
async fn a_statement_that_nobody_waits_for_is_cancelled_over_the_socket() {
    let (server, folder, options) = scene();
    let named = [Allow::socket(&folder, server.port())];
    let mut session = Session::open(&outbound(&server), &named, &options, deadline())
        .await
        .unwrap();
    let soon = Deadline::after(Duration::from_millis(700));
    let error = session
        .execute(&text("SELECT pg_sleep(30)"), Access::Read, soon)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)' AND state = 'active' AND pid <> pg_backend_pid()";
    let begun = std::time::Instant::now();
    while server.sql(sleeps).unwrap() != "0" {
        assert!(begun.elapsed() < Duration::from_secs(20), "it sleeps on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
