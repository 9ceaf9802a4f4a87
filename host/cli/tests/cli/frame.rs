//! Help, usage errors, streams, colours, completion.

use crate::kit::{Place, same_as_file};

/// Every command with its own help page.
const PAGES: &str = "
    init | status | plan | rotate
    run | run list | run show | run approve | run deny | run resume | run rollback | run cancel
    schedule | schedule list | schedule next | schedule pause | schedule unpause | schedule release
    secret | secret list | secret show | secret history | secret import | secret read | secret rollback
    target | target test | drift | drift check
    plugin | plugin list | plugin show | plugin add | plugin verify | plugin pack
    policy | policy check | policy explain | policy test
    config | config check | config schema | config show
    vault | vault status | vault unseal | vault backup | vault restore | vault restored | vault rewrap | vault rekey | vault trim
    vault slot | vault slot list | vault slot add | vault slot remove
    audit | audit search | audit checkpoint | audit verify
    notify | notify list | notify test | serve
    doctor | completion";

#[test]
fn the_help_of_every_command_is_the_committed_one() {
    let place = Place::new();
    let mut all = place.run("--help").out;
    for page in PAGES
        .split(['|', '\n'])
        .map(str::trim)
        .filter(|page| !page.is_empty())
    {
        let ran = place.run(&format!("{page} --help"));
        assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{page}");
        // The options that every command has stand once, at the top.
        let own = ran.out.split("Global options:").next().unwrap_or_default();
        all.extend(["\n$ keywheel ", page, " --help\n", own.trim_end(), "\n"]);
    }
    same_as_file("tests/cli/snapshots/help.txt", &all);
}

#[test]
fn a_wrong_command_line_ends_with_2_and_leaves_standard_output_empty() {
    for words in [
        "",
        "frobnicate",
        "config",
        "config check --nope",
        "-o yaml config check",
        "-q -v config check",
    ] {
        let ran = Place::new().run(words);
        assert_eq!((ran.exit, ran.out.as_str()), (2, ""), "{words}: {}", ran.err);
        assert!(!ran.err.is_empty(), "{words}");
    }
}

#[test]
fn a_wrong_command_line_is_told_like_every_other_failure() {
    for (words, message, hint) in [
        (
            "frobnicate",
            "unrecognized subcommand 'frobnicate'",
            "Usage: keywheel",
        ),
        ("config chek", "unrecognized subcommand 'chek'", "'check'"),
        (
            "run show",
            "required arguments were not provided: <RUN>",
            "Usage: keywheel run show",
        ),
        ("-o yaml config check", "invalid value 'yaml'", "--help"),
    ] {
        let ran = Place::new().run(words);
        assert_eq!((ran.exit, ran.out.as_str()), (2, ""), "{words}");
        let (first, rest) = ran.err.split_once('\n').unwrap();
        assert!(
            first.starts_with("error[usage.invalid]: ") && first.contains(message),
            "{words}: {first}"
        );
        assert!(
            rest.lines().all(|line| line.starts_with("hint: ")) && rest.contains(hint),
            "{words}: {rest}"
        );
    }
    // Who names no command wants to know which there are.
    let ran = Place::new().run("config");
    assert!(ran.err.contains("Commands:"), "{}", ran.err);
}

#[test]
fn the_page_of_exit_codes_is_the_one_of_the_binary() {
    let page = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/reference/exit-codes.md"
    ))
    .unwrap();
    for number in [0, 1, 2, 10, 20, 21, 22, 23, 24, 30, 40, 41, 42, 50, 124] {
        assert!(page.contains(&format!("\n| {number} | `")), "{number}");
    }
}

#[test]
fn an_error_names_its_code_and_the_way_out_on_standard_error() {
    let ran = Place::new().run("config check");
    assert_eq!((ran.exit, ran.out.as_str()), (20, ""));
    assert!(
        ran.err
            .starts_with("error[config.unreadable]: cannot read the configuration"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("hint: `keywheel init` writes one"),
        "{}",
        ran.err
    );
}

#[test]
fn with_json_an_error_is_one_line_of_json_on_standard_error() {
    let ran = Place::new().run("-o json config check");
    assert_eq!((ran.exit, ran.out.as_str(), ran.err.lines().count()), (20, "", 1));
    let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(error["error"]["exit"], "config-invalid");
    assert_eq!(error["error"]["problems"][0]["code"], "config.unreadable");
}

#[test]
fn with_json_a_wrong_command_line_is_one_line_of_json_too() {
    for (words, message, hint) in [
        (
            "-o json frobnicate",
            "unrecognized subcommand 'frobnicate'",
            "Usage: keywheel",
        ),
        ("-o json", "requires a subcommand", "Usage: keywheel"),
        ("-o json config", "a command is missing", "Usage: keywheel"),
        (
            "--output=json config chek",
            "unrecognized subcommand 'chek'",
            "'check'",
        ),
        (
            "secret import -ojson",
            "required arguments were not provided: <NAME>",
            "Usage: keywheel secret import",
        ),
        (
            "-o json config check --nope\u{202e}x",
            "unexpected argument '--nope?x'",
            "--help",
        ),
    ] {
        let ran = Place::new().run(words);
        assert_eq!(
            (ran.exit, ran.out.as_str(), ran.err.lines().count()),
            (2, "", 1),
            "{words}"
        );
        let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
        let error = &error["error"];
        assert_eq!(
            (&error["exit"], &error["code"]),
            (&"usage".into(), &"usage.invalid".into())
        );
        assert!(
            error["message"].as_str().unwrap().contains(message),
            "{words}: {error}"
        );
        let hints = error["hints"].as_array().unwrap();
        assert!(
            hints.iter().any(|told| told.as_str().unwrap().contains(hint)),
            "{words}: {error}"
        );
    }
    // Whoever asks for help is a person.
    assert!(
        Place::new()
            .run("-o json --help")
            .out
            .starts_with("Rotates credentials")
    );
    assert!(!Place::new().run("frobnicate -- -o json").err.starts_with('{'));
}

#[test]
fn colours_are_used_only_when_asked_for_outside_of_a_terminal() {
    let place = Place::new();
    assert!(!place.run("config check").err.contains('\u{1b}'));
    assert!(
        place
            .run("--color always config check")
            .err
            .contains("\u{1b}[1;31merror")
    );
}

#[test]
fn every_shell_has_a_completion_script() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = Place::new().run(&format!("completion {shell}"));
        assert_eq!(ran.exit, 0, "{shell}");
        assert!(
            ran.out.contains("keywheel") && ran.out.contains("config"),
            "{shell}"
        );
    }
}
