//! The disk of the state takes no write, while the host runs.

use std::fs;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

use crate::http::{free_address, get};
use crate::scene::{Scene, Serving, until};

/// No file of the host may grow beyond so many bytes: its journal's first page does not fit. A disk that is full looks like this to it.
const NO_ROOM: u64 = 4_096;

fn limit(serving: &mut Serving<'_>, bytes: Option<u64>) {
    let pid = Pid::from_child(&serving.started().child);
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(Some(pid), Resource::Fsize, limit).unwrap();
}

fn kinds(scene: &Scene) -> Vec<String> {
    let status = scene.run(&["status", "-o", "json"]).json();
    let kind = |entry: &Value| entry["kind"].as_str().unwrap().to_owned();
    status.as_array().unwrap().iter().map(kind).collect()
}

#[test]
fn a_disk_that_takes_no_write_is_told_of_and_the_host_goes_on_once_it_does() {
    let scene = Scene::new("1s");
    let (address, file) = (free_address(), scene.host.outside("told"));
    scene.configure_first(&format!(
        "[serve]\nwatch = false\nhttp = \"{address}\"\n\n\
         [[notify]]\nname = \"ops\"\nkind = \"command\"\ncommand = [\"/bin/sh\", \"-c\", \"cat >> {}\"]\n",
        file.display()
    ));
    let mut serving = scene.serve();
    assert_eq!(get(address, "/readyz").0, 200);
    // What the sandbox keeps in files that are only memory is under the limit too: it is there before.
    let _ = scene.run(&["plan", "app-redis"]).ends(10);
    limit(&mut serving, Some(NO_ROOM));
    let refused = scene.run(&["rotate", "app-redis", "--wait", "0s"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    let _ = refused.says(&["error[store.commit]"]);
    assert!(kinds(&scene).contains(&"state-unwritable".to_owned()));
    let (ready, why) = get(address, "/readyz");
    assert!(ready == 503 && why.contains("cannot be written since"), "{why}");
    // To start it again would be of no use.
    assert_eq!(get(address, "/healthz").0, 200);
    let told = |topic: &str| {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let is_of = |line: &&str| {
            serde_json::from_str::<Value>(line)
                .is_ok_and(|notice| notice["topic"] == topic && notice["key"] == "state: state-unwritable")
        };
        text.lines().filter(is_of).count()
    };
    until("it is told, past the outbox", || told("attention") == 1);
    assert!(scene.accepts(&scene.old));

    limit(&mut serving, None);
    until("its end is told", || told("attention-resolved") == 1);
    assert_eq!(told("attention"), 1);
    assert_eq!(get(address, "/readyz").0, 200);
    assert_eq!(kinds(&scene), [""; 0]);
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    assert!(!scene.accepts(&scene.old));
    let _ = serving.ends();
}
