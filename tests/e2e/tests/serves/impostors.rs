//! Somebody else listens where the host should.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};

use keywheel_kit::random_password;
use rustix::process::{Uid, geteuid};

use crate::scene::{DEADLINE, Scene};

/// Listens at a path as another user, which is that of its thread alone, and says how many bytes it was told.
fn listen_as(uid: u32, path: &Path) -> JoinHandle<usize> {
    let (path, (listens, waits)) = (path.to_owned(), channel());
    let listening = thread::spawn(move || {
        rustix::thread::set_thread_uid(Uid::from_raw(uid)).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        listens.send(()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut told = Vec::new();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.read_to_end(&mut told).unwrap()
    });
    waits.recv_timeout(DEADLINE).unwrap();
    listening
}

#[test]
fn whoever_takes_the_place_of_the_socket_is_told_nothing() {
    if !geteuid().is_root() {
        println!("skipped: only root can be another user");
        return;
    }
    let scene = Scene::new("1s");
    let folder = tempfile::tempdir().unwrap();
    let mode = |mode| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    let socket = folder.path().join("host.sock");
    mode(0o777);
    scene.configure_first(&format!("[serve]\nsocket = \"{}\"\n", socket.display()));
    // A folder in which anybody can is refused before.
    for words in [&["config", "check"][..], &["serve"], &["status"]] {
        let _ = scene.run(words).ends(20).says(&["error[config.open-to-others]"]);
    }
    let listening = listen_as(65_534, &socket);
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    mode(0o755);
    let refused = scene.host.import("app/other", &random_password()).ends(22);
    let _ = refused.says(&[
        "error[socket.stranger]",
        "user 65534",
        "hint: nothing was said to them",
    ]);
    assert_eq!(listening.join().unwrap(), 0);
    // Once they are gone the host has the place again, and nothing was imported.
    let _ = scene.run(&["secret", "show", "app/other"]).ends(23);
    let _ = scene.serve_at(&socket).ends();
}
