//! The servers, the host, and the values that were planted so far.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use keywheel_e2e::{Host, Output, Trace, postgres_pair, postgres_role, redis_user};
use keywheel_kit::{Postgres, PostgresOptions, Redis, RedisOptions, random_password};

use crate::evidence::Evidence;
use crate::keys;

/// How long anything is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Characters that each encoding writes in its own way; of those that a line of redis-cli can hold.
const ODD: &str = "/+<&>%\\é";
/// With quotes, too.
const ODDER: &str = "/+<&\">%\\ 'é";

/// Both servers log all that they can; for both tests.
pub(crate) struct Servers {
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    monitored: Arc<Mutex<Vec<u8>>>,
}

pub(crate) fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let postgres = Postgres::start(PostgresOptions {
            log_statements: true,
            settings: vec![
                set("shared_preload_libraries", "pg_stat_statements"),
                set("pg_stat_statements.track", "all"),
                set("log_connections", "on"),
                set("log_duration", "on"),
                set("log_error_verbosity", "verbose"),
                set("log_min_error_statement", "debug5"),
                set("log_min_messages", "debug1"),
                set("log_parameter_max_length_on_error", "-1"),
            ],
            ..PostgresOptions::default()
        })
        .unwrap();
        postgres.sql("CREATE EXTENSION pg_stat_statements").unwrap();
        let redis = Redis::start(RedisOptions {
            plaintext: true,
            ..RedisOptions::default()
        })
        .unwrap();
        for (name, value) in [("slowlog-log-slower-than", "0"), ("slowlog-max-len", "100000")] {
            redis.command(&["CONFIG", "SET", name, value]).unwrap();
        }
        let monitored = monitor(&redis);
        Servers {
            postgres,
            redis,
            monitored,
        }
    })
}

impl Servers {
    /// Runs SQL of which no log keeps anything: what an administrator types by hand is not what is looked for.
    pub(crate) fn by_hand(&self, sql: &str) {
        let unseen =
            "SET log_statement = 'none'; SET log_duration = off; SET pg_stat_statements.track = 'none'";
        self.postgres.sql(&format!("{unseen}; {sql}")).unwrap();
    }

    /// Everything that Redis has told its monitor up to now.
    pub(crate) fn monitored(&self) -> Vec<u8> {
        let mark = random_password();
        ask(&self.redis, &format!("ECHO {mark}\r\n"));
        let begun = Instant::now();
        loop {
            let seen = self.monitored.lock().unwrap().clone();
            if String::from_utf8_lossy(&seen).contains(&mark) {
                return seen;
            }
            assert!(begun.elapsed() < PATIENCE, "the monitor sees nothing");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// An administrator's connection without TLS.
fn connect(server: &Redis) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.plaintext_port().unwrap())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let login = format!("AUTH {} {}\r\n", server.admin_user(), server.admin_password());
    stream.write_all(login.as_bytes()).unwrap();
    assert!(answer(&mut stream).starts_with("+OK"));
    stream
}

/// Sends one command and reads the beginning of its answer.
pub(crate) fn ask(server: &Redis, command: &str) -> String {
    let mut stream = connect(server);
    stream.write_all(command.as_bytes()).unwrap();
    answer(&mut stream)
}

fn answer(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 512];
    let read = stream.read(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

fn monitor(server: &Redis) -> Arc<Mutex<Vec<u8>>> {
    let mut stream = connect(server);
    stream.write_all(b"MONITOR\r\n").unwrap();
    stream.set_read_timeout(None).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&seen);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            into.lock().unwrap().extend_from_slice(&buffer[..read]);
        }
    });
    seen
}

pub(crate) struct Scene {
    pub(crate) host: Host,
    /// `keywheel.toml` without rotations.
    bare: String,
    values: BTreeMap<String, Vec<u8>>,
    /// What was there for a moment.
    snapshots: Vec<Trace>,
}

impl Scene {
    /// Accounts on both servers, and a host that knows neither.
    pub(crate) fn set_up() -> Self {
        let host = Host::init_watched();
        let bare = fs::read_to_string(host.file("keywheel.toml")).unwrap();
        let mut scene = Self {
            host,
            bare,
            values: BTreeMap::new(),
            snapshots: Vec::new(),
        };
        let servers = servers();
        scene.know("PostgreSQL's administrator", servers.postgres.admin_password());
        scene.know("Redis' administrator", servers.redis.admin_password());
        let role = scene.plant_odder("the role's first password").replace('\'', "''");
        let pair = scene.plant("the pair's first password");
        servers.by_hand(&format!(
            "CREATE ROLE app LOGIN PASSWORD '{role}'; CREATE ROLE app_a LOGIN PASSWORD '{pair}'; CREATE ROLE app_b LOGIN"
        ));
        let user = scene.plant("the user's first password");
        let set = format!("ACL SETUSER app reset on >{user} ~* &* +@all\r\n");
        assert!(ask(&servers.redis, &set).starts_with("+OK"));
        scene
    }

    /// A value that can be recognised, under a name of its own.
    pub(crate) fn plant(&mut self, name: &str) -> String {
        let value = format!("planted-{}{ODD}{}", random_password(), random_password());
        self.know(name, &value);
        value
    }

    /// The same, with quotes and a space in it.
    pub(crate) fn plant_odder(&mut self, name: &str) -> String {
        let value = format!("planted-{}{ODDER}{}", random_password(), random_password());
        self.know(name, &value);
        value
    }

    /// From now on this is looked for. What is known already keeps its name.
    pub(crate) fn know(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        if self.values.values().all(|known| known != value) {
            let before = self.values.insert(name.to_owned(), value.to_owned());
            assert!(before.is_none(), "another value has the name {name}");
        }
    }

    /// A value that was planted.
    pub(crate) fn value(&self, name: &str) -> &str {
        std::str::from_utf8(&self.values[name]).unwrap()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let values = self.values.iter();
        values.map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// Runs a command that ends with this code.
    #[track_caller]
    pub(crate) fn run(&self, words: &str, stdin: &str, code: i32) -> Output {
        let words: Vec<String> = words
            .split_whitespace()
            .map(|word| word.replace("OUTSIDE", &self.host.outside("").display().to_string()))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.host.run(&words, stdin).ends(code)
    }

    /// The rotations of these names in the configuration, and no others: neither consumers nor a grace to wait for.
    pub(crate) fn configure(&self, names: &[&str]) {
        let servers = servers();
        let rotations = names.iter().map(|name| match *name {
            "app-db" => postgres_role(&servers.postgres, "0s"),
            "pair-db" => postgres_pair(&servers.postgres, "0s"),
            _ => redis_user(&servers.redis, "0s"),
        });
        let rotations: String = rotations
            .collect::<String>()
            .replace("consumers = [{ name = \"shop\", staleness = \"1s\" }]\n", "");
        self.write_configuration(&rotations);
    }

    pub(crate) fn write_configuration(&self, rotations: &str) {
        let text = format!("{}\n{rotations}", self.bare);
        fs::write(self.host.file("keywheel.toml"), text).unwrap();
    }

    /// Keeps the database and its log as they are now: with the next command they are others.
    pub(crate) fn keep_state(&mut self, when: &str) {
        for file in ["keywheel.db", "keywheel.db-wal"] {
            if let Ok(bytes) = fs::read(self.host.file("state").join(file)) {
                self.snapshots.push(Trace::new(format!("{file} {when}"), bytes));
            }
        }
    }

    /// What was heard from somebody who is gone by now.
    pub(crate) fn keep(&mut self, heard: Vec<Trace>) {
        self.snapshots.extend(heard);
    }

    /// Every value that the vault has, by its version; of a document the password in it, too.
    pub(crate) fn remember_versions(&mut self) {
        let list = self.host.json(&["secret", "list"]);
        for secret in list.as_array().unwrap() {
            let name = secret["name"].as_str().unwrap();
            for (version, _) in self.host.versions(name) {
                let known = format!("{name} {version}");
                if self.values.contains_key(&known) {
                    continue;
                }
                let value = self.host.read(name, Some(&version));
                if let Ok(document) = serde_json::from_str::<serde_json::Value>(&value) {
                    self.know(
                        &format!("{known}, the password"),
                        document["password"].as_str().unwrap(),
                    );
                }
                self.know(&known, value);
            }
        }
    }

    /// The keys that the key file leads to at this moment. No command may run.
    pub(crate) fn remember_keys(&mut self) {
        let database = self.host.file("state/keywheel.db");
        for (name, key) in keys::below(&database, &self.host.file("vault.key")) {
            self.know_key(&name, key);
        }
    }

    /// A key has no name that lasts: a `rekey` gives the same names to others.
    fn know_key(&mut self, name: &str, key: Vec<u8>) {
        let number = self.values.keys().filter(|known| known.starts_with(name)).count();
        self.know(&format!("{name} ({number})"), key);
    }

    /// A key file's key, which is written there in hexadecimal digits.
    pub(crate) fn know_key_file(&mut self, name: &str, file: &Path) {
        self.know(name, keys::of_file(file));
    }

    /// A recovery identity, without the words that all of them begin with.
    pub(crate) fn know_identity(&mut self, name: &str, text: &str) {
        let (_, own) = text.trim().rsplit_once("-1").unwrap();
        self.know(name, own);
    }

    /// All that came out up to now.
    pub(crate) fn evidence(&self) -> Evidence {
        Evidence::of(&self.host, servers(), &self.snapshots)
    }
}
