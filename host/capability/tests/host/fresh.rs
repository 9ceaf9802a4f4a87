//! A login on a channel proves only what its own answer says (rule H7).

use keywheel_capability::Error;
use keywheel_capability::bindings::keywheel::net::frames::Host as _;
use keywheel_capability::bindings::keywheel::net::tcp::{HostChannel, HostTlsOptions};
use keywheel_kit::{Redis, RedisOptions};
use keywheel_model::{StepName, Verdict};
use keywheel_target::tls::TrustStore;
use wasmtime::component::Resource;

use crate::scene::{Scene, TIMEOUT_MS, Word, peer};
use crate::world::code;

const REAL: &str = "planted-real-password-of-app";
const WRONG: &str = "planted-wrong-password-of-app";

/// With the user `app`.
fn redis() -> Redis {
    let server = Redis::start(RedisOptions {
        plaintext: true,
        ..RedisOptions::default()
    });
    let server = server.unwrap();
    server.create_user("app", REAL).unwrap();
    server
}

fn is_unknown(scene: Scene) -> bool {
    let report = scene.world.state.into_report();
    assert_eq!(report.logins, []);
    matches!(report.vouched(Verdict::Accepted), Verdict::Unknown(_))
}

#[tokio::test]
async fn a_left_over_answer_is_never_taken_for_a_logins() {
    let server = redis();
    let mut scene = Scene::open(StepName::Test, server.plaintext_port().unwrap()).await;
    // Who is not logged in gets an error for `PING` and `+OK` for `QUIT`; only the error is read.
    scene.send("PING").await.unwrap();
    scene.send("QUIT").await.unwrap();
    assert!(scene.read_line().await.unwrap().starts_with(b"-NOAUTH"));
    assert_eq!(code(scene.login(WRONG).await), "net.not-fresh");
    assert!(is_unknown(scene));
}

#[tokio::test]
async fn a_login_on_a_channel_that_was_used_is_refused_however_it_was_used() {
    for way in ["sent", "answered", "read", "received"] {
        let mut scene = Scene::open(StepName::Test, peer("+PONG\r\n+OK\r\n")).await;
        match way {
            "sent" => scene.send("PING").await.unwrap(),
            "answered" => {
                scene.send("PING").await.unwrap();
                assert_eq!(scene.receive().await.unwrap(), "+PONG\r\n");
            }
            "read" => drop(scene.read_line().await.unwrap()),
            _ => drop(scene.receive().await.unwrap()),
        }
        assert_eq!(code(scene.login(WRONG).await), "net.not-fresh", "{way}");
        assert!(is_unknown(scene), "{way}");
    }
}

#[tokio::test]
async fn the_first_frame_of_a_channel_is_the_proof() {
    let server = redis();
    for (password, said, verdict) in [
        (REAL, "+OK\r\n", Verdict::Accepted),
        (WRONG, "-WRONGPASS\r\n", Verdict::Rejected),
    ] {
        let mut scene = Scene::open(StepName::Test, server.plaintext_port().unwrap()).await;
        scene.login(password).await.unwrap();
        assert_eq!(scene.receive().await.unwrap(), said);
        let report = scene.world.state.into_report();
        assert_eq!(report.vouched(verdict.clone()), verdict);
    }
}

/// Connected without TLS to the server's port for it, which a grant for TLS opens to this network; then `start-tls`.
async fn start_tls(server: &Redis, network: &str) -> (Scene, Result<(), Error>) {
    let mut trust = TrustStore::new();
    trust.add_pem("redis", server.ca_pem().as_bytes()).unwrap();
    let port = server.port();
    let hosts = format!("\"localhost:{port} plaintext\", \"{network}:{port} tls\"");
    let mut scene = Scene::granted(trust, StepName::Test, port, &hosts).await;
    let (channel, state) = (scene.channel(), &mut scene.world.state);
    let options = HostTlsOptions::new(state, "localhost".to_owned()).await.unwrap();
    let borrow = Resource::new_borrow(options.rep());
    HostTlsOptions::trust(state, borrow, "redis".to_owned())
        .await
        .unwrap();
    let started = HostChannel::start_tls(state, channel, options).await;
    (scene, started)
}

#[tokio::test]
async fn start_tls_to_an_address_without_a_grant_for_tls_is_refused() {
    let (_, started) = start_tls(&redis(), "127.0.0.2/32").await;
    assert_eq!(code(started), "net.forbidden-address");
}

#[tokio::test]
async fn after_start_tls_a_channel_is_as_new() {
    let server = redis();
    let (mut scene, started) = start_tls(&server, "127.0.0.0/8").await;
    started.unwrap();
    scene.login(REAL).await.unwrap();
    assert_eq!(scene.receive().await.unwrap(), "+OK\r\n");
    let report = scene.world.state.into_report();
    assert_eq!(report.vouched(Verdict::Accepted), Verdict::Accepted);
}

#[tokio::test]
async fn a_channel_keeps_the_framing_of_its_first_frame() {
    let mut scene = Scene::open(StepName::Test, peer("-WRONGPASS no\r\n")).await;
    scene.login(WRONG).await.unwrap();
    let channel = scene.channel();
    let read = scene
        .world
        .state
        .receive(channel, "ber".to_owned(), 200, TIMEOUT_MS);
    assert_eq!(code(read.await), "net.framing");
    assert_eq!(code(scene.frame("ber", &[Word::Text("x")]).await), "net.framing");
    assert_eq!(scene.receive().await.unwrap(), "-WRONGPASS\r\n");
    let report = scene.world.state.into_report();
    assert_eq!(report.vouched(Verdict::Rejected), Verdict::Rejected);
}
