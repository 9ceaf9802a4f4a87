//! A directory that answers as it likes: what the plugin `openldap` makes of it. Each answer is told with a code, and none is taken for a proof.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use keywheel_e2e::{Host, Output};

const BIND: u8 = 0x60;
const SEARCH: u8 = 0x63;
const EXTENDED: u8 = 0x77;
const PASSWORD: &str = "planted-in-a-directory";

/// What it sends for a request, by its number and its operation.
type Answers = fn(u8, u8) -> Vec<u8>;

fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
}

fn message(id: u8, operation: u8, content: &[u8]) -> Vec<u8> {
    wrap(0x30, &[&[2, 1, id], wrap(operation, content).as_slice()].concat())
}

/// A result without words; the operation of an answer is the next after its request's, but for searches.
fn result(id: u8, operation: u8, code: u8) -> Vec<u8> {
    let answer = match operation {
        SEARCH => 0x65,
        other => other + 1,
    };
    message(id, answer, &[0x0a, 1, code, 4, 0, 4, 0])
}

fn entry(id: u8) -> Vec<u8> {
    message(id, 0x64, &[4, 0, 0x30, 0])
}

/// It is as it should be.
fn well(id: u8, operation: u8) -> Vec<u8> {
    match operation {
        SEARCH => [entry(id), result(id, operation, 0)].concat(),
        EXTENDED => message(
            id,
            0x78,
            &[&[0x0a, 1, 0, 4, 0, 4, 0][..], &wrap(0x8b, b"dn:cn=app,dc=kw")].concat(),
        ),
        _ => result(id, operation, 0),
    }
}

fn serve(mut stream: TcpStream, answers: Answers) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_mins(1))).ok()?;
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).ok()?;
        let more = if head[1] < 0x80 {
            0
        } else {
            usize::from(head[1] & 0x7f)
        };
        let mut octets = vec![0; more];
        stream.read_exact(&mut octets).ok()?;
        let long = octets
            .iter()
            .fold(0, |length, octet| length << 8 | usize::from(*octet));
        let mut content = vec![0; if more == 0 { usize::from(head[1]) } else { long }];
        stream.read_exact(&mut content).ok()?;
        stream.write_all(&answers(content[2], content[3])).ok()?;
    }
}

fn server(answers: Answers) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(stream, answers));
        }
    });
    port
}

fn host(port: u16) -> Host {
    let host = Host::init();
    host.configure(&format!(
        "[[rotation]]\nname = \"app-ldap\"\nplugin = \"openldap\"\nsecret = \"app/ldap\"\ninputs = {{ admin = \"admin/ldap\" }}\n\
         gap = \"accept\"\nconsumers = [{{ name = \"shop\", staleness = \"1s\" }}]\n\n[rotation.config]\nhost = \"localhost\"\nport = {port}\n\
         transport = \"plaintext\"\nadmin = \"cn=rotator,dc=kw\"\nentry = \"cn=app,dc=kw\"\n"
    ));
    host.drop_plugin("openldap");
    let granted = format!("localhost:{port} plaintext");
    let _ = host
        .run(&["plugin", "add", "openldap", "--yes", "--host", &granted], "")
        .ends(0);
    let _ = host.import("admin/ldap", "the-administrators").ends(0);
    host
}

fn said(output: &Output) -> String {
    format!("{}{}", output.stdout, output.stderr)
}

#[test]
fn whatever_a_directory_says_is_told_and_the_host_goes_on() {
    let endless: Answers = |id, operation| match operation {
        SEARCH => entry(id).repeat(1000),
        _ => well(id, operation),
    };
    let cases: [(Answers, &str); 8] = [
        (|id, operation| result(id, operation, 10), "ldap.referral"),
        (|id, operation| result(id, operation, 51), "ldap.busy"),
        (|id, operation| result(id, operation, 49), "admin.refused"),
        (|id, operation| well(id + 1, operation), "ldap.malformed"),
        (
            |_, _| message(0, 0x78, &[0x0a, 1, 52, 4, 0, 4, 0]),
            "ldap.disconnected",
        ),
        (|_, _| vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff], "target.limit"),
        (|_, _| b"HTTP/1.1 400 Bad Request\r\n".repeat(5), "net.protocol"),
        (endless, "ldap.malformed"),
    ];
    for (answers, code) in cases {
        let host = host(server(answers));
        let plan = host.run(&["plan", "app-ldap"], "");
        assert_ne!(plan.code, 0, "{code}: {plan:?}");
        assert!(said(&plan).contains(code), "{code}: {plan:?}");
    }
}

#[test]
fn no_success_but_that_of_the_entrys_own_bind_is_a_proof() {
    let nobody: Answers = |id, operation| match operation {
        EXTENDED => message(
            id,
            0x78,
            &[&[0x0a, 1, 0, 4, 0, 4, 0][..], &wrap(0x8b, b"")].concat(),
        ),
        _ => well(id, operation),
    };
    let another: Answers = |id, operation| match operation {
        EXTENDED => message(
            id,
            0x78,
            &[&[0x0a, 1, 0, 4, 0, 4, 0][..], &wrap(0x8b, b"dn:cn=other,dc=kw")].concat(),
        ),
        _ => well(id, operation),
    };
    // A modification's success in the place of a bind's; the plugin takes it for a bind's, and the host does not.
    let modified: Answers = |id, operation| match operation {
        BIND => result(id, 0x66, 0),
        _ => well(id, operation),
    };
    for (answers, words) in [
        (nobody, "as nobody"),
        (another, "cn=other,dc=kw"),
        (modified, "not answered"),
    ] {
        let host = host(server(answers));
        // Nobody waits for its next try.
        let import = host.run(&["secret", "import", "app/ldap", "-"], PASSWORD);
        let shown = host.run(&["run", "show", "app-ldap"], "");
        let all = said(&import) + &said(&shown);
        assert!(
            all.contains(words) && !all.contains("adopted\n"),
            "{words}: {all}"
        );
        assert!(!all.contains(PASSWORD), "{all}");
    }
    // The control.
    let host = host(server(well));
    let _ = host.import("app/ldap", PASSWORD).ends(0);
}
