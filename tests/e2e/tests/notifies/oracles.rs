//! What the vendors' own libraries say of what was sent.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::receiver::libraries;

/// Microsoft's library reads each card without a word.
pub(crate) fn cards_are_cards(messages: &[Value]) {
    let Some(folder) = libraries() else { return };
    // Modules are looked for from where the script stands.
    let script = folder.join("card.mjs");
    fs::write(&script, include_str!("card.mjs")).unwrap();
    let mut node = Command::new("node")
        .arg(script)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let cards: Vec<String> = messages
        .iter()
        .map(|message| format!("{}\n", message["attachments"][0]["content"]))
        .collect();
    let mut stdin = node.stdin.take().unwrap();
    stdin.write_all(cards.concat().as_bytes()).unwrap();
    drop(stdin);
    let ended = node.wait_with_output().unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

/// Slack's types take each message.
pub(crate) fn blocks_are_blocks(messages: &[Value]) {
    let Some(folder) = libraries() else { return };
    let place = tempfile::Builder::new()
        .prefix("messages-")
        .tempdir_in(&folder)
        .unwrap();
    let messages = serde_json::to_string(messages).unwrap();
    let text = format!(
        "import type {{ KnownBlock }} from \"@slack/types\";\nconst messages: {{ text: string; blocks: KnownBlock[] }}[] = {messages};\n\
         export default messages;\n"
    );
    fs::write(place.path().join("messages.ts"), text).unwrap();
    let ended = Command::new(folder.join("node_modules/.bin/tsc"))
        .args(["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext"])
        .args(["--moduleResolution", "nodenext", "messages.ts"])
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stdout)
    );
}
