//! An entry of OpenLDAP: two passwords at a time, one in the place of the other, what `plan` says of it, what the server's own log has.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use keywheel_e2e::{Host, openldap_entry, until};
use keywheel_kit::{OpenLdap, OpenLdapOptions, random_password};

const ENTRY: &str = "cn=app,dc=kw";
const TO_THE_END: [&str; 4] = ["rotate", "app-ldap", "--wait", "end"];
const REVOKE: [&str; 8] = [
    "run",
    "resume",
    "app-ldap",
    "--revoke-now",
    "--reason",
    "test",
    "--wait",
    "end",
];

fn server(options: OpenLdapOptions) -> OpenLdap {
    OpenLdap::start(options).unwrap()
}

/// With an administrator that has the rights of the documentation, and no more. The entry's password is imported.
fn host(server: &OpenLdap, grace: &str, more: &str) -> (Host, String, String) {
    let (admin, old) = (random_password(), random_password());
    server.create("rotator", &admin, true).unwrap();
    server.create("app", &old, false).unwrap();
    let host = Host::init();
    host.configure(&openldap_entry(server, grace, more));
    host.add_plugin("openldap", &[server.port(), server.plaintext_port()]);
    let _ = host.import("admin/ldap", &admin).ends(0);
    let _ = host.import("app/ldap", &old).ends(0);
    (host, admin, old)
}

fn accepts(server: &OpenLdap, password: &str) -> bool {
    server.login(ENTRY, password).unwrap().is_accepted()
}

fn passwords(server: &OpenLdap) -> Vec<String> {
    server.values(ENTRY, "userPassword").unwrap()
}

fn set(server: &OpenLdap, verb: &str, attribute: &str, value: &str) {
    let ldif = format!("dn: {ENTRY}\nchangetype: modify\n{verb}: {attribute}\n{attribute}: {value}\n");
    server.change(&ldif).unwrap();
}

/// The configuration with one text for another.
fn reconfigure(host: &Host, from: &str, to: &str) {
    let file = host.file("keywheel.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(file, text.replace(from, to)).unwrap();
}

fn plan_says(host: &Host, code: i32, words: &[&str]) {
    let output = host.run(&["plan", "app-ldap"], "").ends(code);
    let said = format!("{}{}", output.stdout, output.stderr);
    for word in words {
        assert!(said.contains(word), "{word}:\n{said}");
    }
}

#[test]
fn both_passwords_are_good_until_the_grace_is_over_and_nothing_shows_them() {
    let server = server(OpenLdapOptions::default());
    let (host, admin, old) = host(&server, "24h", "");
    let output = host.run(&["plan", "app-ldap"], "").ends(10);
    assert!(output.stdout.contains("add userPassword {SSHA}"), "{output:?}");
    assert!(
        !output.stdout.contains("openldap."),
        "no problem and no warning: {output:?}"
    );
    assert_eq!(
        passwords(&server),
        std::slice::from_ref(&old),
        "what was only asked about is not done"
    );

    let _ = host.run(&["rotate", "app-ldap"], "").ends(0);
    let new = host.read("app/ldap", None);
    assert!(new != old && accepts(&server, &old) && accepts(&server, &new));
    assert!(passwords(&server)[1].starts_with("{SSHA}"));
    let _ = host.run(&REVOKE, "").ends(0);
    assert!(accepts(&server, &new) && !accepts(&server, &old));

    // What a person sets beside it is nobody else's to take away.
    let by_hand = random_password();
    set(&server, "add", "userPassword", &by_hand);
    let _ = host.run(&["rotate", "app-ldap"], "").ends(0);
    let _ = host.run(&REVOKE, "").ends(0);
    let third = host.read("app/ldap", None);
    assert!(accepts(&server, &third) && accepts(&server, &by_hand) && !accepts(&server, &new));
    // Nor does it keep a value that is gone from being put there again.
    set(&server, "replace", "userPassword", &by_hand);
    let _ = host.run(&["drift", "check", "-o", "json"], "").ends(41);
    assert!(accepts(&server, &third));

    let log = server.log();
    assert!(
        log.contains("MOD attr=userPassword") && log.contains("EXT oid=1.3.6.1.4.1.4203.1.11.3"),
        "{log}"
    );
    host.left_no_trace(&[old, new, third, admin], &[("log", &log)]);
}

/// An older password that the entry has no more is put there again.
#[test]
fn an_older_password_is_put_back_on_the_entry() {
    let server = server(OpenLdapOptions::default());
    let (host, admin, old) = host(&server, "1s", "");
    let first = host.versions("app/ldap")[0].0.clone();
    let _ = host.run(&TO_THE_END, "").ends(0);
    let new = host.read("app/ldap", None);
    assert!(accepts(&server, &new) && !accepts(&server, &old));
    let _ = host
        .run(&["secret", "rollback", "app/ldap", &first, "--wait", "end"], "")
        .ends(0);
    assert_eq!(host.read("app/ldap", None), old);
    assert!(accepts(&server, &old) && !accepts(&server, &new));
    host.left_no_trace(&[old, new, admin], &[("log", &server.log())]);
}

/// A person puts an older password on the entry again, as it is: the vault follows, and the next rotation takes it away, in whatever form it is there.
#[test]
fn an_older_password_that_a_person_has_put_back_is_taken_away_by_the_next_rotation() {
    let server = server(OpenLdapOptions::default());
    let (host, admin, old) = host(&server, "1s", "");
    let _ = host.run(&TO_THE_END, "").ends(0);
    let (second, version) = (
        host.read("app/ldap", None),
        host.versions("app/ldap")[0].0.clone(),
    );
    let _ = host.run(&TO_THE_END, "").ends(0);
    set(&server, "add", "userPassword", &second);
    let _ = host
        .run(&["secret", "rollback", "app/ldap", &version], "")
        .ends(0);
    assert_eq!(host.read("app/ldap", None), second);
    let _ = host.run(&TO_THE_END, "").ends(0);
    let last = host.read("app/ldap", None);
    assert!(accepts(&server, &last) && !accepts(&server, &second));
    host.left_no_trace(&[old, last, admin], &[("log", &server.log())]);
}

/// Ends the consumer, also where the test fails.
struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One consumer that logs in for as long as there are rotations, with what it has read last.
#[test]
fn a_consumer_that_logs_in_all_the_time_is_never_refused() {
    let server = server(OpenLdapOptions::default());
    let (host, _, old) = host(&server, "24h", "");
    let (over, logins, read) = (AtomicBool::new(false), AtomicU32::new(0), Mutex::new(old));
    std::thread::scope(|scope| {
        let consumer = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let now = read.lock().unwrap().clone();
                let said = server.login(ENTRY, &now).unwrap();
                assert!(said.is_accepted(), "{said:?}");
                logins.fetch_add(1, Ordering::Relaxed);
            }
        });
        let end = AtTheEnd(&over);
        for turn in 1..=3 {
            let _ = host.run(&["rotate", "app-ldap"], "").ends(0);
            *read.lock().unwrap() = host.read("app/ldap", None);
            // Its login with the old one is over before that goes.
            let seen = logins.load(Ordering::Relaxed);
            until("two more logins", || {
                consumer.is_finished() || logins.load(Ordering::Relaxed) >= seen + 2
            });
            let _ = host.run(&REVOKE, "").ends(0);
            assert_eq!(passwords(&server).len(), 1, "after rotation {turn}");
        }
        drop(end);
    });
}

#[test]
fn tls_is_started_where_the_configuration_says_so_and_a_wrong_name_is_refused() {
    let server = server(OpenLdapOptions::default());
    let (host, _, old) = host(&server, "1s", "");
    let tls = format!("port = {}\n", server.port());
    reconfigure(
        &host,
        &tls,
        &format!("port = {}\ntransport = \"start-tls\"\n", server.plaintext_port()),
    );
    let _ = host.run(&TO_THE_END, "").ends(0);
    assert!(accepts(&server, &host.read("app/ldap", None)) && !accepts(&server, &old));
    assert!(server.log().contains("STARTTLS"), "{}", server.log());
    // Nothing goes over the wire as it is without the word for it, in the grant as well.
    reconfigure(&host, "\"start-tls\"", "\"plaintext\"");
    plan_says(&host, 21, &["plaintext"]);
}

#[test]
fn a_server_whose_certificate_is_for_another_name_is_told_nothing() {
    let server = server(OpenLdapOptions {
        wrong_name: true,
        ..OpenLdapOptions::default()
    });
    for (port, more) in [
        (server.port(), ""),
        (server.plaintext_port(), "transport = \"start-tls\"\n"),
    ] {
        let host = Host::init();
        let text = openldap_entry(&server, "1s", more);
        host.configure(&text.replace(&format!("port = {}", server.port()), &format!("port = {port}")));
        host.add_plugin("openldap", &[port]);
        let _ = host.import("admin/ldap", "never-sent-anywhere").ends(0);
        let output = host.run(&["plan", "app-ldap"], "");
        assert!(output.stdout.contains("tls.name"), "{output:?}");
    }
    assert!(!server.log().contains("BIND"), "{}", server.log());
}

#[test]
fn one_password_in_the_place_of_the_other_under_a_policy_that_hashes_it() {
    let server = server(OpenLdapOptions {
        policy: Some("pwdCheckQuality: 2\npwdMinLength: 20\npwdMaxFailure: 20\npwdLockout: TRUE"),
        hashes: true,
        ..OpenLdapOptions::default()
    });
    let more = "values = \"one\"\nhash = \"none\"\npolicy = \"cn=policy,dc=kw\"";
    let (host, admin, old) = host(&server, "1s", more);
    plan_says(
        &host,
        10,
        &["replace userPassword", "clients that hold only the old password"],
    );
    let _ = host.run(&TO_THE_END, "").ends(0);
    let new = host.read("app/ldap", None);
    assert!(accepts(&server, &new) && !accepts(&server, &old));
    let kept = passwords(&server);
    assert!(kept.len() == 1 && kept[0].starts_with("{SSHA}"), "{kept:?}");

    // Dead after its change, and taken back.
    let places = host.places_on(&TO_THE_END);
    let current = host.read("app/ldap", None);
    let known = places.iter().position(|place| place == "conclude-after").unwrap();
    host.dies_at(&TO_THE_END, &places, known);
    let back = ["run", "rollback", "app-ldap", "--reason", "test", "--wait", "end"];
    let _ = host.run(&back, "");
    assert_eq!(host.read("app/ldap", None), current);
    assert!(accepts(&server, &current));
    host.left_no_trace(&[old, new, admin], &[("log", &server.log())]);
}

#[test]
fn what_stands_in_the_way_of_a_rotation_is_said_before_it_begins() {
    let server = server(OpenLdapOptions {
        policy: Some(
            "pwdMaxFailure: 3\npwdLockout: TRUE\npwdCheckQuality: 2\npwdMustChange: TRUE\npwdMinAge: 60",
        ),
        one_value: true,
        ..OpenLdapOptions::default()
    });
    let (host, admin, old) = host(&server, "1s", "policy = \"cn=policy,dc=kw\"\n");
    plan_says(
        &host,
        24,
        &[
            "openldap.one-value",
            "values = \"one\"",
            "openldap.quality",
            "openldap.must-change",
            "openldap.min-age",
        ],
    );
    assert_eq!(passwords(&server), [old]);
    let policy = "dn: cn=policy,dc=kw\nchangetype: modify\nreplace: pwdCheckQuality\npwdCheckQuality: 1\n-\ndelete: pwdMustChange\n-\ndelete: pwdMinAge\n";
    server.change(policy).unwrap();

    // Somebody guesses, and the entry is shut: no refusal of the password, and no word of it to whoever guesses.
    for _ in 0..3 {
        assert!(server.login(ENTRY, "guessed").unwrap().is_refused());
    }
    plan_says(&host, 24, &["openldap.locked", "pwdAccountLockedTime"]);
    let check = host.run(&["target", "test", "app-ldap"], "");
    assert!(
        check.stdout.contains("locked") || check.stderr.contains("locked"),
        "{check:?}"
    );
    server
        .change(&format!(
            "dn: {ENTRY}\nchangetype: modify\ndelete: pwdAccountLockedTime\n"
        ))
        .unwrap();

    // The administrator: not let in, without the right, and no administrator at all.
    let group = |verb: &str, member: &str| {
        server
            .change(&format!(
                "dn: cn=rotators,dc=kw\nchangetype: modify\n{verb}: member\nmember: {member}\n"
            ))
            .unwrap();
    };
    group("delete", "cn=rotator,dc=kw");
    plan_says(&host, 24, &["openldap.entry-missing", "by … read"]);
    group("add", "cn=rotator,dc=kw");
    let rotator = |password: &str| {
        server
            .change(&format!(
                "dn: cn=rotator,dc=kw\nchangetype: modify\nreplace: userPassword\nuserPassword: {password}\n"
            ))
            .unwrap();
    };
    rotator("another");
    plan_says(&host, 22, &["admin.refused"]);
    rotator(&admin);
    reconfigure(&host, ENTRY, "cn=nobody,dc=kw");
    plan_says(&host, 24, &["openldap.entry-missing", "cn=nobody,dc=kw"]);
}

#[test]
fn a_password_that_was_changed_by_hand_is_no_reason_to_lock_anybody_out() {
    let server = server(OpenLdapOptions::default());
    let (host, _, old) = host(&server, "1s", "hash = \"ssha512\"\n");
    let wrong = host.import("app/ldap", &random_password());
    assert_ne!(wrong.code, 0, "{wrong:?}");
    assert!(accepts(&server, &old));
    let _ = host.run(&TO_THE_END, "").ends(0);
    let kept = passwords(&server);
    assert!(kept.len() == 1 && kept[0].starts_with("{SSHA512}"), "{kept:?}");
    let new = host.read("app/ldap", None);
    assert!(accepts(&server, &new) && !accepts(&server, &old));
    // An entry that is gone is not made anew by a change.
    server
        .change(&format!("dn: {ENTRY}\nchangetype: delete\n"))
        .unwrap();
    plan_says(&host, 24, &["openldap.entry-missing"]);
    let _ = host.run(&["rotate", "app-ldap"], "").ends(24);
    let gone = server.values("dc=kw", "userPassword").unwrap();
    assert!(gone.is_empty());
}
