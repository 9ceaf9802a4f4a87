//! Publishers' keys in the configuration, and what comes of a plugin that none of them has signed. Signatures themselves: `host/plugin`, `publishers`.

use crate::rotation::ready;

const KEY: &str = "RWSlbPYMYt0F72UEynL6Lx64V+98VnqZk2a/aoFHPnrxqVUFIODs8WAD";

/// The configuration with more lines in `[plugins]`.
fn with_plugins(text: &[u8], more: &str) -> String {
    let text = String::from_utf8(text.to_vec()).unwrap();
    let line = "upgrades = \"hold\"";
    assert!(text.contains(line), "{text}");
    text.replace(line, &format!("{line}\n{more}"))
}

#[test]
fn a_plugin_that_no_listed_publisher_has_signed_is_refused_wherever_it_is_looked_at() {
    let place = ready("cli_publisher");
    let before = place.read("keywheel.toml");
    let required = format!("publishers = [\"{KEY}\"]\nsignatures = \"required\"");
    place.write("keywheel.toml", with_plugins(&before, &required));
    for (words, exit) in [
        ("plugin list", 0),
        ("status", 10),
        ("plan app-db", 42),
        ("config check", 42),
        ("plugin verify", 42),
        ("plugin add postgres --yes", 42),
    ] {
        let ran = place.run(words);
        assert_eq!(ran.exit, exit, "{words}: {}{}", ran.out, ran.err);
        let all = format!("{}{}", ran.out, ran.err);
        assert!(
            all.contains("plugin.unsigned") && all.contains(".minisig"),
            "{words}: {all}"
        );
    }
    // What lies beside it and is no signature is worse than none.
    place.write("plugins/postgres.wasm.minisig", "hello");
    let ran = place.run("plugin list");
    assert!(ran.out.contains("plugin.signature"), "{}", ran.out);
    // With nobody listed nothing of that counts.
    place.write("keywheel.toml", before);
    assert_eq!(place.run("plugin verify").exit, 0);
}

#[test]
fn a_key_that_is_none_and_a_signature_that_nobody_can_give_are_errors_with_their_place() {
    let place = ready("cli_no_key");
    let before = place.read("keywheel.toml");
    place.write(
        "keywheel.toml",
        with_plugins(&before, "signatures = \"required\""),
    );
    let ran = place.run("config check");
    assert_eq!(ran.exit, 20, "{}", ran.err);
    assert!(
        ran.err.contains("`publishers` lists no key") && ran.err.contains("--> keywheel.toml:"),
        "{}",
        ran.err
    );
    place.write("keywheel.toml", with_plugins(&before, "publishers = [\"RWno\"]"));
    let ran = place.run("plugin list");
    assert_eq!(ran.exit, 20, "{}{}", ran.out, ran.err);
    assert!(
        ran.err.contains("no minisign public key") && ran.err.contains("`plugins.publishers`"),
        "{}",
        ran.err
    );
}
