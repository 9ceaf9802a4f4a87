//! The kit's servers, by their own clients.

use keywheel_kit::{AclStore, Login, Postgres, PostgresOptions, Proxy, Redis, RedisOptions, random_password};

#[test]
fn postgres_takes_the_right_password_and_refuses_another_and_survives_a_kill() {
    let mut server = Postgres::start(PostgresOptions {
        fsync: true,
        ..PostgresOptions::default()
    })
    .unwrap();
    let (admin, password) = (server.admin_user(), server.admin_password().to_owned());
    assert_eq!(server.login(admin, &password).unwrap(), Login::Accepted);
    assert!(server.login(admin, "wrong").unwrap().is_refused());
    assert_eq!(server.sql("CREATE ROLE app LOGIN; SELECT 1 + 1").unwrap(), "2");
    assert_eq!(
        server
            .sql("SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'postgres'")
            .unwrap(),
        "t"
    );
    server.kill9().unwrap();
    assert!(matches!(
        server.login(admin, &password).unwrap(),
        Login::Unreachable(_)
    ));
    server.restart().unwrap();
    assert_eq!(
        server
            .sql("SELECT count(*) FROM pg_roles WHERE rolname = 'app'")
            .unwrap(),
        "1"
    );
}

#[test]
fn a_dropped_server_is_gone_with_its_folder() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let (pid, ca) = (server.pid().unwrap(), server.ca_file());
    drop(server);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(!ca.exists());
}

#[test]
fn redis_keeps_users_in_either_store() {
    for acl in [AclStore::AclFile, AclStore::ConfigRewrite] {
        let mut server = Redis::start(RedisOptions {
            acl,
            plaintext: true,
            ..RedisOptions::default()
        })
        .unwrap();
        let password = random_password();
        server.create_user("app", &password).unwrap();
        assert_eq!(server.login("app", &password).unwrap(), Login::Accepted);
        assert!(server.login("app", "wrong").unwrap().is_refused());
        assert_eq!(server.command(&["ACL", "SAVE"]).is_ok(), acl == AclStore::AclFile);
        if acl == AclStore::ConfigRewrite {
            server.command(&["CONFIG", "REWRITE"]).unwrap();
        }
        assert!(server.stored_users().unwrap().contains("user app on"));
        server.kill9().unwrap();
        assert!(matches!(
            server.login("app", &password).unwrap(),
            Login::Unreachable(_)
        ));
        server.restart().unwrap();
        assert_eq!(server.login("app", &password).unwrap(), Login::Accepted);
        assert_ne!(server.plaintext_port(), None);
    }
}

#[test]
fn a_silent_proxy_swallows_and_heals() {
    use std::io::{Read, Write};
    let server = Redis::start(RedisOptions {
        plaintext: true,
        ..RedisOptions::default()
    })
    .unwrap();
    let proxy = Proxy::start(server.plaintext_port().unwrap()).unwrap();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    let mut buffer = [0; 64];
    stream.write_all(b"PING\r\n").unwrap();
    assert!(stream.read(&mut buffer).unwrap() > 0);
    proxy.swallow_answers();
    stream.write_all(b"PING\r\n").unwrap();
    stream
        .set_read_timeout(Some(std::time::Duration::from_millis(200)))
        .unwrap();
    assert!(stream.read(&mut buffer).is_err());
    proxy.cut();
    assert_eq!(stream.read(&mut buffer).unwrap(), 0);
}
