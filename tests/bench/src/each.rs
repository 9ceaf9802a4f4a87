//! Very many rotations of one table: how long a host with them takes to start, what it holds in memory, what it costs to find what is due.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use keywheel_engine::{Engine, SystemClock};

use crate::idle::{Serving, command, text};
use crate::sample::{Spread, microseconds};
use crate::table::Row;

/// Rows are checked once, when they are new.
const ACCEPTED_WITHIN: Duration = Duration::from_mins(30);

/// After its start it compiles and opens: that is over then.
const SETTLES: Duration = Duration::from_secs(5);

/// Looks for each figure.
const LOOKS: usize = 501;

const TEMPLATE: &str = r#"
[[rotation]]
each = "roles.csv"
name = "role-{number}"
plugin = "postgres"
secret = "app/{number}"
inputs = { admin = "admin/db" }
gap = "accept"
schedule = "@every 2000h"

[rotation.config]
mode = "role"
host = "db{server}.internal"
port = 5432
admin = "rotator"
role = "role_{number}"
"#;

/// Three rows for each number of rotations.
pub(crate) async fn run(binary: &Path, plugin: &Path, sizes: &[usize]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for size in sizes {
        rows.extend(of_size(binary, plugin, *size).await?);
    }
    Ok(rows)
}

async fn of_size(binary: &Path, plugin: &Path, size: usize) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let host = folder.path().join("host");
    let recovery = folder.path().join("recovery");
    let words = ["init", &text(&host)?, "--recovery-to", &text(&recovery)?];
    command(binary, folder.path(), &words)?;
    fs::copy(plugin, host.join("plugins/postgres.wasm"))?;
    let grant = ["--host", "db0.internal:5432 tls"];
    command(
        binary,
        &host,
        &[&["plugin", "add", "postgres", "--yes"][..], &grant].concat(),
    )?;
    let mut csv = String::from("number,server\n");
    for number in 0..size {
        writeln!(csv, "{number:07},{}", number % 100)?;
    }
    fs::write(host.join("roles.csv"), csv)?;
    let file = host.join("keywheel.toml");
    fs::write(&file, format!("{}{TEMPLATE}", fs::read_to_string(&file)?))?;

    let (accepted, serving) = started(binary, &host)?;
    serving.ends()?;
    let (start, mut serving) = started(binary, &host)?;
    thread::sleep(SETTLES);
    let resident = serving.status("VmRSS:")? / 1024;
    serving.ends()?;

    let config = keywheel_config::load(&file)?;
    let engine = Engine::open(config, Arc::new(SystemClock)).await?;
    ensure!(engine.config().count() == size, "not all rows were accepted");
    let (mut queries, mut looks) = (Vec::new(), Vec::new());
    for number in 0..LOOKS {
        let began = Instant::now();
        ensure!(engine.next_look()?.is_some(), "nothing is due");
        queries.push(began.elapsed().as_secs_f64() * 1e6);
        let name = format!("role-{:07}", number * (size / LOOKS).max(1) % size).parse()?;
        let began = Instant::now();
        let _ = engine.facts(&name).await?;
        looks.push(began.elapsed().as_secs_f64() * 1e6);
    }
    let (query, look) = (Spread::of(queries).median, Spread::of(looks).median);
    let of = format!("{size} rotations of a table");
    Ok(vec![
        Row::new(
            format!("{of}: start of `keywheel serve`"),
            format!(
                "{:.2} s (accepted in {:.1} s)",
                start.as_secs_f64(),
                accepted.as_secs_f64()
            ),
        )
        .target("<= 1 s", start <= Duration::from_secs(1)),
        Row::new("  and resident memory", format!("{resident} MB")).target("<= 100 MB", resident <= 100),
        Row::new("  and when the next one is due", microseconds(query)).target("<= 0.1 ms", query <= 100.0),
        Row::new(
            "  and a look at one that is due, whatever their number",
            microseconds(look),
        ),
    ])
}

/// A host that listens, and how long that took.
fn started(binary: &Path, host: &Path) -> Result<(Duration, Serving)> {
    let began = Instant::now();
    let mut serving = Serving::start(binary, host)?;
    while UnixStream::connect(host.join("state/socket")).is_err() {
        ensure!(
            began.elapsed() < ACCEPTED_WITHIN,
            "the rows were not accepted in time"
        );
        serving.status("VmRSS:")?;
        thread::sleep(Duration::from_millis(2));
    }
    Ok((began.elapsed(), serving))
}
