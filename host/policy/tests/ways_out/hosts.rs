use super::*;

#[test]
fn another_host_port_or_transport_is_denied() {
    let hosts = "\"db.internal:5432 tls\"";
    assert!(tls(hosts, "db.internal", 5432).is_some());
    assert!(tls(hosts, "DB.Internal.", 5432).is_some());
    for host in [
        "db.internal.evil.example",
        "xdb.internal",
        "db",
        "db.internal\0",
        "db.internal ",
        "",
        "10.0.0.1",
        "0x0a000001",
    ] {
        assert!(tls(hosts, host, 5432).is_none(), "{host:?}");
    }
    assert!(tls(hosts, "db.internal", 5433).is_none());
    let world = World::new(json!({"host": "db.internal", "port": 5432}));
    assert!(
        world
            .connect(hosts, "db.internal", 5432, Transport::Plaintext)
            .is_none()
    );
    let plaintext = "\"{/host}:{/port} plaintext\"";
    assert!(
        world
            .connect(plaintext, "db.internal", 5432, Transport::Tls)
            .is_none()
    );
    assert!(
        world
            .connect(plaintext, "db.internal", 5432, Transport::Plaintext)
            .is_some()
    );
}

#[test]
fn a_socket_is_opened_by_its_folder_and_port_in_words_alone() {
    let socket = |hosts: &str, config: serde_json::Value, host: &str| {
        let destination = World::new(config).connect(hosts, host, 5432, Transport::Socket)?;
        let addresses = ["127.0.0.1", "::1", "10.0.0.1", "203.0.113.5"];
        assert!(addresses.iter().all(|text| !destination.admits(address(text))));
        Some(destination)
    };
    let (fixed, configured) = ("\"/run/postgresql:5432 socket\"", "\"{/host}:{/port} socket\"");
    let at = |host: &str| json!({"host": host, "port": 5432});
    let folder = "/run/postgresql";
    assert!(socket(fixed, json!({}), folder).is_some());
    assert!(socket(configured, at(folder), folder).is_some());
    for other in [
        "/run/postgresql/",
        "/run/../run/postgresql",
        "/run",
        "/run/postgresql2",
        "run/postgresql",
        "",
    ] {
        assert!(socket(fixed, json!({}), other).is_none(), "{other:?}");
        assert!(socket(configured, at(folder), other).is_none(), "{other:?}");
    }
    for wrong in [
        "/run/../etc",
        "/",
        "/run/",
        "db.internal",
        "localhost",
        "127.0.0.1",
    ] {
        assert!(socket(configured, at(wrong), wrong).is_none(), "{wrong:?}");
    }
    let world = World::new(at(folder));
    assert!(world.connect(fixed, folder, 5433, Transport::Socket).is_none());
    for word in ["tls", "plaintext"] {
        let hosts = format!("\"{{/host}}:{{/port}} {word}\"");
        assert!(socket(&hosts, at(folder), folder).is_none(), "{word}");
        assert!(
            format!("/run/postgresql:5432 {word}")
                .parse::<HostRule>()
                .is_err(),
            "{word}"
        );
    }
    for transport in [Transport::Tls, Transport::Plaintext] {
        assert!(world.connect(configured, folder, 5432, transport).is_none());
        assert!(
            World::new(at("localhost"))
                .connect(configured, "localhost", 5432, transport)
                .is_none()
        );
    }
    for rule in [
        "localhost:5432 socket",
        "/run/postgresql socket",
        "/run/x y:1 socket",
        "10.0.0.0/8:5432 socket",
    ] {
        assert!(rule.parse::<HostRule>().is_err(), "{rule}");
    }
}

#[test]
fn a_name_opens_no_loopback_unless_it_is_localhost() {
    let named = tls("\"db.internal:5432 tls\"", "db.internal", 5432).unwrap();
    assert!(
        named.admits(address("10.0.0.9"))
            && named.admits(address("203.0.113.5"))
            && named.admits(address("fd12::1"))
    );
    for inside in [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "255.255.255.255",
    ] {
        assert!(!named.admits(address(inside)), "{inside}");
    }
    let local = tls("\"localhost:5432 tls\"", "localhost", 5432).unwrap();
    assert!(local.admits(address("127.0.0.1")) && local.admits(address("::1")));
    let literal = tls("\"127.0.0.1:5432 tls\"", "127.0.0.1", 5432).unwrap();
    assert!(literal.admits(address("127.0.0.1")) && !literal.admits(address("127.0.0.2")));
}

#[test]
fn a_range_ends_at_its_edge() {
    let hosts = "\"10.1.0.0/16:5432 tls\", \"[fd12::]/64:5432 tls\"";
    for inside in ["10.1.0.0", "10.1.255.255", "fd12::ffff:ffff:ffff:ffff"] {
        assert!(tls(hosts, inside, 5432).is_some(), "{inside}");
    }
    for outside in [
        "10.0.255.255",
        "10.2.0.0",
        "fd12:0:0:1::",
        "fd11:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ] {
        assert!(tls(hosts, outside, 5432).is_none(), "{outside}");
    }
    assert!(
        tls("\"10.1.0.0/16:5432 tls\"", "::ffff:10.1.2.3", 5432)
            .is_some_and(|there| there.admits(address("10.1.2.3")))
    );
    assert!(tls("\"0.0.0.0/0:5432 tls\"", "203.0.113.9", 5432).is_some());
}

#[test]
fn a_range_covers_a_configured_name_only_where_it_leads_into_the_range_and_no_name_of_the_guest() {
    let there = tls("\"10.1.0.0/16:5432 tls\"", "db.internal", 5432).unwrap();
    assert!(
        there.admits(address("10.1.2.3"))
            && !there.admits(address("10.2.2.3"))
            && !there.admits(address("203.0.113.1"))
    );
    assert!(
        tls("\"10.1.0.0/16:5432 tls\"", "stolen.evil.example", 5432).is_none(),
        "not even looked up"
    );
}

#[test]
fn a_configured_value_is_one_host_and_never_a_rule() {
    let connect = |host: &str, to: &str| {
        World::new(json!({"host": host, "port": 1})).connect("\"{/host}:{/port} tls\"", to, 1, Transport::Tls)
    };
    assert!(connect("::1", "::1").is_some());
    assert!(connect("[::1]", "::1").is_some());
    for (configured, to) in [
        ("0.0.0.0/0", "10.0.0.1"),
        ("*", "x"),
        ("{/host}", "x"),
        ("a b", "a b"),
        ("", ""),
    ] {
        assert!(connect(configured, to).is_none(), "{configured}");
    }
    let wrong_port = World::new(json!({"host": "h", "port": 70000}));
    assert!(
        wrong_port
            .connect("\"{/host}:{/port} tls\"", "h", 4464, Transport::Tls)
            .is_none()
    );
    assert!(
        World::new(json!({}))
            .connect("\"{/host}:{/port} tls\"", "h", 1, Transport::Tls)
            .is_none()
    );
}

#[test]
fn rules_that_are_wider_than_they_look_are_not_read() {
    for bad in [
        "*:5432 tls",
        "db:5432",
        "db tls",
        "db:0 tls",
        "db:05 tls",
        "db:+5 tls",
        "db:5432 TLS",
        "10.1.0.1/16:5432 tls",
        "10.0.0.0/33:1 tls",
        "10.0.0.0/:1 tls",
        "fd12::1:5432 tls",
        "127.1:5432 tls",
        "[::ffff:10.0.0.1]:1 tls",
        "a_b-:1 tls",
        "db:5432  tls",
        "{host}:1 tls",
        "http://db:1 tls",
    ] {
        assert!(bad.parse::<HostRule>().is_err(), "{bad}");
    }
}

#[test]
fn an_address_written_as_ipv6_is_the_ipv4_address_that_it_is() {
    let network: Network = "10.1.0.0/16".parse().unwrap();
    assert!(network.contains(address("::ffff:10.1.2.3")) && !network.contains(address("::ffff:10.2.2.3")));
    assert!(!network.contains(address("::a01:203")));
}

#[test]
fn a_rotations_range_narrows_a_plugins_name() {
    let world = World::new(json!({"host": "db.internal", "port": 5432}));
    let wide = "plugin = \"redis\"\nhosts = [\"{/host}:{/port} tls\"]";
    let narrow = "plugin = \"redis\"\nrotation = \"cache\"\nhosts = [\"10.1.0.0/16:5432 tls\"]";
    let request = Request::Connect {
        host: "db.internal",
        port: 5432,
        transport: Transport::Tls,
    };
    for grants in [[wide, narrow], [narrow, wide]] {
        let there = world.ask(&grants, request).unwrap().destination.unwrap();
        assert!(there.admits(address("10.1.2.3")) && !there.admits(address("10.2.2.3")));
    }
}

#[test]
fn where_no_line_can_open_a_place_none_is_printed() {
    let world = World::new(json!({"host": "db.internal", "port": 5432}));
    let ask = |host: &str, port| {
        let request = Request::Connect {
            host,
            port,
            transport: Transport::Tls,
        };
        world.ask(&["plugin = \"redis\""], request).unwrap_err()
    };
    for (host, port) in [
        ("127.1", 5432),
        ("0x7f000001", 5432),
        ("b\u{fc}cher.example", 5432),
        ("-bad", 5432),
        ("a..b", 5432),
        ("127.0.0.1 ", 5432),
        ("169.254.169.254", 80),
        ("fe80::1", 80),
        ("224.0.0.1", 80),
        ("db.internal", 0),
    ] {
        let denial = ask(host, port);
        assert!(denial.lines.is_err(), "{host}: {denial}");
        assert!(!denial.hint().contains("hosts = "), "{host}: {}", denial.hint());
    }
    let denial = ask("db.internal", 5432);
    assert_eq!(denial.lines.unwrap(), "hosts = [\"db.internal:5432 tls\"]");
}

#[test]
fn a_rule_for_an_address_that_is_never_dialled_is_no_rule() {
    for rule in [
        "169.254.169.254:80 tls",
        "[fe80::1]:80 tls",
        "168.63.129.16:80 plaintext",
    ] {
        assert!(rule.parse::<keywheel_policy::HostRule>().is_err(), "{rule}");
    }
    assert!(
        "169.254.0.0/16:80 tls"
            .parse::<keywheel_policy::HostRule>()
            .is_ok(),
        "the dialler refuses these one by one"
    );
}
