//! What may go over a channel once a secret did, and what of the answers is shown (rules H2, H4 and H6).

use keywheel_capability::bindings::keywheel::net::tcp::{HostChannel, HostTlsOptions};
use keywheel_capability::handle::{Alphabet, Labels};
use keywheel_capability::port::{AuditFact, Wanted};
use keywheel_capability::{Error, Stop};
use keywheel_manifest::Manifest;
use keywheel_model::{Role, StepName};
use keywheel_target::tls::TrustStore;

use crate::scene::{MANIFEST, Scene, TIMEOUT_MS, peer};
use crate::world::{SCHEMA, code};

/// A step that may send what no shape declares.
async fn scene(says: &'static str) -> Scene {
    Scene::open(StepName::Apply, peer(says)).await
}

async fn write(scene: &mut Scene) -> Result<(), Error> {
    let channel = scene.channel();
    HostChannel::write(&mut scene.world.state, channel, b"ECHO 1\r\n".to_vec()).await
}

#[tokio::test]
async fn a_write_after_a_secret_is_refused() {
    let mut scene = scene("").await;
    scene.administrator().await;
    assert_eq!(code(write(&mut scene).await), "net.carried");
}

/// What its greeting says goes over the wire in the clear, and is no frame.
#[tokio::test]
async fn tls_is_not_started_after_a_secret() {
    let mut scene = scene("").await;
    scene.administrator().await;
    let (channel, state) = (scene.channel(), &mut scene.world.state);
    let options = HostTlsOptions::new(state, "localhost".to_owned()).await.unwrap();
    let started = HostChannel::start_tls(state, channel, options).await;
    assert_eq!(code(started), "net.carried");
}

#[tokio::test]
async fn a_secret_that_is_not_sent_without_tls_comes_with_the_lines_that_allow_it() {
    let port = peer("");
    let hosts = format!("\"localhost:{port} tls\"");
    let mut scene = Scene::granted(TrustStore::new(), StepName::Test, port, &hosts).await;
    let Err(Error::Answer(refused)) = scene.login("planted-7f3").await else {
        panic!("a secret went out in plaintext");
    };
    assert_eq!(refused.code, "net.unsafe-stream");
    let lines = format!(
        "to allow it, write in policies/probe.toml:\nhosts = [\"localhost:{port} tls\", \"localhost:{port} plaintext\"]"
    );
    assert!(refused.message.contains(&lines), "{}", refused.message);
}

/// They may be the beginning of a command whose text the secret would become.
#[tokio::test]
async fn a_secret_after_bytes_that_are_no_frame_is_refused() {
    let mut scene = scene("").await;
    write(&mut scene).await.unwrap();
    assert_eq!(code(scene.login("planted-7f3").await), "net.not-fresh");
}

#[tokio::test]
async fn a_frame_that_no_shape_declares_is_refused_after_a_secret() {
    let mut scene = scene("").await;
    scene.send("DBSIZE").await.unwrap();
    scene.administrator().await;
    assert_eq!(code(scene.send("DBSIZE").await), "shape.none");
    scene.send("PING").await.unwrap();
}

#[tokio::test]
async fn a_read_after_a_secret_is_refused() {
    let mut scene = scene("+1\r\n+2\r\n+3\r\n+4\r\n").await;
    assert_eq!(scene.read_line().await.unwrap(), b"+1\r\n");
    scene.administrator().await;
    assert_eq!(code(scene.read_line().await), "net.carried");
    let (channel, again) = (scene.channel(), scene.channel());
    let state = &mut scene.world.state;
    let read = HostChannel::read(state, channel, 4, TIMEOUT_MS).await;
    assert_eq!(code(read), "net.carried");
    let kept = HostChannel::read_secret(state, again, 4, "text/plain".to_owned(), TIMEOUT_MS).await;
    assert_eq!(code(kept), "net.carried");
    assert_eq!(scene.receive().await.unwrap(), "+2\r\n");
    // Each of the three stands in the audit trail.
    let audited = |fact: &AuditFact| matches!(fact, AuditFact::Denied { code, .. } if code == "net.carried");
    let memory = scene.world.memory.get();
    assert_eq!(memory.facts.iter().filter(|fact| audited(fact)).count(), 3);
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_hidden_after_a_secret() {
    let mut scene = scene("+HELLO\r\n+OK\r\n$5\r\nquote\r\n").await;
    assert_eq!(scene.receive().await.unwrap(), "+HELLO\r\n");
    scene.administrator().await;
    assert_eq!(scene.receive().await.unwrap(), "+OK\r\n");
    assert_eq!(scene.receive().await.unwrap(), "$-1\r\n");
}

/// Whether the step ends when the server answers this command so, with this as the live secret.
async fn is_caught(secret: &str, says: &'static str, command: &str) -> bool {
    let mut scene = scene(says).await;
    let labels = Labels::imported("text/plain", Alphabet::Text);
    let wanted = Wanted::Role(Role::Current);
    scene.world.memory.keep(wanted, "ver-cur", secret, labels);
    let _ = scene.world.current().await;
    scene.send(command).await.unwrap();
    let caught = matches!(scene.receive().await, Err(Error::Stop(Stop::Reflection)));
    assert_eq!(scene.world.state.into_report().reflection, caught);
    caught
}

#[tokio::test]
async fn an_answer_that_holds_a_secret_in_pieces_ends_the_step() {
    let pieces = "*2\r\n$8\r\nplanted-\r\n$11\r\n7f3-current\r\n";
    assert!(is_caught("planted-7f3-current", pieces, "QUIT").await);
}

#[tokio::test]
async fn a_status_that_is_a_secret_ends_the_step() {
    let status = "-PLANTED-7F3-STATUS quoted\r\n";
    assert!(is_caught("PLANTED-7F3-STATUS", status, "PING").await);
}

#[tokio::test]
async fn an_error_that_quotes_a_frame_with_a_secret_is_cut_to_its_first_word() {
    let mut scene = scene("-ERR near 'guest-visible'\r\n-ERR near 'guest-visible'\r\n").await;
    scene.administrator().await;
    scene.send("QUIT").await.unwrap();
    assert_eq!(scene.receive().await.unwrap(), "-ERR\r\n");
    // The control: a frame without a secret, declared with `all`.
    assert_eq!(scene.receive().await.unwrap(), "-ERR near 'guest-visible'\r\n");
}

#[test]
fn a_frame_with_a_secret_cannot_be_declared_with_all() {
    let auth = "\"{subject}\"]\neffect = \"login\"\nreply = ";
    let (before, after) = MANIFEST.split_once(&format!("{auth}\"status\"")).unwrap();
    let text = format!("{before}{auth}\"all\"{after}");
    let error = Manifest::from_toml(&text, SCHEMA).unwrap_err();
    assert!(format!("{error:?}").contains("without a secret"), "{error:?}");
}
