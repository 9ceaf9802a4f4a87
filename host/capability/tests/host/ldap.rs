//! What the host makes of a directory's answers: a bind proves, and nothing else does; parts of an answer belong to the request that they answer.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use keywheel_capability::bindings::keywheel::net::frames::{Host as _, HostFrame};
use keywheel_capability::bindings::keywheel::plugin::runs::HostRun as _;
use keywheel_capability::handle::{Alphabet, Labels};
use keywheel_capability::port::Wanted;
use keywheel_capability::report::LoginResult;
use keywheel_capability::{Error, Handle, Stop};
use keywheel_model::{Role, StepName, Verdict};
use wasmtime::component::Resource;

use crate::scene::{Scene, TIMEOUT_MS};
use crate::world::{again, code};

const SECRET: &str = "planted-7f3-password";
/// What each is made of stands in RFC 4511 4.1.9; their codes in appendix A.
const ACCEPTED: &[u8] = &[0x30, 12, 2, 1, 2, 0x61, 7, 0x0a, 1, 0, 4, 0, 4, 0];
const REJECTED: &[u8] = &[0x30, 12, 2, 1, 2, 0x61, 7, 0x0a, 1, 49, 4, 0, 4, 0];
const COMPARED: &[u8] = &[0x30, 12, 2, 1, 2, 0x6f, 7, 0x0a, 1, 0, 4, 0, 4, 0];
const SEARCHED: &[u8] = &[0x30, 12, 2, 1, 3, 0x65, 7, 0x0a, 1, 0, 4, 0, 4, 0];

/// A result of a bind with the password policy's error, from a server that says more than it is asked.
fn with_policy(result: u8, error: u8) -> Vec<u8> {
    let oid = b"1.3.6.1.4.1.42.2.27.8.5.1";
    let mut control = vec![4, 25];
    control.extend_from_slice(oid);
    control.extend([4, 5, 0x30, 3, 0x81, 1, error]);
    let length = u8::try_from(control.len()).unwrap();
    let mut message = vec![
        2,
        1,
        2,
        0x61,
        7,
        0x0a,
        1,
        result,
        4,
        0,
        4,
        0,
        0xa0,
        length + 2,
        0x30,
        length,
    ];
    message.extend(control);
    [&[0x30, u8::try_from(message.len()).unwrap()], message.as_slice()].concat()
}

fn entry(values: &[&str]) -> Vec<u8> {
    let mut list = Vec::new();
    for value in values {
        list.extend([4, u8::try_from(value.len()).unwrap()]);
        list.extend_from_slice(value.as_bytes());
    }
    let wrap = |tag, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
    let attribute = wrap(0x30, &[&[4, 1, b'x'][..], &wrap(0x31, &list)].concat());
    let entry = [&[4, 0][..], &wrap(0x30, &attribute)].concat();
    wrap(0x30, &[&[2, 1, 3][..], &wrap(0x64, &entry)].concat())
}

fn peer(says: Vec<u8>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        stream.write_all(&says).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    port
}

async fn scene(says: &[u8]) -> Scene {
    Scene::open(StepName::Test, peer(says.to_vec())).await
}

async fn subject(scene: &mut Scene, value: &str) -> Resource<Handle> {
    let labels = Labels::imported("text/plain", Alphabet::Text);
    scene
        .world
        .memory
        .keep(Wanted::Role(Role::Subject), "ver-pre", value, labels);
    let run = scene.world.run();
    scene.world.state.subject(run).await.unwrap()
}

enum Part<'a> {
    Open(u32),
    Close,
    Bytes(u32, &'a [u8]),
    Secret(u32, &'a Resource<Handle>),
}
use Part::{Bytes, Close, Open, Secret};

async fn send(scene: &mut Scene, parts: &[Part<'_>]) -> Result<(), Error> {
    let channel = scene.channel();
    let state = &mut scene.world.state;
    let frame = HostFrame::new(state, "ldap".to_owned()).await.unwrap();
    let borrow = || Resource::new_borrow(frame.rep());
    for part in parts {
        if let Open(tag) | Bytes(tag, _) | Secret(tag, _) = part {
            HostFrame::open(state, borrow(), *tag).await.unwrap();
        }
        match part {
            Bytes(_, bytes) => HostFrame::bytes(state, borrow(), bytes.to_vec()).await.unwrap(),
            Secret(_, secret) => {
                let raw = "raw".to_owned();
                HostFrame::secret(state, borrow(), again(secret), raw)
                    .await
                    .unwrap();
            }
            Open(_) | Close => {}
        }
        if !matches!(part, Open(_)) {
            HostFrame::close(state, borrow()).await.unwrap();
        }
    }
    HostFrame::send(state, frame, channel).await
}

async fn bind(scene: &mut Scene, name: &str, password: &str) -> Result<(), Error> {
    let secret = subject(scene, password).await;
    let name = Bytes(4, name.as_bytes());
    let head = [Open(0x30), Bytes(2, &[2]), Open(0x60), Bytes(2, &[3])];
    let parts = head
        .into_iter()
        .chain([name, Secret(0x80, &secret), Close, Close]);
    send(scene, &parts.collect::<Vec<_>>()).await
}

async fn bind_admin(scene: &mut Scene) {
    let run = scene.world.run();
    let secret = scene.world.state.input(run, "admin".to_owned()).await.unwrap();
    let head = [Open(0x30), Bytes(2, &[2]), Open(0x60), Bytes(2, &[3])];
    let parts = head
        .into_iter()
        .chain([Bytes(4, b"admin"), Secret(0x80, &secret), Close, Close]);
    send(scene, &parts.collect::<Vec<_>>()).await.unwrap();
}

async fn look(scene: &mut Scene) {
    let parts = [
        Open(0x30),
        Bytes(2, &[3]),
        Open(0x63),
        Bytes(4, b"app"),
        Close,
        Close,
    ];
    send(scene, &parts).await.unwrap();
}

async fn receive(scene: &mut Scene) -> Result<Vec<u8>, Error> {
    let channel = scene.channel();
    scene
        .world
        .state
        .receive(channel, "ldap".to_owned(), 4096, TIMEOUT_MS)
        .await
}

#[tokio::test]
async fn what_a_bind_is_answered_is_what_it_proves() {
    let limited = Verdict::Limited(String::new());
    let account = Verdict::Account(String::new());
    for (says, verdict) in [
        (ACCEPTED.to_vec(), Verdict::Accepted),
        (REJECTED.to_vec(), Verdict::Rejected),
        (with_policy(0, 2), limited),
        (with_policy(49, 0), account.clone()),
        (with_policy(49, 1), account),
    ] {
        let mut scene = scene(&says).await;
        bind(&mut scene, "app", SECRET).await.unwrap();
        assert_eq!(receive(&mut scene).await.unwrap(), says);
        let report = scene.world.state.into_report();
        assert_eq!(report.vouched(verdict.clone()), verdict);
        let other = if verdict == Verdict::Rejected {
            Verdict::Accepted
        } else {
            Verdict::Rejected
        };
        assert!(
            matches!(report.vouched(other), Verdict::Unknown(_)),
            "{verdict:?}"
        );
    }
}

/// RFC 4513 5.1: without a name or without a password a directory says yes to anybody.
#[tokio::test]
async fn a_bind_of_nobody_and_a_success_of_something_else_prove_nothing() {
    let mut nameless = scene(ACCEPTED).await;
    bind(&mut nameless, "", SECRET).await.unwrap();
    receive(&mut nameless).await.unwrap();
    assert_eq!(nameless.world.state.into_report().logins, []);

    let mut empty = scene(ACCEPTED).await;
    assert_eq!(code(bind(&mut empty, "app", "").await), "ldap.empty-secret");
    assert_eq!(empty.world.state.into_report().logins, []);

    let mut compared = scene(COMPARED).await;
    let secret = subject(&mut compared, SECRET).await;
    let parts = [
        Open(0x30),
        Bytes(2, &[2]),
        Open(0x6e),
        Bytes(4, b"app"),
        Open(0x30),
        Bytes(4, b"userPassword"),
        Secret(4, &secret),
        Close,
        Close,
        Close,
    ];
    send(&mut compared, &parts).await.unwrap();
    receive(&mut compared).await.unwrap();
    assert_eq!(compared.world.state.into_report().logins, []);

    let mut answered = scene(COMPARED).await;
    bind(&mut answered, "app", SECRET).await.unwrap();
    receive(&mut answered).await.unwrap();
    let report = answered.world.state.into_report();
    assert_eq!(report.logins[0].result, LoginResult::Unknown);
}

#[tokio::test]
async fn each_part_of_an_answer_is_shown_and_what_nobody_asked_for_is_not() {
    let parts = [entry(&["one"]), entry(&["two"])];
    let says = [ACCEPTED, &parts[0], &parts[1], SEARCHED, &parts[0]].concat();
    let mut scene = scene(&says).await;
    bind_admin(&mut scene).await;
    look(&mut scene).await;
    assert_eq!(receive(&mut scene).await.unwrap(), ACCEPTED);
    for part in [parts[0].as_slice(), &parts[1], SEARCHED] {
        assert_eq!(receive(&mut scene).await.unwrap(), part);
    }
    assert_eq!(receive(&mut scene).await.unwrap(), b"");
}

#[tokio::test]
async fn a_secret_in_pieces_and_words_beside_a_result_are_not_shown() {
    let mut pieces = scene(&[ACCEPTED, &entry(&["planted-7f3", "-password"])].concat()).await;
    let _live = subject(&mut pieces, SECRET).await;
    bind_admin(&mut pieces).await;
    look(&mut pieces).await;
    receive(&mut pieces).await.unwrap();
    assert!(matches!(
        receive(&mut pieces).await,
        Err(Error::Stop(Stop::Reflection))
    ));

    let quoted = [
        &[0x30, 19, 2, 1, 2, 0x61, 14, 0x0a, 1, 49, 4, 0, 4, 7][..],
        b"hunter2",
    ]
    .concat();
    let mut quoting = scene(&quoted).await;
    bind(&mut quoting, "app", SECRET).await.unwrap();
    assert_eq!(receive(&mut quoting).await.unwrap(), REJECTED);
}

#[tokio::test]
async fn lengths_without_an_end_nesting_without_a_ground_and_requests_are_refused() {
    let mut deep = vec![2, 1, 2];
    for _ in 0..20 {
        deep = [&[0x30, u8::try_from(deep.len()).unwrap()], deep.as_slice()].concat();
    }
    for (says, wanted) in [
        (vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff], "target.limit"),
        (vec![0x30, 0x80, 0, 0], "net.protocol"),
        (deep, "net.protocol"),
        (vec![0x30, 5, 2, 1, 2, 0x42, 0], "net.protocol"),
        (b"HTTP/1.1 400 Bad Request\r\n".repeat(5), "net.protocol"),
    ] {
        let mut scene = scene(&says).await;
        bind(&mut scene, "app", SECRET).await.unwrap();
        assert_eq!(code(receive(&mut scene).await), wanted, "{says:02x?}");
        // In the middle of something it is not read on.
        assert_eq!(code(receive(&mut scene).await), "net.closed");
    }
}
