//! What comes from outside cannot paint on the terminal; and each of these failures says the way out.

use crate::kit::{Place, Ran};

/// A name that clears the screen, and goes on as a message of ours would.
const NAME: &str = "a\u{1b}[2J\u{9b}1m\u{202e}\nerror[x.y]: b.wasm";

fn host() -> Place {
    let place = Place::new();
    let ran = place.run("init --recovery-to recovery");
    assert_eq!(ran.exit, 0, "{}", ran.err);
    place
}

#[track_caller]
fn is_harmless(ran: &Ran, what: &str) {
    for text in [&ran.out, &ran.err] {
        let paints = |c: char| c != '\n' && c.is_control() || c == '\u{202e}';
        assert!(!text.chars().any(paints), "{what}: {text:?}");
        assert!(
            !text.lines().any(|line| line.starts_with("error[x.y]")),
            "{what}: {text}"
        );
    }
}

#[test]
fn the_name_of_a_file_in_the_plugin_folder_is_shown_and_does_not_paint() {
    let place = host();
    place.write(&format!("plugins/{NAME}"), "no component");
    let mut shown = 0;
    for words in [
        "plugin list",
        "config check",
        "status",
        "plugin verify",
        "-o json plugin list",
    ] {
        let ran = place.run(words);
        is_harmless(&ran, words);
        shown += usize::from(format!("{}{}", ran.out, ran.err).contains("u{1b}[2J"));
    }
    assert!(shown > 1, "nobody has named it");
    let ran = place.run_words(&["plugin", "show", &format!("plugins/{NAME}")], "");
    is_harmless(&ran, "plugin show");
    assert!(ran.exit == 20 && ran.err.contains("\\u{1b}[2J"), "{}", ran.err);
}

#[test]
fn each_of_these_failures_says_the_way_out() {
    let place = host();
    place.write("empty", "");
    place.write("long", vec![b'x'; 70_000]);
    place.write("taken", "");
    place.write("value", "planted-value");
    assert_eq!(place.run("secret import a/b @value").exit, 0);
    for (words, exit, code, hint) in [
        ("secret import x/y @empty", 2, "secret.empty", "@FILE"),
        (
            "secret import x/y @long",
            2,
            "secret.too-large",
            "is it the right file?",
        ),
        (
            "secret read a/b --reason test --to taken",
            24,
            "secret.write",
            "never overwritten",
        ),
        (
            "secret read a/b --reason test --to no/where",
            1,
            "secret.write",
            "folder of the file",
        ),
        ("plugin show ./gone.wasm", 23, "plugin.file", "correct the path"),
        (
            "plugin show ./plugins",
            20,
            "plugin.not-a-file",
            "name the `.wasm` file itself",
        ),
    ] {
        let ran = place.run(words);
        assert_eq!(ran.exit, exit, "{words}: {}", ran.err);
        assert!(ran.err.contains(code), "{words}: {}", ran.err);
        let line = ran
            .err
            .lines()
            .find(|line| line.starts_with("hint: "))
            .unwrap_or_default();
        assert!(line.contains(hint), "{words}: {}", ran.err);
    }
    let ran = place.run_with("secret import x/y -", "a\0b");
    assert!(
        ran.exit == 2 && ran.err.contains("secret.value") && ran.err.contains("hint: give the value itself"),
        "{}",
        ran.err
    );
}
