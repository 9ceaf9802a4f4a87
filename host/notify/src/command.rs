use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Child;

use crate::program::{Running, prepared};
use crate::{Error, Notice};

/// A program that gets each notice as one line of JSON on its standard input, and nothing of this host's environment. 0 says that it has taken it. What it
/// prints goes nowhere: it may hold what this host is not to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program, by its whole path.
    pub program: PathBuf,
    /// Its arguments, as they are.
    pub arguments: Vec<String>,
    /// After this it is killed, with all that it has started.
    pub timeout: Duration,
}

impl Command {
    pub(crate) async fn run(&self, notice: &Notice) -> Result<(), Error> {
        let mut process = prepared(&self.program, &self.arguments);
        process
            .env("KEYWHEEL_TOPIC", &notice.topic)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut running = Running::start(&mut process, &self.program)?;
        let ended = tokio::time::timeout(self.timeout, fed(&mut running.child, notice)).await;
        running.judged(ended.ok(), &self.program, self.timeout)
    }
}

/// One that does not read what it is given may end well all the same.
async fn fed(child: &mut Child, notice: &Notice) -> std::io::Result<ExitStatus> {
    if let Some(mut stdin) = child.stdin.take() {
        let line = format!("{}\n", serde_json::json!(notice));
        let _ = stdin.write_all(line.as_bytes()).await;
    }
    child.wait().await
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn notice(body: serde_json::Value) -> Notice {
        Notice {
            id: 7,
            topic: "attention".to_owned(),
            key: "rotation app-db".to_owned(),
            is_trouble: true,
            severity: crate::Severity::Error,
            at: 1_764_000_000_000,
            body,
            words: crate::Words::default(),
        }
    }

    fn shell(script: &str, timeout: Duration) -> Command {
        Command {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            timeout,
        }
    }

    #[tokio::test]
    async fn it_gets_the_notice_and_nothing_of_this_process() {
        let folder = tempfile::tempdir().unwrap();
        let (told, environment) = (folder.path().join("told"), folder.path().join("environment"));
        let script = format!("cat > {}; env > {}", told.display(), environment.display());
        let sent = notice(serde_json::json!({"what": "parked"}));
        shell(&script, Duration::from_mins(1)).run(&sent).await.unwrap();
        let told = fs::read_to_string(told).unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&told).unwrap(),
            serde_json::json!(sent)
        );
        let environment = fs::read_to_string(environment).unwrap();
        let mut names: Vec<&str> = environment
            .lines()
            .filter_map(|line| line.split('=').next())
            .filter(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name))
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["KEYWHEEL_TOPIC", "PATH"]);
    }

    #[tokio::test]
    async fn why_it_was_not_taken_is_told() {
        let sent = notice(serde_json::Value::Null);
        let code = |script: &'static str, timeout| {
            let sent = sent.clone();
            async move { shell(script, timeout).run(&sent).await.unwrap_err() }
        };
        let long = Duration::from_mins(1);
        let ended = code("exit 3", long).await;
        assert_eq!(
            (ended.code(), ended.to_string().contains("code 3")),
            ("notify.ended", true)
        );
        let killed = code("kill -9 $$", long).await;
        assert!(killed.to_string().contains("signal 9"), "{killed}");
        let late = code("sleep 600", Duration::from_millis(50)).await;
        assert_eq!(late.code(), "notify.late");
        let missing = Command {
            program: "/nowhere/at/all".into(),
            arguments: Vec::new(),
            timeout: long,
        };
        assert_eq!(missing.run(&sent).await.unwrap_err().code(), "notify.start");
    }

    /// A notice that is larger than a pipe, and a program that never reads it.
    #[tokio::test]
    async fn one_that_reads_nothing_is_waited_for_no_longer_than_it_has() {
        let large = notice(serde_json::Value::String("x".repeat(1 << 20)));
        shell("exit 0", Duration::from_mins(1)).run(&large).await.unwrap();
        let late = shell("sleep 600", Duration::from_millis(50)).run(&large).await;
        assert_eq!(late.unwrap_err().code(), "notify.late");
    }

    #[tokio::test]
    async fn what_it_has_started_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        let late = shell(&script, Duration::from_secs(2))
            .run(&notice(serde_json::Value::Null))
            .await;
        assert_eq!(late.unwrap_err().code(), "notify.late");
        let pid = fs::read_to_string(file).unwrap();
        crate::program::tests::is_gone(pid.trim()).await;
    }
}
