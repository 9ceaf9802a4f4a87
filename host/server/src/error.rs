use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What goes wrong between a command and the running host.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path has more bytes than the kernel takes.
    #[error("the path of the socket, \"{}\", has {} bytes", path.display(), path.as_os_str().len())]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// Something is there that is no socket.
    #[error("\"{}\" is there, and is no socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Another process listens there.
    #[error("another process listens on \"{}\"", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("cannot listen on \"{}\"", path.display())]
    Listen {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Http {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody is spoken to on this socket but its own user and root.
    #[error("user {uid} may not use the socket of this host")]
    Peer {
        /// Who it was.
        uid: u32,
    },
    /// Somebody else than the host's user listens there: a command would tell them what it tells the host.
    #[error("user {uid} listens on \"{}\", who is neither this user nor root nor the owner of its folder", path.display())]
    Stranger {
        /// The path.
        path: PathBuf,
        /// Who listens.
        uid: u32,
    },
    /// That user has what is granted, and this is not.
    #[error("user {uid} may read what is granted, and give no other command")]
    OnlyReads {
        /// Who it was.
        uid: u32,
    },
    /// That user has as many commands under way as it may.
    #[error("commands of this user are under way, as many as there may be")]
    Crowded,
    /// The other side does not speak as agreed, or a part of it is too long.
    #[error("the other side of the socket does not speak this version's language: {what}")]
    Language {
        /// What is wrong.
        what: &'static str,
    },
    /// The connection broke.
    #[error("the connection to the running host broke")]
    Broken {
        /// What the system says.
        source: io::Error,
    },
}

impl Error {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "socket.too-long",
            Self::NotASocket { .. } => "socket.taken",
            Self::InUse { .. } => "socket.in-use",
            Self::Listen { .. } => "socket.listen",
            Self::Http { .. } => "http.listen",
            Self::Peer { .. } | Self::OnlyReads { .. } => "socket.peer",
            Self::Stranger { .. } => "socket.stranger",
            Self::Crowded => "socket.crowded",
            Self::Language { .. } => "socket.language",
            Self::Broken { .. } => "socket.broken",
        }
    }

    /// The way out.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => {
                "name a shorter one: `socket` in `[serve]`, such as \"/run/keywheel/host.sock\"; 106 bytes are allowed"
            }
            Self::NotASocket { .. } => {
                "name another one: `socket` in `[serve]`; what is there is not touched"
            }
            Self::InUse { .. } => "one host is enough: `keywheel status` asks the one that runs",
            Self::Listen { .. } => "its folder must be there, and this user must be allowed to write to it",
            Self::Http { .. } => {
                "name another port: `http` in `[serve]`; or leave it out, and there is no listener"
            }
            Self::Stranger { .. } => {
                "nothing was said to them; take that process away, and put the socket into a folder that only the host's user may write to: `socket` in `[serve]`"
            }
            Self::Crowded => "try again in a moment",
            Self::Peer { .. } | Self::OnlyReads { .. } => {
                "run the command as the host's own user, or as root; whom a rotation's `approval` names has `run list`, `run show`, `run approve` and `run deny` here, and whom a `[[grant]]` names has `secret read`"
            }
            Self::Language { .. } => "the host that runs is of another version: restart it, then try again",
            Self::Broken { .. } => {
                "the host may have been stopped: `keywheel status` says how things stand; a run that was under way goes on with it"
            }
        }
    }
}
