use std::io::Write as _;
use std::net::TcpStream;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywheel_kit::{OpenLdap, OpenLdapOptions, random_password};
use sha1::{Digest as _, Sha1};

use crate::dialect::{self, Carried, Make, ldap::element};
use crate::record::Said;
use crate::target::{Client, Credential, Subject, Target, connect, read_exact};

/// OpenLDAP, whose entries take each of their passwords.
pub(crate) struct Server {
    server: OpenLdap,
}

impl Server {
    pub(crate) fn start() -> Result<Self> {
        let server = OpenLdap::start(OpenLdapOptions::default())?;
        Ok(Self { server })
    }

    fn modify(&self, verb: &str, account: &str, password: &str) -> Result<()> {
        self.server.change(&format!(
            "dn: {account}\nchangetype: modify\n{verb}: userPassword\nuserPassword: {password}\n"
        ))
    }
}

impl Target for Server {
    fn name(&self) -> &'static str {
        "openldap"
    }

    fn plugin(&self) -> &'static str {
        "openldap"
    }

    fn is_two_slot(&self, _accounts: &[String]) -> bool {
        true
    }

    fn dialect(&self) -> Make {
        dialect::ldap::make
    }

    fn port(&self) -> u16 {
        self.server.plaintext_port()
    }

    fn root(&self) -> Credential {
        Credential {
            account: self.server.admin_name().to_owned(),
            password: self.server.admin_password().to_owned(),
        }
    }

    fn accounts(&self, name: &str) -> Vec<String> {
        vec![OpenLdap::name_of(name)]
    }

    fn administrator(&self) -> String {
        OpenLdap::name_of("rotator")
    }

    fn create(&self, accounts: &[String], password: &str, is_admin: bool) -> Result<()> {
        for account in accounts {
            let short = account.trim_start_matches("cn=").trim_end_matches(",dc=kw");
            self.server.create(short, password, is_admin)?;
        }
        Ok(())
    }

    fn set_by_hand(&self, credential: &Credential) -> Result<()> {
        let is_there = self
            .server
            .values(&credential.account, "userPassword")?
            .contains(&credential.password);
        // A person did the same before; the server takes no value twice.
        if is_there {
            return Ok(());
        }
        self.modify("add", &credential.account, &credential.password)
    }

    fn accepts(&self, accounts: &[String]) -> Result<Vec<Carried>> {
        let mut values = Vec::new();
        for account in accounts {
            let own = self.server.values(account, "userPassword")?;
            values.extend(own.into_iter().map(Carried::Directory));
        }
        Ok(values)
    }

    fn spoil(&self, accounts: &[String]) -> Result<()> {
        let mut accounts = accounts.iter();
        accounts.try_for_each(|account| self.modify("replace", account, &random_password()))
    }

    fn config(&self, subject: &Subject, port: u16) -> String {
        format!(
            "host = \"localhost\"\nport = {port}\ntransport = \"plaintext\"\nadmin = \"{}\"\nentry = \"{}\"\n",
            subject.admin.0,
            subject.accounts.concat()
        )
    }

    fn credential(&self, accounts: &[String], value: &str) -> Result<Credential> {
        Ok(Credential {
            account: accounts.concat(),
            password: value.to_owned(),
        })
    }

    fn client(&self) -> Box<dyn Client> {
        Box::new(Bind)
    }

    fn kill(&mut self) -> Result<()> {
        self.server.kill9()
    }

    fn restart(&mut self) -> Result<()> {
        self.server.restart()
    }
}

/// Simple binds.
struct Bind;

impl Client for Bind {
    fn login(&mut self, port: u16, credential: &Credential) -> Said {
        let code = connect(port).ok().and_then(|stream| bind(&stream, credential));
        match code {
            Some(0) => Said::Accepted,
            // invalidCredentials
            Some(49) => Said::Refused,
            _ => Said::Unreachable,
        }
    }

    /// As a person set it, or `{SSHA}` with the salt behind the sum.
    fn carries(&mut self, carried: &Carried, password: &str) -> bool {
        let Carried::Directory(value) = carried else {
            return false;
        };
        let Some(text) = value.strip_prefix("{SSHA}") else {
            return value == password;
        };
        let bytes = STANDARD.decode(text).unwrap_or_default();
        let Some((sum, salt)) = bytes.split_at_checked(20) else {
            return false;
        };
        Sha1::new().chain_update(password).chain_update(salt).finalize()[..] == *sum
    }
}

/// The code of the result.
fn bind(mut stream: &TcpStream, credential: &Credential) -> Option<u8> {
    let wrap = |tag: u8, content: &[u8]| Some([&[tag, u8::try_from(content.len()).ok()?], content].concat());
    let name = wrap(0x04, credential.account.as_bytes())?;
    let password = wrap(0x80, credential.password.as_bytes())?;
    let request = wrap(0x60, &[&[0x02, 1, 3], name.as_slice(), &password].concat())?;
    let message = wrap(0x30, &[&[0x02, 1, 1], request.as_slice()].concat())?;
    // Both are shorter than 128 octets: a longer one would have another kind of length.
    (message.len() < 130).then_some(())?;
    stream.write_all(&message).ok()?;
    let head = read_exact(stream, 2).ok()?;
    let more = if head[1] < 0x80 {
        0
    } else {
        usize::from(head[1] & 0x7f)
    };
    let octets = read_exact(stream, more).ok()?;
    let long = octets
        .iter()
        .fold(0, |length, octet| length << 8 | usize::from(*octet));
    let content = read_exact(stream, if more == 0 { usize::from(head[1]) } else { long }).ok()?;
    let (0x02, _, id) = element(&content)? else {
        return None;
    };
    let (0x61, result, _) = element(&content[id..])? else {
        return None;
    };
    match element(result)? {
        (0x0a, [code], _) => Some(*code),
        _ => None,
    }
}
