//! `keywheel:core/secrets`: handles, composition, parts, passwords, one-way forms.

mod capture;
mod composer;
mod derive;
mod part;
mod password;

use keywheel_model::{ErrorKind, SecretBytes};
use rand::TryRng;
use rand::rngs::SysRng;
use wasmtime::component::Resource;
use zeroize::Zeroizing;

use crate::bindings::keywheel::core::secrets;
use crate::encoding::Encoding;
use crate::error::{Error, Stop};
use crate::handle::{Alphabet, Handle, Labels};
use crate::port::AuditFact;
use crate::state::HostState;

pub use composer::Composer;
pub use password::PasswordPolicy;

/// Bytes that one call of a plugin may conceal.
const MAX_CONCEALED_BYTES: usize = 1 << 20;
/// Bytes of one composition: as many as the vault keeps of one value, which would otherwise tell that there are more.
const MAX_COMPOSITION_BYTES: usize = 1 << 20;
/// Bytes of all compositions and copies of secrets in one step: they are in the host's memory, not in the plugin's.
const MAX_HELD_BYTES: usize = 8 << 20;
/// The longest media type, in bytes.
const MAX_MEDIA_TYPE_BYTES: usize = 127;
/// The fewest random bytes of a token: 80 bits.
const MIN_TOKEN_BYTES: u16 = 10;
const MAX_TOKEN_BYTES: u16 = 4096;
const MAX_PREFIX_BYTES: usize = 256;

/// From the operating system's generator.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), Error> {
    SysRng.try_fill_bytes(bytes).map_err(|_unavailable| {
        Error::answer(
            ErrorKind::Unavailable,
            "host.random",
            "the operating system gives no random numbers",
        )
    })
}

pub(crate) fn check_media_type(media_type: &str) -> Result<(), Error> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+/".contains(&byte);
    let shape = media_type.split('/').filter(|part| !part.is_empty()).count() == 2
        && media_type.matches('/').count() == 1;
    if shape && media_type.len() <= MAX_MEDIA_TYPE_BYTES && media_type.bytes().all(good) {
        return Ok(());
    }
    Err(Error::invalid(
        "secret.media-type",
        "not a media type: such as `text/plain`, in lower case, without parameters",
    ))
}

impl HostState {
    /// The secret behind a guest's handle.
    ///
    /// # Errors
    /// It is not the guest's own: the call ends.
    pub fn handle(&self, resource: &Resource<Handle>) -> Result<Handle, Error> {
        Ok(self.table.get(resource)?.clone())
    }

    /// Gives a handle to the guest; from now on nothing that it reads may hold the value.
    pub(crate) fn hand_out(&mut self, handle: Handle) -> Result<Resource<Handle>, Error> {
        self.watch(&handle);
        Ok(self.table.push(handle)?)
    }

    /// Whether two secrets are the same. One bit each; the budget belongs to the versions (rule H10).
    async fn compare(&mut self, one: &Handle, other: &Handle) -> Result<bool, Error> {
        for handle in [one, other] {
            if handle.labels().holds_known || !handle.labels().origin.is_whole() {
                let message = format!(
                    "{} is composed, derived or known to the plugin: comparing it would be an oracle",
                    handle.id()
                );
                return Err(self.deny("secret.matches", message).await);
            }
        }
        if one.id() == other.id() {
            return Ok(true);
        }
        let identities = [self.identity(one).to_owned(), self.identity(other).to_owned()];
        if !self
            .step
            .port
            .spend_comparison([&identities[0], &identities[1]])
            .await?
        {
            return Err(Error::limit(
                "secret.matches",
                "the versions' budget of comparisons is used up",
            ));
        }
        Ok(one.value().same_as(other.value()))
    }

    /// Counts a copy of secrets before it is made. How many bytes it has depends on them, so the plugin is not told that they are too many:
    /// its call ends, and nothing is tried again by itself.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Error> {
        self.held_bytes = self.held_bytes.saturating_add(bytes);
        if bytes > MAX_COMPOSITION_BYTES || self.held_bytes > MAX_HELD_BYTES {
            return Err(self.stop(Stop::Composed));
        }
        Ok(())
    }

    fn concealed(&mut self, value: Vec<u8>, media_type: &str) -> Result<Handle, Error> {
        check_media_type(media_type)?;
        let value = SecretBytes::new(value);
        self.concealed_bytes = self.concealed_bytes.saturating_add(value.expose().len());
        if self.concealed_bytes > MAX_CONCEALED_BYTES {
            return Err(Error::limit(
                "secret.conceal",
                format!("one step may conceal {MAX_CONCEALED_BYTES} bytes"),
            ));
        }
        let alphabet = Alphabet::of_foreign(value.expose());
        Ok(Handle::concealed(value, Labels::concealed(media_type, alphabet)))
    }
}

fn token(prefix: &str, length: u16, encoding: &str) -> Result<Handle, Error> {
    let encoding = Encoding::named(encoding)?;
    let alphabet = match encoding {
        Encoding::Base64 => Alphabet::of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="),
        Encoding::Base64Url => {
            Alphabet::of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        }
        Encoding::Hex => Alphabet::of("0123456789abcdef"),
        Encoding::Raw => Alphabet::Bytes,
        other => {
            return Err(Error::invalid(
                "secret.encoding",
                format!(
                    "a token is `raw`, `hex`, `base64` or `base64url`, not `{}`",
                    other.name()
                ),
            ));
        }
    };
    if !(MIN_TOKEN_BYTES..=MAX_TOKEN_BYTES).contains(&length) {
        return Err(Error::invalid(
            "secret.token",
            format!("a token has {MIN_TOKEN_BYTES} to {MAX_TOKEN_BYTES} random bytes"),
        ));
    }
    if prefix.len() > MAX_PREFIX_BYTES || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::invalid(
            "secret.token",
            format!("a prefix has at most {MAX_PREFIX_BYTES} printable ASCII characters"),
        ));
    }
    let alphabet = match alphabet {
        Alphabet::Only(mut characters) => {
            characters.extend(prefix.chars());
            Alphabet::Only(characters)
        }
        other => other,
    };
    let mut random = Zeroizing::new(vec![0; usize::from(length)]);
    fill_random(&mut random)?;
    let mut value = Zeroizing::new(Vec::with_capacity(prefix.len() + usize::from(length) * 2));
    value.extend_from_slice(prefix.as_bytes());
    encoding.write(&random, &mut value);
    let media_type = if alphabet.is_text() {
        "text/plain"
    } else {
        "application/octet-stream"
    };
    Ok(Handle::generated(
        SecretBytes::copy_of(&value),
        Labels::generated(media_type, alphabet),
    ))
}

impl secrets::Host for HostState {
    async fn generate_password(
        &mut self,
        policy: Resource<PasswordPolicy>,
    ) -> Result<Resource<Handle>, Error> {
        let handle = self.table.get(&policy)?.generate()?;
        self.hand_out(handle)
    }

    async fn generate_token(
        &mut self,
        prefix: String,
        length: u16,
        encoding: String,
    ) -> Result<Resource<Handle>, Error> {
        self.hand_out(token(&prefix, length, &encoding)?)
    }

    async fn conceal(&mut self, value: Vec<u8>, media_type: String) -> Result<Resource<Handle>, Error> {
        let handle = self.concealed(value, &media_type)?;
        self.step
            .port
            .audit(&AuditFact::Concealed {
                secret: handle.id().to_owned(),
            })
            .await?;
        self.hand_out(handle)
    }
}

impl secrets::HostSecret for HostState {
    async fn id(&mut self, secret: Resource<Handle>) -> wasmtime::Result<String> {
        Ok(self.table.get(&secret)?.id().to_owned())
    }

    async fn name(&mut self, secret: Resource<Handle>) -> wasmtime::Result<Option<String>> {
        Ok(self
            .table
            .get(&secret)?
            .stored_at()
            .map(|stored| stored.name.to_string()))
    }

    async fn version(&mut self, secret: Resource<Handle>) -> wasmtime::Result<Option<String>> {
        Ok(self
            .table
            .get(&secret)?
            .stored_at()
            .map(|stored| stored.version.clone()))
    }

    async fn created_at(&mut self, secret: Resource<Handle>) -> wasmtime::Result<Option<u64>> {
        let stored = self.table.get(&secret)?.stored_at();
        Ok(stored
            .and_then(|stored| stored.created_at)
            .map(keywheel_model::Timestamp::as_unix_ms))
    }

    async fn expires_at(&mut self, secret: Resource<Handle>) -> wasmtime::Result<Option<u64>> {
        let stored = self.table.get(&secret)?.stored_at();
        Ok(stored
            .and_then(|stored| stored.expires_at)
            .map(keywheel_model::Timestamp::as_unix_ms))
    }

    async fn media_type(&mut self, secret: Resource<Handle>) -> wasmtime::Result<String> {
        Ok(self.table.get(&secret)?.labels().media_type.clone())
    }

    async fn known_to_guest(&mut self, secret: Resource<Handle>) -> wasmtime::Result<bool> {
        Ok(self.table.get(&secret)?.labels().known_to_guest)
    }

    async fn matches(&mut self, secret: Resource<Handle>, other: Resource<Handle>) -> Result<bool, Error> {
        let (one, other) = (self.handle(&secret)?, self.handle(&other)?);
        self.compare(&one, &other).await
    }

    async fn part(
        &mut self,
        secret: Resource<Handle>,
        format: String,
        key: String,
    ) -> Result<Resource<Handle>, Error> {
        let whole = self.handle(&secret)?;
        self.hold(whole.value().expose().len())?;
        let part = self.part_of(&whole, &format, &key).await?;
        self.hand_out(part)
    }

    async fn public_part(
        &mut self,
        secret: Resource<Handle>,
        format: String,
        key: String,
    ) -> Result<String, Error> {
        let whole = self.handle(&secret)?;
        self.public_part_of(&whole, &format, &key).await
    }

    async fn with_part(
        &mut self,
        secret: Resource<Handle>,
        format: String,
        key: String,
        value: Resource<Handle>,
    ) -> Result<Resource<Handle>, Error> {
        let (whole, value) = (self.handle(&secret)?, self.handle(&value)?);
        self.hold(whole.value().expose().len() + Encoding::Json.most(value.value().expose().len()))?;
        let made = self.with_part_of(&whole, &format, &key, &value)?;
        self.hand_out(made)
    }

    async fn with_part_text(
        &mut self,
        secret: Resource<Handle>,
        format: String,
        key: String,
        value: String,
    ) -> Result<Resource<Handle>, Error> {
        let whole = self.handle(&secret)?;
        self.hold(whole.value().expose().len() + Encoding::Json.most(value.len()))?;
        let made = self.with_text_of(&whole, &format, &key, &value)?;
        self.hand_out(made)
    }

    async fn derive(
        &mut self,
        secret: Resource<Handle>,
        algorithm: String,
        parameters: String,
    ) -> Result<Resource<Handle>, Error> {
        let base = self.handle(&secret)?;
        let derived = self.derived(&base, &algorithm, &parameters).await?;
        self.hand_out(derived)
    }

    async fn drop(&mut self, secret: Resource<Handle>) -> wasmtime::Result<()> {
        self.table.delete(secret)?;
        Ok(())
    }
}

impl secrets::HostComposer for HostState {
    async fn new(&mut self, media_type: String) -> wasmtime::Result<Resource<Composer>> {
        self.table
            .push(Composer::new(media_type))
            .map_err(|error| Error::from(error).into_trap())
    }

    async fn text(&mut self, composer: Resource<Composer>, text: String) -> Result<(), Error> {
        self.hold(text.len())?;
        self.table.get_mut(&composer)?.text(text.as_bytes())
    }

    async fn bytes(&mut self, composer: Resource<Composer>, bytes: Vec<u8>) -> Result<(), Error> {
        self.hold(bytes.len())?;
        self.table.get_mut(&composer)?.text(&bytes)
    }

    async fn secret(
        &mut self,
        composer: Resource<Composer>,
        secret: Resource<Handle>,
        encoding: String,
    ) -> Result<(), Error> {
        let (secret, encoding) = (self.handle(&secret)?, Encoding::named(&encoding)?);
        self.table.get_mut(&composer)?.secret(secret, encoding)
    }

    async fn finish(&mut self, composer: Resource<Composer>) -> Result<Resource<Handle>, Error> {
        let composer = self.table.delete(composer)?;
        self.hold(composer.most())?;
        let made = composer.finish()?;
        self.hand_out(made)
    }

    async fn drop(&mut self, composer: Resource<Composer>) -> wasmtime::Result<()> {
        self.table.delete(composer)?;
        Ok(())
    }
}

impl secrets::HostPasswordPolicy for HostState {
    async fn new(&mut self, length: u16) -> wasmtime::Result<Resource<PasswordPolicy>> {
        self.table
            .push(PasswordPolicy::new(length))
            .map_err(|error| Error::from(error).into_trap())
    }

    async fn alphabet(&mut self, policy: Resource<PasswordPolicy>, characters: String) -> Result<(), Error> {
        self.table.get_mut(&policy)?.alphabet(&characters)
    }

    async fn require(
        &mut self,
        policy: Resource<PasswordPolicy>,
        characters: String,
        count: u16,
    ) -> Result<(), Error> {
        self.table.get_mut(&policy)?.require(&characters, count)
    }

    async fn exclude(&mut self, policy: Resource<PasswordPolicy>, characters: String) -> Result<(), Error> {
        self.table.get_mut(&policy)?.exclude(&characters)
    }

    async fn exclude_first(
        &mut self,
        policy: Resource<PasswordPolicy>,
        characters: String,
    ) -> Result<(), Error> {
        self.table.get_mut(&policy)?.exclude_first(&characters)
    }

    async fn drop(&mut self, policy: Resource<PasswordPolicy>) -> wasmtime::Result<()> {
        self.table.delete(policy)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_at_least_80_random_bits_and_its_prefix() {
        assert!(token("", 9, "hex").is_err());
        let token = token("kw_", 10, "hex").unwrap();
        let text = std::str::from_utf8(token.value().expose()).unwrap();
        assert_eq!((text.len(), &text[..3]), (23, "kw_"));
        assert!(token.labels().alphabet.is_plain() && !token.is_durable());
    }

    #[test]
    fn media_types_are_checked() {
        for bad in [
            "",
            "text",
            "text/",
            "/x",
            "a/b/c",
            "text/plain; charset=utf-8",
            "te xt/plain",
        ] {
            assert!(check_media_type(bad).is_err(), "{bad}");
        }
        assert!(check_media_type("application/vnd.keywheel.connection-string").is_ok());
    }
}
