use keywheel_e2e::Output;
use serde_json::Value;

use crate::{On, Scene, Subject, inside};

/// Everything that can be seen of an attack.
#[derive(Debug)]
pub struct Seen {
    /// How `rotate` ended.
    pub output: Output,
    /// `run show`; null where no run began.
    pub run: Value,
    /// The run's rows of the audit trail, oldest first.
    pub audit: Vec<Value>,
    /// What the attack had to itself.
    pub subject: Subject,
    on: On,
    /// Where a value of the attack's shows, in anything that was printed or is kept.
    leaks: Vec<String>,
    /// The current credential, if it is a new one.
    promoted: Option<String>,
}

/// What a refusal says when it would have said a secret.
const WITHHELD: &str = "[withheld";

/// `policy explain` is asked what the row says that it is to be asked, and names the rule that the row has.
#[track_caller]
fn is_explained(scene: &Scene, rotation: &str, row: &Value) {
    let details = &row["details"];
    let request = details["request"]
        .as_str()
        .unwrap_or_else(|| panic!("nothing to ask: {row}"));
    if request.starts_with(WITHHELD) {
        return;
    }
    let output = scene
        .host
        .run(&["policy", "explain", rotation, request, "-o", "json"], "");
    assert_eq!(output.code, 21, "{row}\n{output:?}");
    let answer = output.json();
    assert_eq!(answer["allowed"], false, "{row}\n{answer:#}");
    assert_eq!(answer["rule"], details["code"], "{row}\n{answer:#}");
    let why = answer["lines"]
        .as_str()
        .or_else(|| answer["never"].as_str())
        .unwrap();
    assert!(!why.is_empty(), "{answer:#}");
    if answer["rule"] == "policy.denied" {
        let message = details["message"].as_str().unwrap();
        // What was asked for stands before it, and is escaped once more where it is no host.
        let reason = why.rsplit_once("`: ").map_or(why, |(_, reason)| reason);
        assert!(message.contains(reason), "{row}\n{answer:#}");
    }
}

impl Seen {
    #[track_caller]
    pub(crate) fn of(scene: &Scene, on: On, subject: Subject, output: Output) -> Self {
        let shown: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
        let run = shown.get(0).unwrap_or(&shown).clone();
        let (audit, promoted) = match run["run"].as_str() {
            Some(id) => inside::kept(
                &scene.host,
                &id.parse().unwrap(),
                &format!("app/{}", subject.name),
            ),
            None => (Vec::new(), None),
        };
        for row in audit.iter().filter(|row| row["outcome"] == "denied") {
            is_explained(scene, &subject.name, row);
        }
        let told: String = audit.iter().map(ToString::to_string).collect();
        let values = [subject.old.clone(), subject.planted.clone()];
        let leaks = scene.host.leaks_since(scene.since, &values, &[("audit", &told)]);
        Self {
            output,
            run,
            audit,
            subject,
            on,
            leaks,
            promoted,
        }
    }

    /// Holds what is true after every attack: the credential in use opens the server, and no value shows anywhere.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    fn is_safe(&self) {
        assert_eq!(
            self.leaks,
            Vec::<String>::new(),
            "a value shows\n{}",
            self.words()
        );
        let current = self.promoted.as_ref().unwrap_or(&self.subject.old);
        assert!(
            self.on.takes(&self.subject.name, current),
            "the server refuses the current credential\n{}",
            self.words()
        );
    }

    /// The step failed with this code, the run parked for this cause with exit code 41, and the audit trail has both.
    ///
    /// # Panics
    /// When one of it is not so.
    #[track_caller]
    pub fn parks(&self, step: &str, code: &str, cause: &str) -> &Self {
        assert_eq!(self.output.code, 41, "{}", self.words());
        assert_eq!(self.run["parked"]["cause"], cause, "{}", self.words());
        self.failed(step, code);
        let parked = self.rows("run.park");
        assert!(
            parked
                .iter()
                .any(|row| row["outcome"] == "waiting" && row.to_string().contains(cause)),
            "{}",
            self.words()
        );
        self.is_safe();
        self
    }

    /// The run ended without a new credential: this exit code, and the old one is still current.
    ///
    /// # Panics
    /// When one of it is not so.
    #[track_caller]
    pub fn gives_up(&self, exit: i32, step: &str, code: &str) -> &Self {
        assert_eq!(self.output.code, exit, "{}", self.words());
        self.failed(step, code);
        assert_eq!(self.promoted, None, "{}", self.words());
        self.is_safe();
        self
    }

    /// `rotate` ended with this code, and the credential that was current before is current still.
    ///
    /// # Panics
    /// When it is not so.
    #[track_caller]
    pub fn ends_old(&self, exit: i32) -> &Self {
        assert_eq!(self.output.code, exit, "{}", self.words());
        assert_eq!(self.promoted, None, "{}", self.words());
        self.is_safe();
        self
    }

    /// The same, and a new credential is current.
    ///
    /// # Panics
    /// When it is not so.
    #[track_caller]
    pub fn ends_new(&self, exit: i32) -> &Self {
        assert_eq!(self.output.code, exit, "{}", self.words());
        assert_ne!(
            self.promoted.as_ref(),
            Some(&self.subject.old),
            "{}",
            self.words()
        );
        assert!(self.promoted.is_some(), "{}", self.words());
        self.is_safe();
        self
    }

    /// The run went through, by what the host itself saw.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn goes_through(&self) -> &Self {
        assert_eq!(self.output.code, 0, "{}", self.words());
        assert!(
            !self.on.takes(&self.subject.name, &self.subject.old),
            "{}",
            self.words()
        );
        self.is_safe();
        self
    }

    /// A call was refused with this code, and the audit trail says so.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn denied(&self, code: &str) -> &Self {
        let rows = self.rows("plugin.call");
        let denied = rows
            .iter()
            .any(|row| row["outcome"] == "denied" && row["details"]["code"] == code);
        assert!(denied, "no row with {code}\n{}", self.words());
        self
    }

    /// A step failed with this code, in the run and in the audit trail.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    fn failed(&self, step: &str, code: &str) {
        let steps = self.run["steps"].as_array().cloned().unwrap_or_default();
        let failed = steps
            .iter()
            .any(|seen| seen["step"] == step && seen["code"] == code);
        assert!(failed, "`{step}` did not fail with {code}\n{}", self.words());
        let rows = self.rows(&format!("step.{step}"));
        let told = rows
            .iter()
            .any(|row| row["outcome"] == "failed" && row["details"].to_string().contains(code));
        assert!(told, "no row of `{step}` with {code}\n{}", self.words());
    }

    fn rows(&self, action: &str) -> Vec<&Value> {
        self.audit.iter().filter(|row| row["action"] == action).collect()
    }

    fn words(&self) -> String {
        format!(
            "{}\n{}\n{:#}\n{}",
            self.output.stdout,
            self.output.stderr,
            self.run,
            self.audit
                .iter()
                .map(|row| format!("{row}\n"))
                .collect::<String>()
        )
    }
}
