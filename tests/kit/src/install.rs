mod newer;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use crate::account::{Account, is_root};
use crate::command;

/// A server that the kit can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Server {
    /// PostgreSQL.
    Postgres,
    /// Redis.
    Redis,
    /// MariaDB.
    MariaDb,
    /// MySQL, which Debian 12 does not have.
    MySql,
    /// OpenLDAP, with its clients.
    OpenLdap,
    /// PgBouncer. Never installed on the system, where it would be started: unpacked beside it.
    PgBouncer,
    /// RabbitMQ, with Erlang. Unpacked for the same reason.
    RabbitMq,
}

/// Where a server's programs are.
#[derive(Clone, Debug)]
pub struct Installed {
    folder: PathBuf,
    /// For programs that were unpacked beside the system.
    libraries: Option<String>,
    /// Of a newer release, whose programs do not run with this one's.
    loader: Option<PathBuf>,
}

/// Set to unpack the packages into the cache folder even where the server is installed or could be: to try that way.
const UNPACK: &str = "KEYWHEEL_KIT_UNPACK";

impl Server {
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Postgres => &["postgres", "initdb", "psql"],
            Self::Redis => &["redis-server", "redis-cli"],
            Self::MariaDb => &["mariadb", "mariadb-install-db", "mariadbd"],
            Self::MySql => &["mysqld"],
            Self::OpenLdap => &["ldapmodify", "ldapsearch", "ldapwhoami", "slapadd", "slapd"],
            Self::PgBouncer => &["pgbouncer"],
            Self::RabbitMq => &["epmd", "erl", "rabbitmq-server"],
        }
    }

    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Postgres => &["postgresql"],
            Self::Redis => &["redis-server"],
            Self::MariaDb => &["mariadb-server"],
            Self::MySql => &["mysql-server-core"],
            Self::OpenLdap => &["slapd", "ldap-utils"],
            Self::PgBouncer => &["pgbouncer"],
            Self::RabbitMq => &["rabbitmq-server"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Redis => "Redis",
            Self::MariaDb => "MariaDB",
            Self::MySql => "MySQL",
            Self::OpenLdap => "OpenLDAP",
            Self::PgBouncer => "PgBouncer",
            Self::RabbitMq => "RabbitMQ",
        }
    }

    /// Finds the server's programs: on the system; else, as root, by installing Debian's packages; else by unpacking those into a cache
    /// folder. Done once a process.
    ///
    /// # Errors
    /// Says what to install when no way leads there.
    pub fn installed(self) -> Result<Installed> {
        static FOUND: Mutex<BTreeMap<Server, Installed>> = Mutex::new(BTreeMap::new());
        let mut found = FOUND.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(installed) = found.get(&self) {
            return Ok(installed.clone());
        }
        let installed = self.find_or_install().with_context(|| {
            format!(
                "{} is needed: install the package `{}`, or put its programs ({}) on PATH",
                self.name(),
                self.packages().join(" "),
                self.programs().join(", ")
            )
        })?;
        found.insert(self, installed.clone());
        Ok(installed)
    }

    fn find_or_install(self) -> Result<Installed> {
        if self == Self::MySql {
            return newer::mysql();
        }
        if env::var_os(UNPACK).is_some() {
            return self.unpack();
        }
        if let Some(folder) = self.find(&system_folders()) {
            return Ok(Installed {
                folder,
                libraries: None,
                loader: None,
            });
        }
        if is_root() && !matches!(self, Self::PgBouncer | Self::RabbitMq) {
            apt(&["-qq", "update"], &[])?;
            apt(&["-qq", "-y", "install"], self.packages())?;
            return match self.find(&system_folders()) {
                Some(folder) => Ok(Installed {
                    folder,
                    libraries: None,
                    loader: None,
                }),
                None => bail!("the packages were installed, yet the programs are missing"),
            };
        }
        self.unpack()
    }

    /// The first folder that has all of them.
    fn find(self, folders: &[PathBuf]) -> Option<PathBuf> {
        let whole = |folder: &Path| {
            self.programs()
                .iter()
                .all(|program| program_in(folder, program).is_file())
        };
        // A link on PATH leads to the folder where the others are.
        let beside = |folder: &PathBuf| {
            Some(
                fs::canonicalize(folder.join(self.programs()[0]))
                    .ok()?
                    .parent()?
                    .to_owned(),
            )
        };
        folders.iter().find_map(|folder| {
            beside(folder)
                .into_iter()
                .chain([folder.clone()])
                .find(|folder| whole(folder))
        })
    }

    /// Downloads the packages and what they need with a private state of apt, and unpacks them without touching the system.
    fn unpack(self) -> Result<Installed> {
        let cache = cache_folder()?.join(self.packages().join("-"));
        let root = cache.join("root");
        if !root.join("complete").is_file() {
            unpack(&cache, self.packages())?;
            if self == Self::RabbitMq {
                move_erlang(&root)?;
            }
            fs::write(root.join("complete"), "")?;
        }
        let folder = self
            .find(&folders_under(&root))
            .context("the unpacked packages lack the programs")?;
        let triple = format!("{}-linux-gnu", env::consts::ARCH);
        let libraries: Vec<String> = ["usr/lib", "lib"]
            .iter()
            .map(|lib| root.join(lib).join(&triple).display().to_string())
            .collect();
        Ok(Installed {
            folder,
            libraries: Some(libraries.join(":")),
            loader: None,
        })
    }
}

/// Erlang's own script says where it was meant to be.
fn move_erlang(root: &Path) -> Result<()> {
    let script = root.join("usr/lib/erlang/bin/erl");
    let there = format!("ROOTDIR={}", root.join("usr/lib/erlang").display());
    let text = fs::read_to_string(&script)?.replace("ROOTDIR=/usr/lib/erlang", &there);
    Ok(fs::write(script, text)?)
}

impl Installed {
    /// The path of one of its programs.
    pub fn program(&self, name: &str) -> PathBuf {
        program_in(&self.folder, name)
    }

    /// The folder that its own other folders are under, such as `/usr`.
    pub(crate) fn base(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    /// Whether it is of a newer release than the system.
    pub(crate) fn is_newer(&self) -> bool {
        self.loader.is_some()
    }

    /// A command of one of its programs, with an environment of its own.
    pub(crate) fn command(&self, account: Account, name: &str) -> Command {
        let program = self.program(name);
        let mut command = match &self.loader {
            Some(loader) => {
                let mut command = account.command(loader);
                let libraries = self.libraries.as_deref().unwrap_or_default();
                command.args(["--library-path", libraries]).arg(program);
                command
            }
            None => account.command(&program),
        };
        command.env_clear().env("LC_ALL", "C");
        if self.loader.is_none() {
            self.prepare(&mut command);
        }
        command
    }

    /// Lets an unpacked program find its libraries.
    pub(crate) fn prepare<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }
}

/// The library that gives a program another clock (`libfaketime`): found, or as root installed from Debian's package.
///
/// # Errors
/// Says what to install when it is not to be had.
pub fn faketime() -> Result<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let library = Path::new("/usr/lib")
        .join(format!("{}-linux-gnu", env::consts::ARCH))
        .join("faketime/libfaketime.so.1");
    if !library.is_file() && is_root() {
        apt(&["-qq", "update"], &[])?;
        apt(&["-qq", "-y", "install"], &["libfaketime"])?;
    }
    if !library.is_file() {
        bail!("libfaketime is missing: install the package `libfaketime`");
    }
    Ok(library)
}

/// Downloads Debian's packages, and what they need and the system lacks, and unpacks them under `root` in the folder. The system stays as it is.
///
/// # Errors
/// With apt's words.
pub fn unpack(folder: &Path, packages: &[&str]) -> Result<()> {
    let (root, debs) = (folder.join("root"), download(folder, packages)?);
    fs::create_dir_all(&root)?;
    for deb in debs {
        command::run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&root))?;
    }
    Ok(())
}

/// In the folder, or in the one for servers beside it.
fn program_in(folder: &Path, name: &str) -> PathBuf {
    let beside = folder.with_file_name("sbin").join(name);
    Some(folder.join(name))
        .filter(|program| program.is_file())
        .unwrap_or(beside)
}

fn system_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect())
        .unwrap_or_default();
    folders.extend(folders_under(Path::new("/")));
    folders
}

/// Newest PostgreSQL first.
fn folders_under(root: &Path) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(root.join("usr/lib/postgresql"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    let plain = ["usr/bin", "usr/local/bin", "usr/local/pgsql/bin"].map(|folder| root.join(folder));
    versions
        .into_iter()
        .map(|(_, folder)| folder)
        .chain(plain)
        .collect()
}

fn apt(arguments: &[&str], packages: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(["-o", "DPkg::Lock::Timeout=300", "--no-install-recommends"])
        .args(arguments)
        .args(packages);
    command::run(command.env("DEBIAN_FRONTEND", "noninteractive")).map(|_| ())
}

pub(crate) fn cache_folder() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let usable = |folder: PathBuf| fs::create_dir_all(&folder).is_ok().then_some(folder);
    let folder = base.and_then(|base| usable(base.join("keywheel-kit")));
    folder.context("no cache folder: set HOME or XDG_CACHE_HOME to a folder that can be written")
}

/// For apt: lists and archives of our own.
fn private(cache: &Path) -> Result<Vec<String>> {
    let archives = cache.join("archives");
    fs::create_dir_all(archives.join("partial"))?;
    fs::create_dir_all(cache.join("lists/partial"))?;
    let mut options: Vec<String> = Vec::new();
    for (key, value) in [
        ("Dir::State::lists", cache.join("lists")),
        ("Dir::Cache::archives", archives),
        ("Dir::Cache", cache.to_owned()),
    ] {
        options.extend(["-o".to_owned(), format!("{key}={}", value.display())]);
    }
    for fixed in [
        "Debug::NoLocking=1",
        "Acquire::Languages=none",
        "APT::Install-Recommends=0",
        "APT::Sandbox::User=",
    ] {
        options.extend(["-o".to_owned(), fixed.to_owned()]);
    }
    Ok(options)
}

fn download(cache: &Path, packages: &[&str]) -> Result<Vec<PathBuf>> {
    let options = private(cache)?;
    let apt = |arguments: &[&str]| command::run(Command::new("apt-get").args(&options).args(arguments));
    apt(&["-qq", "update"])?;
    // A metapackage has no programs: what it depends on is named as well, so that it comes even where the system has it.
    let mut wanted: Vec<String> = packages.iter().map(|package| (*package).to_owned()).collect();
    for package in packages {
        let listed = command::run(Command::new("apt-cache").args(&options).args([
            "depends",
            "--no-recommends",
            "--no-suggests",
            package,
        ]))?;
        let depends = listed
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "));
        wanted.extend(
            depends
                .filter(|name| {
                    ["postgresql", "redis", "mariadb", "erlang"]
                        .iter()
                        .any(|own| name.starts_with(own))
                })
                .map(str::to_owned),
        );
    }
    let mut arguments = vec!["-qq", "-y", "--download-only", "--reinstall", "install"];
    arguments.extend(wanted.iter().map(String::as_str));
    apt(&arguments)?;
    debs_in(cache)
}

fn debs_in(cache: &Path) -> Result<Vec<PathBuf>> {
    let debs: Vec<PathBuf> = fs::read_dir(cache.join("archives"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "deb"))
        .collect();
    if debs.is_empty() {
        bail!("apt-get downloaded nothing");
    }
    Ok(debs)
}
