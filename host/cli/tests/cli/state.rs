//! A state that is not there, cannot be written, or has no room.

use crate::kit::Place;

#[test]
fn only_init_makes_a_state_and_what_misses_one_says_where_it_looked() {
    let place = Place::new();
    place.write("keywheel.toml", "[state]\ndir = \"sttae\"\n");
    for words in [
        "status",
        "secret list",
        "run list",
        "audit verify",
        "audit search",
        "vault status",
        "plugin list",
        "plan --all",
        "rotate --all",
    ] {
        let ran = place.run(words);
        assert_eq!(ran.exit, 23, "{words}: {}", ran.err);
        let path = place.path().join("sttae").display().to_string();
        for part in [
            "error[store.no-state]",
            "keywheel.toml:2:1",
            &path,
            "hint: ",
            "mounted",
        ] {
            assert!(ran.err.contains(part), "{words}: {part}: {}", ran.err);
        }
        assert!(!place.path().join("sttae").exists(), "{words}");
    }
    let doctor = place.run("doctor");
    assert_eq!(doctor.exit, 50, "{}", doctor.err);
    assert!(doctor.out.contains("there is no state in"), "{}", doctor.out);
    // A volume that is not mounted leaves its empty folder.
    let folder = place.path().join("sttae");
    std::fs::create_dir(&folder).unwrap();
    let ran = place.run("status");
    assert!(
        ran.exit == 23 && ran.err.contains("no keywheel.db"),
        "{}",
        ran.err
    );
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}
