//! Whether an approver, who is neither the host's user nor root, gets as far as the host's socket.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Of a folder that lets a user through.
const SEARCH: u32 = 0o1;

/// A user of this machine's own files; one of a directory service is not in them.
#[derive(Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    /// Their own first; none where the files do not know the user.
    groups: BTreeSet<u32>,
    is_known: bool,
}

/// What keeps a user from giving an approval, and the way out.
pub(crate) fn fault(uid: u32, socket: &Path) -> Option<(String, String)> {
    // A file that cannot be read knows nobody.
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let user = user(uid, &read("/etc/passwd"), &read("/etc/group"));
    if uid == 0 || uid == rustix::process::geteuid().as_raw() {
        return None;
    }
    if let Some(folder) = barred(&user, socket) {
        return Some((
            format!(
                "user {uid} may approve runs, and cannot reach the host's socket: \"{}\" lets them not through",
                folder.display()
            ),
            "give the socket a folder that approvers may search, by `socket` of `[serve]`: docs/operators.md, Approvals"
                .to_owned(),
        ));
    }
    (!user.is_known).then(|| {
        (
            format!("user {uid} may approve runs, and this machine's /etc/passwd has no such user"),
            "`by` in `approval` has numbers of users, as `id -u NAME` prints them; one of a directory service is right all the same"
                .to_owned(),
        )
    })
}

/// The first folder on the way to the socket that the user may not search, of those that are there.
fn barred(user: &User, socket: &Path) -> Option<PathBuf> {
    let socket = std::path::absolute(socket).ok()?;
    let mut folders: Vec<&Path> = socket.ancestors().skip(1).collect();
    folders.reverse();
    let mut found = folders
        .into_iter()
        .map_while(|folder| Some((folder, fs::metadata(folder).ok()?)));
    let (folder, _) = found.find(|(_, found)| !lets_through(user, found))?;
    Some(folder.to_owned())
}

fn lets_through(user: &User, folder: &Metadata) -> bool {
    let shift = if folder.uid() == user.uid {
        6
    } else if user.groups.contains(&folder.gid()) {
        3
    } else {
        0
    };
    folder.mode() & (SEARCH << shift) != 0
}

/// By passwd(5) and group(5).
fn user(uid: u32, passwd: &str, group: &str) -> User {
    let fields = |line: &'_ str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let number = |fields: &[String], at: usize| fields.get(at).and_then(|text| text.parse::<u32>().ok());
    let found = passwd.lines().map(fields).find(|of| number(of, 2) == Some(uid));
    let Some(found) = found else {
        return User {
            uid,
            groups: BTreeSet::new(),
            is_known: false,
        };
    };
    let name = found.first().cloned().unwrap_or_default();
    let lists = |of: &Vec<String>| {
        of.get(3)
            .is_some_and(|names| names.split(',').any(|one| one == name))
    };
    let others = group.lines().map(fields).filter(lists);
    User {
        uid,
        groups: number(&found, 3)
            .into_iter()
            .chain(others.filter_map(|of| number(&of, 2)))
            .collect(),
        is_known: true,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nann:x:1201:1300::/home/ann:/bin/sh\nbroken\n";
    const GROUP: &str = "ops:x:1400:bob,ann\nothers:x:1500:joann\nbroken\n";

    #[test]
    fn groups_are_their_own_and_those_that_list_them() {
        let ann = user(1201, PASSWD, GROUP);
        assert_eq!((ann.is_known, ann.groups), (true, BTreeSet::from([1300, 1400])));
        assert!(!user(1202, PASSWD, GROUP).is_known);
    }

    #[test]
    fn the_first_folder_that_lets_them_not_through_is_named() {
        // The folders above it let everybody through.
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let closed = folder.path().join("state");
        fs::create_dir(&closed).unwrap();
        mode(folder.path(), 0o711);
        mode(&closed, 0o700);
        let gid = fs::metadata(&closed).unwrap().gid();
        let of = |groups: &[u32]| User {
            uid: 4_000_000,
            groups: groups.iter().copied().collect(),
            is_known: true,
        };
        let socket = closed.join("socket");
        assert_eq!(barred(&of(&[]), &socket), Some(closed.clone()));
        mode(&closed, 0o710);
        assert_eq!(barred(&of(&[]), &socket), Some(closed.clone()));
        assert_eq!(barred(&of(&[gid]), &socket), None);
        mode(&closed, 0o701);
        // Whoever is of the folder's group has the group's rights alone.
        assert_eq!(barred(&of(&[gid]), &socket), Some(closed.clone()));
        assert_eq!(barred(&of(&[]), &socket), None);
        mode(folder.path(), 0o700);
        assert_eq!(barred(&of(&[]), &socket), Some(folder.path().to_owned()));
    }
}
