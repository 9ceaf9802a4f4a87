use hmac::{Hmac, KeyInit, Mac};
use keywheel_model::{ErrorKind, SecretBytes};
use keywheel_target::{ldap, mysql, rabbitmq, scram};
use serde::Deserialize;
use sha2::Sha256;

use crate::error::Error;
use crate::handle::{Alphabet, Handle, Labels};
use crate::state::HostState;

const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScramParameters {
    #[serde(default = "default_rounds")]
    rounds: u32,
}

fn default_rounds() -> u32 {
    scram::DEFAULT_ROUNDS
}

fn is_empty(parameters: &str) -> bool {
    matches!(parameters.trim(), "" | "{}")
}

impl HostState {
    /// A one-way form of a whole secret. Of a composed one it would be an oracle: the guest chose a part of what is hashed
    /// (rule H3).
    pub(super) async fn derived(
        &mut self,
        base: &Handle,
        algorithm: &str,
        parameters: &str,
    ) -> Result<Handle, Error> {
        let labels = base.labels();
        if !labels.origin.is_whole() || labels.holds_known {
            let message = format!(
                "{} is {:?}: one-way forms are of whole secrets that were stored, generated or captured",
                base.id(),
                labels.origin
            );
            return Err(self.deny("secret.derive", message).await);
        }
        let (value, alphabet) = match algorithm {
            "postgres.scram-sha-256" => {
                let parameters = if is_empty(parameters) { "{}" } else { parameters };
                let parameters: ScramParameters = serde_json::from_str(parameters).map_err(|_| {
                    Error::invalid(
                        "secret.derive",
                        "the parameters are a JSON object with `rounds` at most",
                    )
                })?;
                let salt: [u8; 16] = self.salt(algorithm, base)?;
                (
                    scram_verifier(base.value(), salt, parameters.rounds).await?,
                    Alphabet::of(&format!("{BASE64}$:-")),
                )
            }
            "redis.sha256"
            | "mysql.native-password"
            | "mysql.caching-sha2"
            | "ldap.ssha"
            | "ldap.ssha512"
            | "rabbitmq.sha256"
                if !is_empty(parameters) =>
            {
                return Err(Error::invalid(
                    "secret.derive",
                    format!("`{algorithm}` has no parameters"),
                ));
            }
            "redis.sha256" => (scram::sha256_hex(base.value()), Alphabet::of("0123456789abcdef")),
            "mysql.native-password" => (
                mysql::native_password_hash(base.value()),
                Alphabet::of("*0123456789ABCDEF"),
            ),
            "mysql.caching-sha2" => {
                let salt = self.salt(algorithm, base)?;
                let password = base.value().duplicate();
                let hash = apart(move || mysql::caching_sha2_hash(&password, &salt)).await?;
                (hash, Alphabet::of(&format!("{BASE64}$.")))
            }
            "ldap.ssha" | "ldap.ssha512" => {
                let hash = if algorithm == "ldap.ssha" {
                    ldap::salted_sha1(base.value(), &self.salt(algorithm, base)?)
                } else {
                    ldap::salted_sha512(base.value(), &self.salt(algorithm, base)?)
                };
                (hash, Alphabet::of(&format!("{BASE64}{{}}")))
            }
            "rabbitmq.sha256" => (
                rabbitmq::salted_sha256(base.value(), self.salt(algorithm, base)?),
                Alphabet::of(BASE64),
            ),
            other => {
                let message = format!(
                    "`{}` is not offered by this host; there are postgres.scram-sha-256, redis.sha256, mysql.native-password, mysql.caching-sha2, ldap.ssha, ldap.ssha512, rabbitmq.sha256",
                    other.escape_debug()
                );
                return Err(Error::invalid("secret.derive", message));
            }
        };
        let derived = Handle::derived(value, Labels::derived(labels, algorithm, alphabet), base);
        self.place_like(&derived, base, None);
        Ok(derived)
    }

    /// From the version's identity, so that a repeated step sets the very same verifier; keyed, so that nobody can tell one
    /// version from another by it.
    fn salt<const N: usize>(&self, algorithm: &str, base: &Handle) -> Result<[u8; N], Error> {
        let digest = self.keyed_digest("salt", &[algorithm, self.identity(base)])?;
        let mut salt = [0; N];
        salt.copy_from_slice(&digest[..N]);
        Ok(salt)
    }

    /// HMAC-SHA-256 under the host's key. Fields are separated by their lengths, purposes by their name.
    pub(crate) fn keyed_digest(&self, purpose: &str, fields: &[&str]) -> Result<[u8; 32], Error> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.step.sub_key.expose())
            .map_err(|_length| Error::Host(wasmtime::Error::msg("the host's key has no usable length")))?;
        for field in std::iter::once(&purpose).chain(fields) {
            mac.update(&(field.len() as u64).to_le_bytes());
            mac.update(field.as_bytes());
        }
        Ok(mac.finalize().into_bytes().into())
    }
}

async fn scram_verifier(password: &SecretBytes, salt: [u8; 16], rounds: u32) -> Result<SecretBytes, Error> {
    let password = password.duplicate();
    let done = apart(move || scram::verifier(&password, &salt, rounds)).await?;
    done.map_err(|_| {
        Error::invalid(
            "secret.derive",
            "no verifier can be made of this secret with these rounds",
        )
    })
}

/// Thousands of rounds block a thread for milliseconds: they run where nothing else waits.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::answer(ErrorKind::Unavailable, "host.busy", "the host is stopping"))
}
