//! A real PostgreSQL and an engine whose rotations are roles of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use keywheel_engine::{
    Engine, Import, Keeper, Left, Order, RecoveryIdentity, Setup, Silent, Stop, Stopper, SystemClock, Wait,
    Wish,
};
use keywheel_kit::{Postgres, PostgresOptions};
use keywheel_metrics::Snapshot;
use keywheel_model::{RotationName, RunId, SecretBytes, Trigger};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What has to be seen before a rotation promotes, in the words of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    Login,
    Deferred,
}

impl Proof {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Deferred => "deferred",
        }
    }
}

/// A run waits until no call of the run before it on the same role can land any more: the deadline of a step below, and some.
pub(crate) const SETTLED: Duration = Duration::from_millis(3_600);

const OLD_BY_THEN: Duration = Duration::from_secs(30);
const IS_OLD: &str = "SELECT greatest(modification, change) + interval '1 s' < pg_conf_load_time() \
    FROM pg_stat_file(current_setting('hba_file'))";

/// PostgreSQL as in production: commits reach the disk, TLS, SCRAM, and a `pg_hba.conf` that is older than the server's look at it. Of a newer one the
/// plugin would not know what the server goes by, and would ask it by a login without a password each time.
pub(crate) fn server() -> Result<Postgres> {
    let server = Postgres::start(PostgresOptions {
        fsync: true,
        ..PostgresOptions::default()
    })?;
    let begun = Instant::now();
    while begun.elapsed() < OLD_BY_THEN {
        server.sql("SELECT pg_reload_conf(), pg_sleep(0.2)")?;
        if server.sql(IS_OLD)? == "t" {
            return Ok(server);
        }
    }
    bail!("the server does not read its configuration anew")
}

/// Makes roles that may log in, without a password yet.
pub(crate) fn make_roles(server: &Postgres, names: impl Iterator<Item = String>) -> Result<()> {
    let statements: String = names.fold(String::new(), |mut all, name| {
        let _ = writeln!(all, "CREATE ROLE \"{name}\" LOGIN;");
        all
    });
    server.sql(&statements).map(drop)
}

/// A server that is rotated on, and by which plugin.
pub(crate) struct Place {
    pub(crate) plugin: &'static str,
    /// The plugin's component.
    pub(crate) file: PathBuf,
    /// On this machine, with TLS.
    pub(crate) port: u16,
    /// The authority to trust, PEM.
    pub(crate) ca_file: PathBuf,
    /// The value of the secret `admin/db`.
    pub(crate) admin_password: String,
}

/// An engine with a state folder of its own on the machine's disk.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    _folder: TempDir,
}

impl Host {
    /// With one rotation for each role, named like it.
    pub(crate) async fn new(
        server: &Postgres,
        plugin: &Path,
        roles: &[String],
        proof: Proof,
        grace: &str,
    ) -> Result<Self> {
        let rotations: String = roles
            .iter()
            .map(|role| rotation(server, role, proof, grace, ""))
            .collect();
        Self::of(server, plugin, "", &rotations).await
    }

    /// With these rotations, and lines that come before them.
    pub(crate) async fn of(server: &Postgres, plugin: &Path, first: &str, rotations: &str) -> Result<Self> {
        Self::beside(server, plugin, None, first, rotations).await
    }

    /// The same with one more plugin, by its name.
    pub(crate) async fn beside(
        server: &Postgres,
        plugin: &Path,
        other: Option<(&str, &[u8])>,
        first: &str,
        rotations: &str,
    ) -> Result<Self> {
        let place = Place {
            plugin: "postgres",
            file: plugin.to_owned(),
            port: server.port(),
            ca_file: server.ca_file(),
            admin_password: server.admin_password().to_owned(),
        };
        Self::at(&place, other, first, rotations).await
    }

    /// For any server; perhaps with one more plugin, by its name.
    pub(crate) async fn at(
        place: &Place,
        other: Option<(&str, &[u8])>,
        first: &str,
        rotations: &str,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let setup = Setup {
            folder: folder.path().to_owned(),
            passphrase: None,
            key_file: true,
            recovery: RecoveryIdentity::generate()?,
            clock: Arc::new(SystemClock),
        };
        let done = setup.run().await?;
        let file = format!("plugins/{}.wasm", place.plugin);
        std::fs::copy(&place.file, folder.path().join(file))?;
        if let Some((name, bytes)) = other {
            std::fs::write(folder.path().join(format!("plugins/{name}.wasm")), bytes)?;
        }
        let mut text = std::fs::read_to_string(&done.config)?;
        text.insert_str(0, first);
        let _ = write!(text, "\n[trust.bench]\npem = [\"{}\"]\n", place.ca_file.display());
        text += rotations;
        std::fs::write(&done.config, text)?;
        let config = match keywheel_config::load(&done.config) {
            Ok(config) => config,
            Err(problems) => bail!("the configuration of the measured host: {problems:?}"),
        };
        let engine = Engine::open(config, Arc::new(SystemClock)).await?;
        let hosts = ["localhost", "127.0.0.1"].map(|host| format!("{host}:{} tls", place.port).parse());
        let hosts = hosts.into_iter().collect::<Result<Vec<_>, _>>()?;
        for name in [place.plugin].into_iter().chain(other.map(|(name, _)| name)) {
            let (addition, _) = engine.addition(&name.parse()?, |_| hosts.clone()).await?;
            engine.add_plugin(addition).await?;
        }
        let (_stopper, stop) = Stop::pair();
        let administrator = Import {
            name: "admin/db".parse()?,
            value: SecretBytes::copy_of(place.admin_password.as_bytes()),
            annotations: BTreeMap::new(),
            expires: None,
        };
        engine.import(administrator, order(Wait::ToTheEnd, stop)).await?;
        Ok(Self {
            engine,
            _folder: folder,
        })
    }

    /// The part that needs nobody, as `serve` has it, until it is stopped.
    pub(crate) fn keep(&self) -> Kept {
        let (engine, watched) = watch::channel(self.engine.clone());
        let (stopper, stop) = Stop::pair();
        Kept {
            keeper: tokio::spawn(Keeper::new(watched, stop).run()),
            stopper,
            _engine: engine,
        }
    }

    /// What the host has counted since it was opened, of the series that begin like this and hold that.
    pub(crate) fn counted(&self, begins: &str, holds: &str) -> Result<usize> {
        let text = self.engine.metrics().text(&Snapshot::default())?;
        let lines = text
            .lines()
            .filter(|line| line.starts_with(begins) && line.contains(holds));
        let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
        Ok(counts.sum())
    }

    /// How late its keeper was on average to begin with what was due, before anything is asked or written; milliseconds.
    pub(crate) fn mean_lag_ms(&self) -> Result<f64> {
        let text = self.engine.metrics().text(&Snapshot::default())?;
        let value = |end: &str| {
            let name = format!("keywheel_schedule_lag_seconds_{end} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&name));
            line.and_then(|value| value.parse::<f64>().ok())
        };
        let (sum, count) = value("sum")
            .zip(value("count"))
            .context("the lag is not counted")?;
        Ok(1_000.0 * sum / count.max(1.0))
    }

    /// Rotates up to the point where it only waits for the grace period: promoted, durable, told.
    pub(crate) async fn rotate(&self, role: &str) -> Result<RunId> {
        let (_stopper, stop) = Stop::pair();
        let rotation: RotationName = role.parse()?;
        let (run, left) = self
            .engine
            .rotate(&rotation, order(Wait::at_most(Duration::ZERO), stop))
            .await?;
        ensure!(
            matches!(left, Left::Waiting(_)) && run.past_no_return,
            "{role} was not promoted: {run:#?}"
        );
        Ok(run.run)
    }

    /// Rotates to the very end.
    pub(crate) async fn rotate_whole(&self, role: &str) -> Result<()> {
        let (_stopper, stop) = Stop::pair();
        let rotation: RotationName = role.parse()?;
        let rotated = self.engine.rotate(&rotation, order(Wait::ToTheEnd, stop));
        // On the heap: the state of a whole rotation under way is large.
        let (run, left) = Box::pin(rotated).await?;
        ensure!(left == Left::Ended, "{role} did not come to its end: {run:#?}");
        Ok(())
    }

    /// What remains after the grace period: the proof that is still missing, and the old credential's end.
    pub(crate) async fn finish(&self, run: &RunId) -> Result<()> {
        let (_stopper, stop) = Stop::pair();
        let (run, left) = self
            .engine
            .go_on(run, Wish::Resume, order(Wait::ToTheEnd, stop))
            .await?;
        ensure!(left == Left::Ended, "a run did not come to its end: {run:#?}");
        Ok(())
    }
}

/// A keeper at work.
pub(crate) struct Kept {
    keeper: JoinHandle<()>,
    stopper: Stopper,
    _engine: watch::Sender<Engine>,
}

impl Kept {
    /// Lets it bring what is under way to a journalled point.
    pub(crate) async fn ends(self) -> Result<()> {
        self.stopper.stop();
        Ok(self.keeper.await?)
    }
}

fn order(wait: Wait, stop: Stop) -> Order<'static> {
    Order {
        trigger: Trigger::Manual,
        reason: None,
        wait,
        ignores_offset: false,
        stop,
        observer: &Silent,
    }
}

/// A rotation of a role, named like it, with lines of its own.
pub(crate) fn rotation(server: &Postgres, role: &str, proof: Proof, grace: &str, more: &str) -> String {
    format!(
        r#"
[[rotation]]
name = "{role}"
plugin = "postgres"
secret = "bench/{role}"
inputs = {{ admin = "admin/db" }}
grace = "{grace}"
gap = "accept"
first = "set"
proof = "{}"
deadlines = {{ step = "3s" }}
probes = {{ logins = 100, per = "1m" }}
{more}

[rotation.config]
mode = "role"
host = "localhost"
port = {}
trust = "bench"
admin = "{}"
role = "{role}"
"#,
        proof.as_str(),
        server.port(),
        server.admin_user()
    )
}
