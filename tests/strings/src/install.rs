//! The clients, from the registries of their languages, once for all runs.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use keywheel_kit::{made_once, unpack};

use crate::Language;

const PYTHON: [&str; 6] = [
    "asyncpg==0.32.0",
    "psycopg[binary]==3.3.9",
    "SQLAlchemy==2.1.9",
    "PyMySQL==1.2.4",
    "cryptography",
    "redis==8.1.0",
];
const ODBC: [&str; 1] = ["pyodbc==5.3.0"];
/// Of Debian, with what pyodbc brings beside them: it has unixODBC's manager, but not what reads its files.
const ODBC_DRIVERS: [&str; 5] = [
    "odbc-mariadb",
    "odbc-postgresql",
    "tdsodbc",
    "libmariadb3",
    "libodbcinst2",
];
const NODE: [&str; 4] = ["pg@8.23.1", "mysql2@3.24.6", "redis@6.3.1", "mssql@12.7.14"];
const GO: [&str; 5] = [
    "github.com/jackc/pgx/v5@v5.12.0",
    "github.com/lib/pq@v1.12.3",
    "github.com/redis/go-redis/v9@v9.23.0",
    "github.com/microsoft/go-mssqldb@v1.11.2",
    "github.com/go-sql-driver/mysql@v1.10.1",
];
const JAVA: [&str; 3] = [
    "org.postgresql:postgresql:42.7.14",
    "org.mariadb.jdbc:mariadb-java-client:3.5.11",
    "com.microsoft.sqlserver:mssql-jdbc:12.10.1.jre11",
];

/// Where the clients of a language are.
pub(crate) fn folder(language: Language, scripts: &Path) -> Result<PathBuf> {
    match language {
        Language::Python => made_once(&name("python", &PYTHON, ""), |folder| python(folder, &PYTHON)),
        Language::Odbc => made_once(&name("odbc", &[ODBC[0], &ODBC_DRIVERS.join(" ")], ""), |folder| {
            python(folder, &ODBC)?;
            unpack(folder, &ODBC_DRIVERS)
        }),
        Language::Node => made_once(&name("node", &NODE, ""), |folder| {
            let npm = ["install", "--silent", "--no-audit", "--no-fund"];
            run(Command::new("npm").args(npm).args(NODE).current_dir(folder))
        }),
        Language::Go => {
            let source = fs::read_to_string(scripts.join("main.go"))?;
            made_once(&name("go", &GO, &source), |folder| {
                let go = |words: &[&str]| run(Command::new("go").args(words).current_dir(folder));
                fs::write(folder.join("main.go"), &source)?;
                go(&["mod", "init", "clients"])?;
                go(&[&["get"], &GO[..]].concat())?;
                go(&["build", "-o", "clients", "."])
            })
        }
        Language::Java => made_once(&name("java", &JAVA, ""), |folder| {
            JAVA.iter().try_for_each(|artifact| {
                let artifact = format!("-Dartifact={artifact}");
                let mvn = ["-q", "-B", "dependency:copy", "-DoutputDirectory=jars"];
                run(Command::new("mvn").args(mvn).arg(artifact).current_dir(folder))
            })
        }),
    }
}

fn python(folder: &Path, packages: &[&str]) -> Result<()> {
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let pip = ["-m", "pip", "install", "--quiet"];
    run(Command::new(folder.join("bin/python3")).args(pip).args(packages))
}

/// Of other versions, or another program, another one.
fn name(language: &str, versions: &[&str], source: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (versions, source).hash(&mut hasher);
    format!("strings-{language}-{:016x}", hasher.finish())
}

/// A registry that does not answer is one that is not there.
const LIMIT_SECONDS: &str = "600";

fn run(command: &Command) -> Result<()> {
    let mut limited = Command::new("timeout");
    limited
        .arg(LIMIT_SECONDS)
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        limited.current_dir(folder);
    }
    let output = limited
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
