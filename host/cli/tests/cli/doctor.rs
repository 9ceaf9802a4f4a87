//! `keywheel doctor`, on a host that is well but for one thing.

use crate::kit::Place;

/// A number that nobody has, or that is not let through to the socket; and a sink that is not there.
pub(crate) fn says_who_could_not_approve(place: &Place) {
    let good = std::fs::read_to_string(place.path().join("keywheel.toml")).unwrap();
    let rotation = "\n[[rotation]]\n";
    assert!(good.contains(rotation), "{good}");
    let with = format!("{rotation}approval = {{ by = [3999999999] }}\n");
    place.write("keywheel.toml", good.replacen(rotation, &with, 1));
    let ran = place.run("doctor");
    assert_eq!(ran.exit, 10, "{}", ran.out);
    assert!(
        ran.out.contains("user 3999999999 may approve runs, and"),
        "{}",
        ran.out
    );
    let sink = "[[notify]]\nname = \"pager\"\nkind = \"command\"\ncommand = [\"/nowhere/page\"]\n\n";
    place.write("keywheel.toml", format!("{sink}{good}"));
    let ran = place.run("doctor");
    assert_eq!(ran.exit, 50, "{}", ran.out);
    assert!(
        ran.out.contains("pager: \"/nowhere/page\" cannot be looked at"),
        "{}",
        ran.out
    );
    place.write("keywheel.toml", good);
}
