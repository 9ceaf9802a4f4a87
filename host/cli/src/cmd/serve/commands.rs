//! Commands that reach the running host over its socket.

use std::collections::HashMap;
use std::sync::Arc;

use clap::Parser as _;
use keywheel_engine::{Engine, Stop, acting_as, of_user};
use keywheel_server::{Peer, Session};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::args::{Cli, Command};
use crate::cmd::{self, Context, Host, secret};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::Output;
use crate::terminal::Remote;

/// So many at once; whoever comes later waits.
const AT_ONCE: usize = 64;

/// So many of each other user; whoever comes later is refused, so that the host's own and the others have their room.
const OF_ONE_AT_ONCE: usize = 16;

/// The commands that are under way.
pub(super) struct Commands {
    engine: watch::Receiver<Engine>,
    stop: Stop,
    room: Arc<Semaphore>,
    /// Of users whom the configuration has named since the start: there are no others.
    rooms_of_others: HashMap<u32, Arc<Semaphore>>,
    tasks: JoinSet<()>,
}

impl Commands {
    pub(super) fn new(engine: watch::Receiver<Engine>, stop: Stop) -> Self {
        Self {
            engine,
            stop,
            room: Arc::new(Semaphore::new(AT_ONCE)),
            rooms_of_others: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Does what the other side wants.
    pub(super) fn take(&mut self, session: Session, peer: Peer) {
        while self.tasks.try_join_next().is_some() {}
        let (engine, stop) = (self.engine.clone(), self.stop.clone());
        let session = Arc::new(session);
        let room = Arc::clone(&self.room);
        let place = if peer.is_trusted() {
            None
        } else {
            let room_of_one = || Arc::new(Semaphore::new(OF_ONE_AT_ONCE));
            let room = self.rooms_of_others.entry(peer.uid).or_insert_with(room_of_one);
            match Arc::clone(room).try_acquire_owned() {
                Ok(place) => Some(place),
                Err(_) => {
                    return tokio::task::block_in_place(|| session.refuse(&keywheel_server::Error::Crowded));
                }
            }
        };
        self.tasks.spawn(async move {
            let _place = match place {
                Some(place) => place,
                None => match room.acquire_owned().await {
                    Ok(place) => place,
                    Err(_) => return,
                },
            };
            let exit = answered(&session, engine, stop, peer).await;
            tokio::task::block_in_place(|| session.exit(exit.number()));
        });
    }

    /// Waits until all have ended.
    pub(super) async fn ended(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Why a user who is not trusted with everything may not give a command, if so.
fn refused(engine: &Engine, command: &Command, peer: Peer) -> Option<keywheel_server::Error> {
    let reads = matches!(command, Command::Secret(secret::Verb::Read(_)));
    let (uid, may_read) = (peer.uid, engine.grants_any_read(peer.uid));
    if reads && may_read || command.is_of_approvers() && engine.lets_approve(uid) {
        None
    } else if may_read {
        Some(keywheel_server::Error::OnlyReads { uid })
    } else {
        Some(keywheel_server::Error::Peer { uid })
    }
}

async fn answered(
    session: &Arc<Session>,
    engine: watch::Receiver<Engine>,
    stop: Stop,
    peer: Peer,
) -> ExitCode {
    let hello = match tokio::task::block_in_place(|| session.hello()) {
        Ok(hello) => hello,
        Err(error) => {
            tokio::task::block_in_place(|| session.refuse(&error));
            return ExitCode::Unexpected;
        }
    };
    let words = std::iter::once("keywheel".to_owned()).chain(hello.words);
    let Ok(Cli { mut global, command }) = Cli::try_parse_from(words) else {
        // The other side has parsed it before: it is of another version.
        let error = keywheel_server::Error::Language {
            what: "its command line",
        };
        tokio::task::block_in_place(|| session.refuse(&error));
        return ExitCode::Unexpected;
    };
    if !peer.is_trusted() {
        // Nobody is asked for a passphrase who may not have what it opens.
        global.no_input = true;
        if let Some(error) = refused(&engine.borrow(), &command, peer) {
            tokio::task::block_in_place(|| session.refuse(&error));
            return ExitCode::Auth;
        }
    }
    global.config = hello.folder.join(global.config);
    let terminal = Remote {
        session: Arc::clone(session),
        facts: hello.facts,
    };
    let engine = engine.borrow().clone();
    let context = Context {
        output: Output::new(&global, Arc::new(terminal)),
        global,
        host: Some(Host {
            engine,
            peer,
            stop: either(Arc::clone(session), stop),
            folder: hello.folder,
        }),
    };
    let done = acting_as(of_user(peer.uid), Box::pin(cmd::run(command, &context))).await;
    done.unwrap_or_else(|failure: Failure| {
        context.output.fail(&failure);
        failure.exit()
    })
}

/// Becomes true when the other side, or the host itself, is to stop. Then nobody is waited for who has to answer something.
fn either(session: Arc<Session>, stop: Stop) -> watch::Receiver<bool> {
    let (both, either) = watch::channel(false);
    let mut asked = session.stop();
    tokio::spawn(async move {
        tokio::select! {
            _ = asked.wait_for(|asked| *asked) => {}
            () = stop.requested() => tokio::task::block_in_place(|| session.hears_no_more()),
            () = both.closed() => {}
        }
        both.send_replace(true);
    });
    either
}
