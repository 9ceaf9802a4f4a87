//! Access keys of an IAM user on moto, which checks signatures and policies by other people's code: made, proved, used, deleted; never a third key; and
//! what is left where an answer was lost.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::sync::OnceLock;

use keywheel_e2e::{Host, Output, Rotation, rotation, until};
use keywheel_kit::{AccessKey, Moto, random_password};

/// All tests share it, each with users of its own.
fn moto() -> &'static Moto {
    static MOTO: OnceLock<Moto> = OnceLock::new();
    MOTO.get_or_init(|| Moto::start().unwrap())
}

const ROTATE: [&str; 4] = ["rotate", "app-aws", "--wait", "end"];
const RESUME: [&str; 5] = ["run", "resume", "app-aws", "--wait", "end"];
const RIGHTS: [&str; 4] = [
    "iam:CreateAccessKey",
    "iam:DeleteAccessKey",
    "iam:GetAccessKeyLastUsed",
    "iam:ListAccessKeys",
];

struct Scene {
    host: Host,
    user: &'static str,
    admin: AccessKey,
    old: AccessKey,
}

impl Scene {
    /// With an administrator of its own and a key in use, imported.
    fn new(user: &'static str) -> Self {
        Self::with(user, &RIGHTS, false).adopted()
    }

    fn adopted(self) -> Self {
        let _ = self.host.import("app/aws", &self.old.document()).ends(0);
        self
    }

    /// `is_own`: the key makes its own successor.
    fn with(user: &'static str, rights: &[&str], is_own: bool) -> Self {
        let moto = moto();
        let rotator = format!("rotator-of-{user}");
        moto.create_user(user, if is_own { rights } else { &[] }).unwrap();
        moto.create_user(&rotator, rights).unwrap();
        let (admin, old) = (moto.create_key(&rotator).unwrap(), moto.create_key(user).unwrap());
        let host = Host::init_watched();
        let mode = if is_own { "mode = \"self\"" } else { "" };
        let text = rotation(&Rotation {
            name: "app-aws",
            plugin: "aws-iam",
            secret: "app/aws",
            admin_secret: "admin/aws",
            grace: "1s",
            ca: &moto.ca_file(),
            config: &format!(
                "host = \"localhost\"\nsts-host = \"localhost\"\nport = {}\ntrust = \"app-aws\"\naccount = \"{}\"\nuser = \"{user}\"\n{mode}",
                moto.port(),
                Moto::ACCOUNT
            ),
        });
        let inputs = "inputs = { admin = \"admin/aws\" }\n";
        host.configure(&if is_own { text.replace(inputs, "") } else { text });
        host.add_plugin("aws-iam", &[moto.port()]);
        let scene = Self {
            host,
            user,
            admin,
            old,
        };
        if !is_own {
            let _ = scene.host.import("admin/aws", &scene.admin.document()).ends(0);
        }
        scene
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.host.run(arguments, "")
    }

    fn keys(&self) -> Vec<String> {
        moto().keys(self.user).unwrap()
    }

    fn current(&self) -> AccessKey {
        let value = self.host.read("app/aws", None);
        let document: serde_json::Value = serde_json::from_str(&value).unwrap();
        let text = |name: &str| document[name].as_str().unwrap().to_owned();
        AccessKey {
            id: text("access_key_id"),
            secret: text("secret_access_key"),
        }
    }

    /// boto3 gets in with the new key and not with the old one; there is no other, and no secret anywhere in the open.
    #[track_caller]
    fn is_rotated(&self) {
        let current = self.current();
        assert_ne!(current.id, self.old.id);
        let arn = format!("arn:aws:iam::{}:user/{}", Moto::ACCOUNT, self.user);
        assert_eq!(moto().caller(&current).unwrap(), arn);
        assert_eq!(moto().caller(&self.old).unwrap(), "InvalidClientTokenId");
        assert_eq!(self.keys(), std::slice::from_ref(&current.id));
        self.left_no_trace(&[current.secret]);
    }

    #[track_caller]
    fn left_no_trace(&self, more: &[String]) {
        let secrets = [&[self.admin.secret.clone(), self.old.secret.clone()], more].concat();
        self.host.left_no_trace(&secrets, &[]);
    }

    /// Dies at a place; the key that clients have is good.
    #[track_caller]
    fn dies_at(&self, place: &str) {
        let mut failing = self.host.failing(&ROTATE, &format!("{place}=return"));
        let died = self.host.finish(&mut failing, "");
        assert_eq!(died.code, -1, "{place}: {died:?}");
        assert!(self.keys().contains(&self.current().id), "{place}");
    }
}

/// All at once: each waits ten seconds before it believes that the old key is dead, as the manifest has it.
#[test]
fn a_second_key_is_made_and_the_first_one_deleted_whatever_happens_on_the_way() {
    std::thread::scope(|scope| {
        for way in [
            undisturbed,
            of_itself,
            nothing_was_kept,
            the_key_was_kept,
            promoted_and_killed,
            an_answer_was_lost,
            not_known_yet,
            somebody_elses,
        ] {
            scope.spawn(way);
        }
        scope.spawn(|| given_up("gives-up-unkept", "escrow-before"));
        scope.spawn(|| given_up("gives-up-kept", "pending-after"));
    });
}

fn undisturbed() {
    let scene = Scene::new("app");
    let plan = scene.run(&["plan", "app-aws"]).ends(10);
    assert!(
        plan.stdout.contains("CreateAccessKey") && !plan.stdout.contains("aws-iam."),
        "{plan:?}"
    );
    assert_eq!(
        scene.keys(),
        std::slice::from_ref(&scene.old.id),
        "what was only asked about is not done"
    );
    let _ = scene.run(&["rotate", "app-aws", "--wait", "0s"]).ends(0);
    assert_eq!(scene.keys().len(), 2, "both are good until the grace is over");
    let _ = scene.run(&RESUME).ends(0);
    scene.is_rotated();
}

/// The key makes its own successor, which deletes it.
fn of_itself() {
    let scene = Scene::with("alone", &RIGHTS, true).adopted();
    let plan = scene.run(&["plan", "app-aws"]).ends(10);
    assert!(plan.stdout.contains("aws-iam.alone"), "{plan:?}");
    let second = moto().create_key(scene.user).unwrap();
    let parked = scene.run(&ROTATE).ends(41);
    assert!(parked.stdout.contains(&second.id), "{parked:?}");
    assert_eq!(moto().asked(scene.user, "CreateAccessKey").unwrap(), 0);
    moto().delete(scene.user, &second.id).unwrap();
    // One that is made meanwhile is none of this run's, which has asked for none.
    let third = moto().create_key(scene.user).unwrap();
    let parked = scene.run(&RESUME).ends(41);
    assert!(parked.stdout.contains(&third.id), "{parked:?}");
    assert_eq!(scene.keys(), [scene.old.id.clone(), third.id.clone()]);
    moto().delete(scene.user, &third.id).unwrap();
    let _ = scene.run(&RESUME).ends(0);
    scene.is_rotated();
}

/// The answer was there, and nothing was kept: the room for two keys is full.
fn nothing_was_kept() {
    let scene = Scene::new("dies-unkept");
    scene.dies_at("escrow-before");
    let keys = scene.keys();
    assert_eq!(keys.len(), 2);
    let _ = scene.run(&RESUME).ends(0);
    assert!(!scene.keys().contains(&keys[1]), "the orphan is gone");
    scene.is_rotated();
    assert_eq!(moto().asked(scene.user, "CreateAccessKey").unwrap(), 2);
}

fn the_key_was_kept() {
    let scene = Scene::new("dies-kept");
    scene.dies_at("conclude-before");
    let keys = scene.keys();
    let _ = scene.run(&RESUME).ends(0);
    assert_eq!(scene.current().id, keys[1], "what was kept is used");
    scene.is_rotated();
}

fn promoted_and_killed() {
    let scene = Scene::new("dies-late");
    scene.dies_at("promote-after");
    let _ = scene.run(&RESUME).ends(0);
    scene.is_rotated();
}

fn given_up(user: &'static str, place: &str) {
    let scene = Scene::new(user);
    scene.dies_at(place);
    assert_eq!(scene.keys().len(), 2, "{place}");
    let _ = scene.run(&["run", "cancel", "app-aws", "--wait", "end"]);
    assert_eq!(scene.keys(), std::slice::from_ref(&scene.old.id), "{place}");
    assert_eq!(scene.current(), scene.old);
    scene.left_no_trace(&[]);
}

fn an_answer_was_lost() {
    let scene = Scene::new("lost");
    moto().fail(scene.user, "CreateAccessKey", "lost").unwrap();
    let _ = scene.run(&ROTATE).ends(0);
    scene.is_rotated();
    assert_eq!(moto().asked(scene.user, "CreateAccessKey").unwrap(), 2);
}

/// A new key that is not known yet is no dead one, and a service that is busy is asked again.
fn not_known_yet() {
    let scene = Scene::new("late");
    for (action, kind) in [("CreateAccessKey", "busy"), ("GetCallerIdentity", "unknown-key")] {
        moto().fail(scene.user, action, kind).unwrap();
    }
    let _ = scene.run(&["rotate", "app-aws", "--wait", "0s"]);
    until("the new key is asked with", || {
        let _ = scene.run(&["run", "resume", "app-aws", "--wait", "0s"]);
        moto().asked(scene.user, "GetCallerIdentity").unwrap() > 1
    });
    let waits = scene.run(&["run", "show", "app-aws"]).ends(0);
    assert!(waits.stdout.contains("believe"), "{waits:?}");
    assert_eq!(scene.keys().len(), 2);
    let _ = scene.run(&["run", "cancel", "app-aws", "--wait", "end"]);
    assert_eq!(scene.keys(), std::slice::from_ref(&scene.old.id));
}

/// A person's key, made while the run asked for its own, and used, is not taken for the orphan.
fn somebody_elses() {
    let scene = Scene::new("shared");
    scene.dies_at("escrow-before");
    let orphan = scene.keys()[1].clone();
    moto().delete(scene.user, &orphan).unwrap();
    let theirs = moto().create_key(scene.user).unwrap();
    moto().caller(&theirs).unwrap();
    let parked = scene.run(&RESUME).ends(41);
    assert!(parked.stdout.contains("the user has two keys"), "{parked:?}");
    assert_eq!(scene.keys(), [scene.old.id.clone(), theirs.id.clone()]);
    moto().delete(scene.user, &theirs.id).unwrap();
    let _ = scene.run(&RESUME).ends(0);
    scene.is_rotated();
}

#[test]
fn plan_says_what_stands_in_the_way() {
    let scene = Scene::new("full");
    let test = ["target", "test", "app-aws"];
    let _ = scene.run(&test).ends(0);
    let second = moto().create_key(scene.user).unwrap();
    let plan = scene.run(&["plan", "app-aws"]).ends(24);
    assert!(
        plan.stdout.contains("aws-iam.limit")
            && plan.stdout.contains(&second.id)
            && plan.stdout.contains("never used"),
        "{plan:?}"
    );
    let _ = scene.run(&ROTATE).ends(24);
    assert_eq!(scene.keys(), [scene.old.id.clone(), second.id.clone()]);
    assert_eq!(moto().asked(scene.user, "CreateAccessKey").unwrap(), 0);
    moto().delete(scene.user, &second.id).unwrap();

    moto().disable(scene.user, &scene.old.id).unwrap();
    let plan = scene.run(&["plan", "app-aws"]).ends(24);
    assert!(plan.stdout.contains("aws-iam.inactive"), "{plan:?}");
    moto().delete(scene.user, &scene.old.id).unwrap();
    let plan = scene.run(&["plan", "app-aws"]).ends(24);
    assert!(plan.stdout.contains("aws-iam.key-missing"), "{plan:?}");

    // 403 of AWS: a key that it knows and that may not, and one that it does not know.
    let weak = Scene::with("weak", &["iam:CreateAccessKey"], false).adopted();
    let plan = weak.run(&["plan", "app-aws"]).ends(24);
    assert!(plan.stdout.contains("aws-iam.rights"), "{plan:?}");
    moto().delete("rotator-of-weak", &weak.admin.id).unwrap();
    let plan = weak.run(&["plan", "app-aws"]).ends(22);
    assert!(plan.stderr.contains("admin/aws"), "{plan:?}");
}

/// The key of another user, and what is no key.
#[test]
fn what_is_not_the_users_key_is_not_taken_for_it() {
    let scene = Scene::with("mine", &RIGHTS, false);
    let other = moto().create_key(&format!("rotator-of-{}", scene.user)).unwrap();
    let bare = random_password();
    let half = AccessKey {
        secret: random_password(),
        ..scene.old.clone()
    };
    for (value, words) in [
        (other.document(), "not of the user mine"),
        (bare.clone(), "access_key_id"),
        (half.document(), "refuses the imported credential"),
    ] {
        let imported = scene.host.import("app/aws", &value).ends(40);
        assert!(imported.stdout.contains(words), "{imported:?}");
    }
    assert_eq!(scene.keys(), std::slice::from_ref(&scene.old.id));
    scene.left_no_trace(&[other.secret, bare, half.secret]);
}
