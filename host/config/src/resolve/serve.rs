//! The running host's section.

use std::net::SocketAddr;

use super::Resolver;
use crate::document::At;

impl Resolver {
    /// What answers there asks nobody who they are, so that it is for this machine alone.
    pub(super) fn loopback(&mut self, pointer: &'static str, text: Option<&str>) -> Option<SocketAddr> {
        let text = text?;
        let address = text.parse::<SocketAddr>().ok();
        let loopback = address.filter(|address| address.ip().is_loopback() && address.port() != 0);
        if loopback.is_none() {
            let what = match address {
                Some(address) if address.port() == 0 => "names no port that anybody could find",
                Some(_) => {
                    "can be reached from other machines, and whoever asks there is not asked who they are"
                }
                None => "is no address with a port",
            };
            self.report(
                At::Value(pointer),
                "config.value",
                format!("{text:?} {what}"),
                Some("a loopback address, like \"127.0.0.1:9464\" or \"[::1]:9464\"; for other machines put a proxy before it".to_owned()),
            );
        }
        loopback
    }
}
