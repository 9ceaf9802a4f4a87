use super::auth::Method;
use super::reply::Fields;
use crate::statement::Dialect;

const LONG_FLAG: u32 = 1 << 2;
const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;
const CONNECT_ATTRIBUTES: u32 = 1 << 20;
const PLUGIN_AUTH_LENGTHS: u32 = 1 << 21;

/// What this host can do: neither files of this machine nor several statements at once, nor a password that has expired.
const OURS: u32 = 1
    | LONG_FLAG
    | PROTOCOL_41
    | TRANSACTIONS
    | SECURE_CONNECTION
    | PLUGIN_AUTH
    | CONNECT_ATTRIBUTES
    | PLUGIN_AUTH_LENGTHS;
const NEEDED: u32 = PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH;

/// `utf8mb4_general_ci`, which every server of both families has.
const UTF8MB4: u8 = 45;

/// What a server says first.
pub(super) struct Greeting {
    pub(super) dialect: Dialect,
    pub(super) nonce: Vec<u8>,
    pub(super) method: Option<Method>,
    can: u32,
}

impl Greeting {
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let mut fields = Fields::of(packet);
        (fields.byte()? == 10).then_some(())?;
        let version = fields.until_nul()?;
        let _connection = fields.take(4)?;
        let mut nonce = fields.take(8)?.to_vec();
        let _filler = fields.byte()?;
        let low = fields.two_bytes()?;
        let (_charset, _status) = (fields.byte()?, fields.two_bytes()?);
        let can = u32::from(low) | u32::from(fields.two_bytes()?) << 16;
        let whole_nonce = usize::from(fields.byte()?);
        let _reserved = fields.take(10)?;
        let rest = fields.take(whole_nonce.saturating_sub(8).max(13))?;
        nonce.extend_from_slice(rest.strip_suffix(&[0]).unwrap_or(rest));
        let method = Method::of(fields.until_nul().unwrap_or_else(|| fields.rest()));
        let dialect = if version.windows(7).any(|window| window == b"MariaDB") {
            Dialect::MariaDb
        } else {
            Dialect::MySql
        };
        (can & NEEDED == NEEDED).then_some(Self {
            dialect,
            nonce,
            method,
            can,
        })
    }

    pub(super) fn offers_tls(&self) -> bool {
        self.can & SSL != 0
    }

    fn flags(&self, tls: bool) -> u32 {
        (OURS & self.can) | if tls { SSL } else { 0 }
    }

    fn head(&self, tls: bool) -> Vec<u8> {
        const MOST: u32 = 1 << 24;
        let mut packet = self.flags(tls).to_le_bytes().to_vec();
        packet.extend(MOST.to_le_bytes());
        packet.push(UTF8MB4);
        packet.extend([0; 23]);
        packet
    }

    /// Asks for TLS before anything else is said.
    pub(super) fn tls_request(&self) -> Vec<u8> {
        self.head(true)
    }

    /// The login. `answer` is to the nonce, by `method`; none of these is longer than a byte can say.
    pub(super) fn response(
        &self,
        tls: bool,
        user: &str,
        method: Method,
        answer: &[u8],
        program: &str,
    ) -> Vec<u8> {
        let mut packet = self.head(tls);
        packet.extend_from_slice(user.as_bytes());
        packet.push(0);
        push_short(&mut packet, answer);
        packet.extend_from_slice(method.name());
        packet.push(0);
        if self.flags(tls) & CONNECT_ATTRIBUTES != 0 {
            let mut attribute = Vec::new();
            push_short(&mut attribute, b"program_name");
            push_short(&mut attribute, program.as_bytes());
            push_short(&mut packet, &attribute);
        }
        packet
    }
}

/// Text of at most 250 bytes with its length before it.
fn push_short(packet: &mut Vec<u8>, text: &[u8]) {
    let text = &text[..text.len().min(250)];
    packet.extend(u8::try_from(text.len()));
    packet.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(version: &str) -> Vec<u8> {
        let mut packet = vec![10];
        packet.extend_from_slice(version.as_bytes());
        packet.extend([0, 1, 0, 0, 0]);
        packet.extend([b'n'; 8]);
        packet.extend([0, 0xFF, 0xFF, 45, 2, 0, 0xFF, 0xFF, 21]);
        packet.extend([0; 10]);
        packet.extend([b'm'; 12]);
        packet.push(0);
        packet.extend_from_slice(b"mysql_native_password\0");
        packet
    }

    #[test]
    fn a_server_is_what_it_says_and_a_greeting_that_is_cut_is_none() {
        let maria = greeting("5.5.5-10.11.19-MariaDB-0+deb12u1");
        let read = Greeting::read(&maria).unwrap();
        assert_eq!(
            (read.dialect, read.method, read.nonce.len(), read.offers_tls()),
            (Dialect::MariaDb, Some(Method::Native), 20, true)
        );
        assert_eq!(
            Greeting::read(&greeting("9.7.4")).unwrap().dialect,
            Dialect::MySql
        );
        for cut in 0..maria.len() - b"mysql_native_password\0".len() {
            assert!(Greeting::read(&maria[..cut]).is_none(), "{cut}");
        }
    }
}
