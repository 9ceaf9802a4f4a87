//! Who or what touched which secret, and when: what `audit search` finds.

use serde_json::Value;

use crate::kit::Place;

/// By secret, by actor, by run, by time, and by all of them; the input that a plugin used is found under its own name.
pub(crate) fn assert_the_trail_says_who_touched_what_and_when(place: &Place) {
    let rows = |words: &str| -> Vec<Value> {
        let ran = place.run(&format!("-o json audit search --oldest-first {words}"));
        let found: Value = serde_json::from_str(&ran.out).unwrap();
        found.as_array().unwrap().clone()
    };
    let all = rows("");
    let is = |row: &Value, field: &str, value: &str| row[field].as_str() == Some(value);
    let actions = |rows: &[Value]| -> Vec<String> {
        rows.iter()
            .map(|row| row["action"].as_str().unwrap().to_owned())
            .collect()
    };

    let of_admin = rows("--secret admin/db");
    assert!(
        of_admin
            .iter()
            .any(|row| is(row, "action", "secret.import") && !is(row, "actor", "host"))
    );
    let uses: Vec<&Value> = of_admin
        .iter()
        .filter(|row| is(row, "action", "secret.use"))
        .collect();
    assert!(!uses.is_empty(), "{of_admin:#?}");
    for used in uses {
        assert!(
            is(used, "actor", "plugin-of:app-db") && is(used, "resource", "admin/db"),
            "{used:#}"
        );
        assert!(
            used["details"]["secret"]
                .as_str()
                .unwrap()
                .starts_with("admin/db@"),
            "{used:#}"
        );
    }
    let of_app = actions(&rows("--secret app/db"));
    for action in [
        "run.begin",
        "secret.import",
        "secret.use",
        "secret.pending",
        "secret.promote",
        "secret.read",
        "step.apply",
    ] {
        assert!(
            of_app.iter().any(|found| found == action),
            "{action} is missing in {of_app:?}"
        );
    }
    assert!(rows("--secret app/d").is_empty(), "a name is a whole name");

    let run = all.iter().rfind(|row| is(row, "action", "run.begin")).unwrap()["run"]
        .as_str()
        .unwrap();
    let of_run = rows(&format!("--run {run}"));
    assert!(of_run.len() > 5 && of_run.iter().all(|row| is(row, "run", run)));
    let by_plugin = rows("--actor plugin-of:app-db");
    assert!(!by_plugin.is_empty() && by_plugin.iter().all(|row| is(row, "actor", "plugin-of:app-db")));

    // From the first row of the second run on, and before it: together they are all.
    let at = of_run[0]["at"].as_u64().unwrap();
    let (later, earlier): (Vec<&Value>, Vec<&Value>) =
        all.iter().partition(|row| row["at"].as_u64().unwrap() >= at);
    let time = time_text(at);
    assert_eq!(rows(&format!("--since {time}")).len(), later.len());
    assert_eq!(rows(&format!("--until {time}")).len(), earlier.len());
    assert!(!later.is_empty() && !earlier.is_empty());
    let both = rows(&format!(
        "--secret admin/db --actor plugin-of:app-db --run {run} --since {time}"
    ));
    assert!(
        !both.is_empty() && both.iter().all(|row| is(row, "action", "secret.use")),
        "{both:#?}"
    );
}

/// `2026-11-25T01:58:50.123Z`, as `--since` takes it.
fn time_text(ms: u64) -> String {
    jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap())
        .unwrap()
        .to_string()
}
