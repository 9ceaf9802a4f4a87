//! A vendor, a host, and a key that is in use.

use std::sync::Arc;

use keywheel_api::{Fault, Key, Reply, Server};
use keywheel_e2e::{Host, Output, Rotation, rotation};
use keywheel_kit::Authority;
use serde_json::Value;

/// What the cases need to know of a vendor.
pub(crate) struct Facts {
    pub(crate) plugin: &'static str,
    pub(crate) start: fn(&str, &str) -> anyhow::Result<Server>,
    /// Lines of the configuration beyond place, trust and account.
    pub(crate) config: fn(&Key) -> String,
    /// Whose keys rotate, and what the one in use may do.
    pub(crate) of: Option<&'static str>,
    pub(crate) scopes: &'static [&'static str],
    /// The same of the administrator's key.
    pub(crate) admin_of: Option<&'static str>,
    pub(crate) admin_scopes: &'static [&'static str],
    /// Whether the administrator has a second credential, the organization's.
    pub(crate) application: bool,
    /// How many keys of others there are: more than a page has, where no limit forbids it.
    pub(crate) others: usize,
    /// What a new key has of the old one.
    pub(crate) kept: fn(&Key) -> Value,
    /// What the vault has of a key.
    pub(crate) stored: fn(&Key) -> String,
    /// The requests that make a key and that prove one, and how often a look asks the latter before.
    pub(crate) create: &'static str,
    pub(crate) test: &'static str,
    pub(crate) looks: usize,
    /// What the vendor says to a key that it does not know, and to one that it does not let in.
    pub(crate) dead: fn() -> Reply,
    pub(crate) alive: fn() -> Reply,
    /// The verdict on the latter.
    pub(crate) alive_verdict: &'static str,
    /// As many keys as there may be.
    pub(crate) most: Option<usize>,
    /// With what, and with which words, a plan ends whose administrator has no rights.
    pub(crate) powerless: (i32, &'static str),
    /// A fault of making a key, and how often the key is asked for then.
    pub(crate) fault: fn() -> (Fault, usize),
    /// Where an answer may have a text that is shown.
    pub(crate) shown: &'static str,
}

/// The value alone.
pub(crate) fn bare(key: &Key) -> String {
    key.value.clone()
}

pub(crate) struct Scene {
    pub(crate) facts: &'static Facts,
    pub(crate) server: Server,
    pub(crate) host: Host,
    pub(crate) admin: Key,
    pub(crate) old: Key,
    api: Option<Key>,
    rotate: [String; 4],
    _authority: Arc<Authority>,
}

impl Scene {
    /// Several of one vendor, each with its server and its host: whose keys, and further lines of the configuration. The plugin is compiled once, and
    /// the host of the first is watched.
    pub(crate) fn of<const N: usize>(facts: &'static Facts, wanted: [(Option<&str>, &str); N]) -> [Self; N] {
        let authority = Arc::new(Authority::new().unwrap());
        let identity = authority.issue_local().unwrap();
        let servers = wanted.map(|_| (facts.start)(&identity.certificate_pem, &identity.key_pem).unwrap());
        let first = Host::init_watched();
        let ports: Vec<u16> = servers.iter().map(Server::port).collect();
        first.add_plugin(facts.plugin, &ports);
        let mut hosts: Vec<Host> = (1..N).map(|_| first.copy()).collect();
        hosts.insert(0, first);
        let mut begun = hosts.into_iter().zip(servers).zip(wanted);
        std::array::from_fn(|_| {
            let ((host, server), (of, more)) = begun.next().unwrap();
            Self::begin(facts, Arc::clone(&authority), host, server, of, more)
        })
    }

    /// With an administrator's key, others, and one that is in use, imported with its id.
    fn begin(
        facts: &'static Facts,
        authority: Arc<Authority>,
        host: Host,
        server: Server,
        of: Option<&str>,
        more: &str,
    ) -> Self {
        let plugin = facts.plugin;
        let admin_of = if facts.admin_of == facts.of {
            of
        } else {
            facts.admin_of
        };
        let admin = server.make_for("console", facts.admin_scopes, admin_of);
        // Datadog's administrator has two: `admin` is the application's, and this one the organization's.
        let api = facts.application.then(|| server.make("collector", &[]));
        for at in 0..facts.others {
            server.make_for(&format!("other {at}"), facts.scopes, of);
        }
        let old = server.make_for("by hand", facts.scopes, of);
        let [name, admin_secret, secret] =
            ["app-", "admin/", "app/"].map(|before| format!("{before}{plugin}"));
        let table = rotation(&Rotation {
            name: &name,
            plugin,
            secret: &secret,
            admin_secret: &admin_secret,
            grace: "1s",
            ca: &authority.file(),
            config: &format!(
                "host = \"localhost\"\nport = {}\ntrust = \"{name}\"\naccount = \"app\"\n{}\n{more}",
                server.port(),
                (facts.config)(&admin)
            ),
        });
        let inputs = format!("admin = \"{admin_secret}\"");
        let both = format!("{inputs}, application = \"admin/application\"");
        if let Some(api) = &api {
            host.configure(&table.replace(&inputs, &both));
            let _ = host.import(&admin_secret, &api.value).ends(0);
            let _ = host.import("admin/application", &admin.value).ends(0);
        } else {
            host.configure(&table);
            let _ = host.import(&admin_secret, &admin.value).ends(0);
        }
        let fact = format!("key-id={}", old.id);
        let import = ["secret", "import", &secret, "-", "--wait", "end", "--fact", &fact];
        let _ = host.run(&import, &(facts.stored)(&old)).ends(0);
        Self {
            facts,
            server,
            host,
            admin,
            old,
            api,
            rotate: ["rotate", &name, "--wait", "end"].map(str::to_owned),
            _authority: authority,
        }
    }

    pub(crate) fn rotate(&self) -> Output {
        self.run(&self.words())
    }

    fn words(&self) -> Vec<&str> {
        self.rotate.iter().map(String::as_str).collect()
    }

    pub(crate) fn name(&self) -> &str {
        &self.rotate[1]
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.host.run(arguments, "")
    }

    pub(crate) fn plan(&self) -> Output {
        self.run(&["plan", self.name()])
    }

    /// What the vault gives to clients.
    pub(crate) fn vault(&self) -> String {
        self.host.read(&format!("app/{}", self.facts.plugin), None)
    }

    /// When the current version was made and when it ends, in milliseconds since the epoch.
    pub(crate) fn lifetime(&self) -> [u64; 2] {
        let secret = format!("app/{}", self.facts.plugin);
        let history = self.host.json(&["secret", "history", &secret]);
        ["created-at", "expires-at"].map(|field| history[0][field].as_u64().unwrap())
    }

    /// Everything that is the rotation's.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let marker = format!("keywheel-{}-", self.name());
        let mut keys = self.server.keys();
        keys.retain(|key| key.id == self.old.id || key.name.starts_with(&marker));
        keys
    }

    pub(crate) fn asked(&self, request: &str) -> usize {
        let line = format!("{request} ");
        self.server
            .log()
            .iter()
            .filter(|asked| asked.starts_with(&line))
            .count()
    }

    /// One key is left, it is the one in the vault, and it was made here.
    #[track_caller]
    pub(crate) fn is_rotated(&self) -> Key {
        let keys = self.keys();
        assert_eq!(keys.len(), 1, "{keys:?}\n{:#?}", self.server.log());
        assert_eq!(self.vault(), (self.facts.stored)(&keys[0]));
        assert_ne!(keys[0].id, self.old.id);
        assert_eq!(keys[0].of, self.old.of);
        assert_eq!((self.facts.kept)(&keys[0]), (self.facts.kept)(&self.old));
        keys[0].clone()
    }

    /// Dies at a place; what is in the vault is good.
    #[track_caller]
    pub(crate) fn dies_at(&self, place: &str) {
        let died = self.host.finish(
            &mut self.host.failing(&self.words(), &format!("{place}=return")),
            "",
        );
        assert_eq!(died.code, -1, "{place}: {died:?}");
        let current = self.vault();
        assert!(
            self.keys().iter().any(|key| (self.facts.stored)(key) == current),
            "{place}"
        );
        assert_eq!(self.keys().len(), 2, "{place}: {:#?}", self.server.log());
    }

    /// No secret is anywhere in the open.
    #[track_caller]
    pub(crate) fn left_no_trace(&self, more: &[&Key]) {
        let own = [Some(&self.admin), Some(&self.old), self.api.as_ref()];
        let all = own.into_iter().flatten().chain(more.iter().copied());
        let secrets: Vec<String> = all.map(|key| key.value.clone()).collect();
        self.host.left_no_trace(&secrets, &[]);
    }
}
