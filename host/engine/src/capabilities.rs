//! The capabilities as the configuration sets them up.

use std::sync::Arc;

use keywheel_capability::capability::{Capabilities, Settings};
use keywheel_capability::http::HttpSettings;
use keywheel_capability::net::NetSettings;
use keywheel_capability::sql::SqlSettings;
use keywheel_config::Config;
use keywheel_target::Outbound;
use keywheel_target::dial::Dialer;
use keywheel_target::postgres::Pool;
use keywheel_target::tls::TrustStore;

use crate::{Error, trust};

/// All capabilities of the host. A trust set that cannot be read stops those who would use it, and nobody else: the vault is to be had without it.
///
/// # Errors
/// Settings that cannot work.
pub(crate) fn configure(config: &Config, pool: Arc<Pool>) -> Result<Capabilities, Error> {
    let outbound = Arc::new(Outbound::new(Dialer::system(), roots(config)));
    let settings = Settings {
        sql: SqlSettings {
            outbound: Arc::clone(&outbound),
            pool,
        },
        net: NetSettings {
            outbound: Arc::clone(&outbound),
        },
        http: HttpSettings { outbound },
    };
    Capabilities::configure(settings).map_err(|error| Error::Capability(error.to_string()))
}

/// Whom TLS trusts, as the files say now.
pub(crate) fn roots(config: &Config) -> TrustStore {
    let mut roots = TrustStore::new();
    for (name, set) in &config.trust {
        for path in &set.pem {
            let added = match trust::read(path) {
                Ok(pem) => roots.add_pem(name, &pem).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(why) = added {
                roots.add_unusable(name, format!("\"{}\": {why}", path.display()));
            }
        }
    }
    roots
}
