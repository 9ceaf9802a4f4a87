//! The harness of the hostile suite: one component that attacks, packed under one manifest after the other, added and granted as an
//! operator would, and run by the built `keywheel` against real servers.
//!
//! A [`Scene`] is a host with such plugins. An [`Attack`] is one rotation of it, with an account and a credential of its own; [`Seen`] is
//! everything that can be seen of it afterwards. Like the end-to-end harness it blocks and panics.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a harness for tests: whatever goes wrong in it is a failure of the test"
)]

mod inside;
mod seen;
mod servers;

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use keywheel_e2e::{Host, Output};
use keywheel_kit::random_password;
use keywheel_manifest::Manifest;

pub use seen::Seen;
pub use servers::{postgres, redis, second_redis};

/// For how many attacks credentials are put into a vault at a time.
const AHEAD: usize = 16;

/// Characters that each encoding writes in its own way.
const ODD: &str = r#"/+<&">%"#;

/// The component without a manifest.
///
/// # Panics
/// When it was not built: `cargo xtask plugins --hostile` does.
pub fn guest() -> Vec<u8> {
    let file = std::env::var_os("KEYWHEEL_HOSTILE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/hostile/guest.wasm"),
        PathBuf::from,
    );
    fs::read(&file)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask plugins --hostile`", file.display()))
}

/// A file of `manifests/`.
pub fn manifest_text(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(name)).unwrap()
}

/// The guest under a manifest.
pub fn packed(manifest: &str) -> Vec<u8> {
    let manifest = Manifest::from_toml(manifest, &manifest_text("schema.json")).unwrap();
    keywheel_manifest::pack(&guest(), &manifest).unwrap()
}

/// Which server a rotation is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// [`redis`].
    Redis,
    /// [`postgres`].
    Postgres,
}

impl On {
    fn word(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Redis => redis().port(),
            Self::Postgres => postgres().port(),
        }
    }

    fn admin(self) -> (&'static str, &'static str) {
        match self {
            Self::Redis => (redis().admin_user(), redis().admin_password()),
            Self::Postgres => (postgres().admin_user(), postgres().admin_password()),
        }
    }

    fn ca(self) -> &'static str {
        match self {
            Self::Redis => redis().ca_pem(),
            Self::Postgres => postgres().ca_pem(),
        }
    }

    /// An account with a password, and no second one.
    fn create_account(self, name: &str, password: &str) {
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        match self {
            Self::Redis => redis().create_user(name, password).unwrap(),
            Self::Postgres => drop(
                postgres()
                    .sql(&format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'"))
                    .unwrap(),
            ),
        }
    }

    /// Whether a password opens an account.
    pub fn takes(self, name: &str, password: &str) -> bool {
        let login = match self {
            Self::Redis => redis().login(name, password),
            Self::Postgres => postgres().login(name, password),
        };
        login.unwrap().is_accepted()
    }
}

/// One rotation of the hostile plugin.
#[derive(Clone, Copy, Debug)]
pub struct Attack<'a> {
    /// The plugin: one of [`manifests`].
    pub plugin: &'a str,
    /// Its server.
    pub on: On,
    /// What it does; see the guest's `attack.rs`. Empty: nothing, it is honest.
    pub does: &'a str,
    /// In which step.
    pub step: &'a str,
    /// With what.
    pub with: &'a str,
    /// Further lines of the configuration.
    pub lines: &'a str,
}

impl Attack<'_> {
    /// An honest rotation on Redis, to say of an attack what is different.
    pub const HONEST: Self = Self {
        plugin: "hostile-redis",
        on: On::Redis,
        does: "",
        step: "create",
        with: "",
        lines: "",
    };
}

/// A value in a form that no scan can know, each letter as the one after it: the guest undoes that.
pub fn hidden(value: &str) -> String {
    value.bytes().map(|byte| char::from(byte + 1)).collect()
}

/// What an attack has to itself.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The rotation, and the account on the server: of one name. Its secret is `app/NAME`.
    pub name: String,
    /// The credential that clients use when the attack begins.
    pub old: String,
    /// The value of the input `planted`: a secret that the plugin may use, and that is none of its business otherwise.
    pub planted: String,
}

/// The manifests that the guest is packed under in every scene: `hostile-redis`, `hostile-postgres`, and two that ask for more than
/// `hostile-redis`.
pub fn manifests() -> [String; 4] {
    let redis = manifest_text("redis.toml");
    let named = |name: &str| redis.replace("\"hostile-redis\"", &format!("\"{name}\""));
    [
        redis.clone(),
        manifest_text("postgres.toml"),
        named("hostile-careless") + &manifest_text("careless.toml"),
        named("hostile-vault").replace("\"core\", \"net\"", "\"core\", \"net\", \"vault\""),
    ]
}

/// A host with hostile plugins.
#[derive(Debug)]
pub struct Scene {
    /// The host.
    pub host: Host,
    /// `keywheel.toml` without rotations.
    bare: String,
    planted: String,
    /// What the next attacks have to themselves: their credentials are in the vault, and their accounts nowhere yet.
    ready: Mutex<Vec<Subject>>,
    /// When no attack had been made in it yet.
    since: SystemTime,
}

/// Scenes that no test has at the moment.
static FREE: Mutex<Vec<Scene>> = Mutex::new(Vec::new());

/// A scene of a test's own, for as long as the test has it.
#[derive(Debug)]
pub struct Taken(Option<Scene>);

impl Deref for Taken {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        self.0.as_ref().unwrap()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        free.extend(self.0.take());
    }
}

/// A scene that another test has left, or a new one.
///
/// # Panics
/// When it cannot be set up.
#[track_caller]
pub fn scene() -> Taken {
    let left = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    Taken(Some(left.unwrap_or_else(Scene::set_up)))
}

/// Makes an attack in any scene: rotates to the end, and gives all that can be seen of it.
///
/// # Panics
/// When it cannot be made at all.
#[track_caller]
pub fn attack(attack: &Attack<'_>) -> Seen {
    attack_with(attack, |_| attack.with.to_owned())
}

/// The same with something of the attack's own.
///
/// # Panics
/// When it cannot be made at all.
#[track_caller]
pub fn attack_with(attack: &Attack<'_>, with: impl FnOnce(&Subject) -> String) -> Seen {
    let scene = scene();
    let subject = scene.prepare(attack, with);
    scene.rotate(attack, subject, "end")
}

/// The same in a scene that the test has.
///
/// # Panics
/// When it cannot be made at all.
#[track_caller]
pub fn attack_in(scene: &Scene, attack: &Attack<'_>) -> Seen {
    let subject = scene.prepare(attack, |_| attack.with.to_owned());
    scene.rotate(attack, subject, "end")
}

impl Scene {
    /// With [`manifests`], each of whose plugins is pinned and granted what it asks for. It is made once: a scene is a copy.
    ///
    /// # Panics
    /// When it cannot be set up.
    #[track_caller]
    pub fn set_up() -> Self {
        static FIRST: OnceLock<Scene> = OnceLock::new();
        let first = FIRST.get_or_init(Self::first);
        let host = first.host.copy();
        // The last file that was written.
        let written = fs::metadata(host.file("keywheel.toml")).unwrap();
        let since = written.modified().unwrap();
        Self {
            bare: fs::read_to_string(host.file("keywheel.toml")).unwrap(),
            host,
            planted: first.planted.clone(),
            ready: Mutex::default(),
            since,
        }
    }

    fn first() -> Self {
        let host = Host::init();
        for on in [On::Redis, On::Postgres] {
            let ca = host.outside(on.word());
            fs::write(&ca, on.ca()).unwrap();
            host.configure(&format!("[trust.{}]\npem = [\"{}\"]", on.word(), ca.display()));
        }
        let planted = format!("{}{ODD}{}", random_password(), random_password());
        inside::import(
            &host,
            &[
                ("admin/redis".to_owned(), On::Redis.admin().1),
                ("admin/postgres".to_owned(), On::Postgres.admin().1),
                ("planted/all".to_owned(), &planted),
                ("someone/else".to_owned(), "another rotation's own secret"),
            ],
        );
        let scene = Self {
            bare: String::new(),
            host,
            planted,
            ready: Mutex::default(),
            since: SystemTime::UNIX_EPOCH,
        };
        for manifest in manifests() {
            let name = scene.drop_in(&manifest);
            scene.add(&name);
        }
        // From here on only what has changed is looked through.
        let known = [scene.planted.clone()];
        assert_eq!(scene.host.leaks(&known, &[]), Vec::<String>::new());
        scene
    }

    /// Pins a plugin and grants it what it asks for.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn add(&self, name: &str) {
        self.add_for(
            name,
            &[On::Redis, On::Postgres].map(|on| format!("localhost:{} tls", on.port())),
        );
    }

    /// The same, for these servers.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn add_for(&self, name: &str, servers: &[String]) {
        let hosts = servers.iter().flat_map(|server| ["--host", server.as_str()]);
        let add: Vec<&str> = ["plugin", "add", name, "--yes"]
            .into_iter()
            .chain(hosts)
            .collect();
        let _ = self.host.run(&add, "").ends(0);
    }

    /// Packs the guest under a manifest into the plugin folder; its name there.
    ///
    /// # Panics
    /// When the manifest is wrong.
    pub fn drop_in(&self, manifest: &str) -> String {
        let read = Manifest::from_toml(manifest, &manifest_text("schema.json")).unwrap();
        let file = self.host.file(&format!("plugins/{}.wasm", read.name));
        fs::write(file, packed(manifest)).unwrap();
        read.name.to_string()
    }

    /// An account on the server and its credential in the vault, and a rotation of it, the only one in the configuration. `with`: what
    /// the attack works with, made of what it has to itself.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn prepare(&self, attack: &Attack<'_>, with: impl FnOnce(&Subject) -> String) -> Subject {
        let subject = self.create(attack);
        let lines = rotation(&subject.name, attack, &with(&subject));
        self.configure(attack.lines, &[lines]);
        subject
    }

    /// An account on the server and its credential in the vault. No rotation.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn create(&self, attack: &Attack<'_>) -> Subject {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.is_empty() {
            *ready = self.credentials();
        }
        let subject = ready.pop().unwrap();
        attack.on.create_account(&subject.name, &subject.old);
        subject
    }

    /// Credentials for the next attacks, in the vault.
    fn credentials(&self) -> Vec<Subject> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let made: Vec<Subject> = (0..AHEAD)
            .map(|_| Subject {
                name: format!("a{}", COUNT.fetch_add(1, Ordering::Relaxed)),
                old: random_password(),
                planted: self.planted.clone(),
            })
            .collect();
        let named: Vec<(String, &str)> = made
            .iter()
            .map(|subject| (format!("app/{}", subject.name), subject.old.as_str()))
            .collect();
        // Without a rotation of theirs, so that no server is asked for them.
        self.configure("", &[]);
        inside::import(&self.host, &named);
        made
    }

    /// Puts rotations into the configuration, in place of what was there.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, lines: &str, rotations: &[String]) {
        let text = format!("{}\n{lines}\n{}", self.bare, rotations.concat());
        fs::write(self.host.file("keywheel.toml"), text).unwrap();
    }

    /// Rotates, waiting `until` then, and gives all that can be seen of it.
    ///
    /// # Panics
    /// When the host prints no JSON.
    #[track_caller]
    pub fn rotate(&self, attack: &Attack<'_>, subject: Subject, until: &str) -> Seen {
        let arguments = ["rotate", &subject.name, "--wait", until, "-o", "json"];
        let output = self.host.run(&arguments, "");
        self.seen(attack.on, subject, output)
    }

    /// All that can be seen of a rotation that has ended so, while no command and no host has the state.
    ///
    /// # Panics
    /// When the host prints no JSON.
    #[track_caller]
    pub fn seen(&self, on: On, subject: Subject, output: Output) -> Seen {
        Seen::of(self, on, subject, output)
    }
}

/// The rotation of an attack, without consumers and grace: it has nothing to wait for.
pub fn rotation(name: &str, attack: &Attack<'_>, with: &str) -> String {
    let Attack {
        plugin,
        on,
        does,
        step,
        ..
    } = attack;
    let (server, port, admin) = (on.word(), on.port(), on.admin().0);
    let with = serde_json::to_string(with).unwrap();
    let attack = if does.is_empty() {
        String::new()
    } else {
        format!("attack = \"{does}\"\nstep = \"{step}\"\nwith = {with}")
    };
    format!(
        r#"
[[rotation]]
name = "{name}"
plugin = "{plugin}"
secret = "app/{name}"
inputs = {{ admin = "admin/{server}", planted = "planted/all" }}
grace = "0s"
gap = "accept"
deadlines = {{ step = "3s", run = "1s" }}
probes = {{ logins = 100, per = "1h" }}

[rotation.config]
server = "{server}"
host = "localhost"
port = {port}
trust = "{server}"
admin = "{admin}"
user = "{name}"
{attack}
"#
    )
}
