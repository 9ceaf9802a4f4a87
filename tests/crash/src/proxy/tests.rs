use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::dialect::redis;

const PATIENCE: Duration = Duration::from_secs(30);

/// Holds a change until the test lets it go, and tells what became of it.
struct Holding {
    held: Mutex<Sender<()>>,
    let_go: Mutex<Receiver<()>>,
    told: Mutex<Sender<&'static str>>,
}

impl Hooks for Holding {
    fn before(&self, _: &Exchange) -> Verdict {
        lock(&self.held).send(()).unwrap();
        lock(&self.let_go).recv_timeout(PATIENCE).unwrap();
        Verdict::Pass
    }

    fn after(&self, _: &Exchange, _: bool) -> Verdict {
        lock(&self.told).send("answered").unwrap();
        Verdict::Pass
    }

    fn gone(&self, _: &Exchange) {
        lock(&self.told).send("gone").unwrap();
    }
}

/// Otherwise it counts as under way for ever, and no round after it says anything.
#[test]
fn a_change_whose_server_went_away_while_it_was_held_is_told_as_gone() {
    let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let ((held, is_held), (let_go, may_go), (told, tells)) = (channel(), channel(), channel());
    let hooks = Holding {
        held: Mutex::new(held),
        let_go: Mutex::new(may_go),
        told: Mutex::new(told),
    };
    let port = server.local_addr().unwrap().port();
    let proxy = Proxy::start(port, redis::make, Arc::new(hooks)).unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let (of_server, _) = server.accept().unwrap();

    client.write_all(b"*2\r\n$3\r\nACL\r\n$4\r\nSAVE\r\n").unwrap();
    is_held.recv_timeout(PATIENCE).unwrap();
    drop((of_server, server));
    // The proxy has seen that the server is gone when its client sees it.
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    let_go.send(()).unwrap();
    assert_eq!(tells.recv_timeout(PATIENCE).unwrap(), "gone");
}
