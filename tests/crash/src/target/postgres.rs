use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use keywheel_kit::{Postgres, PostgresOptions, random_password};
use sha2::{Digest as _, Sha256};

use crate::dialect::{self, Carried, Make};
use crate::record::Said;
use crate::target::{Client, Credential, Subject, Target, connect, document, of_document, read_exact};

/// PostgreSQL with one role, or with two that take turns.
pub(crate) struct Server {
    server: Postgres,
    alternating: bool,
}

impl Server {
    pub(crate) fn start(alternating: bool) -> Result<Self> {
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        // A commit that was answered is with the operating system: a killed server has it when it comes back.
        let settings = vec![
            set("synchronous_commit", "on"),
            set("max_prepared_transactions", "1"),
        ];
        let server = Postgres::start(PostgresOptions {
            plaintext: true,
            settings,
            ..PostgresOptions::default()
        })?;
        Ok(Self { server, alternating })
    }
}

/// From PostgreSQL 16 on the administrator needs each role's ADMIN OPTION, whichever of the two was made first.
const ADMINISTERED: &str = "DO $$ DECLARE name text; BEGIN
    IF current_setting('server_version_num')::int >= 160000 THEN
        FOR name IN SELECT a.rolname FROM pg_roles a, pg_roles r
            WHERE a.rolcanlogin AND NOT a.rolsuper AND r.rolname = 'rotator' AND a.oid <> r.oid
        LOOP EXECUTE format('GRANT %I TO rotator WITH ADMIN OPTION', name); END LOOP;
    END IF;
END $$";

impl Target for Server {
    fn name(&self) -> &'static str {
        if self.alternating {
            "postgres-pair"
        } else {
            "postgres"
        }
    }

    fn plugin(&self) -> &'static str {
        "postgres"
    }

    fn is_two_slot(&self, accounts: &[String]) -> bool {
        accounts.len() == 2
    }

    fn has_row_locks(&self) -> bool {
        true
    }

    fn dialect(&self) -> Make {
        dialect::postgres::make
    }

    fn port(&self) -> u16 {
        self.server.port()
    }

    fn root(&self) -> Credential {
        Credential {
            account: self.server.admin_user().to_owned(),
            password: self.server.admin_password().to_owned(),
        }
    }

    fn accounts(&self, name: &str) -> Vec<String> {
        let name = name.replace('-', "_");
        if self.alternating {
            vec![format!("{name}_a"), format!("{name}_b")]
        } else {
            vec![name]
        }
    }

    fn create(&self, accounts: &[String], password: &str, is_admin: bool) -> Result<()> {
        let right = if is_admin { "CREATEROLE" } else { "" };
        for (at, account) in accounts.iter().enumerate() {
            let password = if at == 0 {
                format!("PASSWORD '{password}'")
            } else {
                String::new()
            };
            self.server
                .sql(&format!("CREATE ROLE {account} LOGIN {right} {password}"))?;
        }
        self.server.sql(ADMINISTERED).map(drop)
    }

    fn set_by_hand(&self, credential: &Credential) -> Result<()> {
        let Credential { account, password } = credential;
        let sql = format!("ALTER ROLE {account} PASSWORD '{password}' VALID UNTIL 'infinity'");
        self.server.sql(&sql).map(drop)
    }

    fn accepts(&self, accounts: &[String]) -> Result<Vec<Carried>> {
        let all = accounts.join("', '");
        let sql = format!(
            "SELECT rolpassword FROM pg_authid WHERE rolname IN ('{all}') AND rolpassword IS NOT NULL"
        );
        let verifiers = self.server.sql(&sql)?;
        Ok(verifiers
            .lines()
            .map(|verifier| Carried::Scram(verifier.to_owned()))
            .collect())
    }

    fn spoil(&self, accounts: &[String]) -> Result<()> {
        accounts.iter().try_for_each(|account| {
            let password = random_password();
            self.server
                .sql(&format!("ALTER ROLE {account} PASSWORD '{password}'"))
                .map(drop)
        })
    }

    fn config(&self, subject: &Subject, port: u16) -> String {
        let mode = match subject.accounts.as_slice() {
            [first, second] => format!("mode = \"alternating\"\nroles = [\"{first}\", \"{second}\"]"),
            accounts => format!("mode = \"role\"\nrole = \"{}\"", accounts.concat()),
        };
        let admin = &subject.admin.0;
        format!(
            "host = \"localhost\"\nport = {port}\ntransport = \"plaintext\"\nadmin = \"{admin}\"\n{mode}\n"
        )
    }

    fn credential(&self, accounts: &[String], value: &str) -> Result<Credential> {
        if let [account] = accounts {
            return Ok(Credential {
                account: account.clone(),
                password: value.to_owned(),
            });
        }
        of_document(value)
    }

    fn value(&self, accounts: &[String], credential: &Credential) -> String {
        if accounts.len() == 1 {
            return credential.password.clone();
        }
        document(credential)
    }

    fn client(&self) -> Box<dyn Client> {
        Box::new(Scram::default())
    }

    fn hold(&self, accounts: &[String]) -> Result<()> {
        // A prepared transaction holds the lock without a session.
        let lock = format!(
            "SELECT 1 FROM pg_authid WHERE rolname IN ('{}') FOR UPDATE",
            accounts.join("', '")
        );
        self.server
            .sql(&format!("{lock}; PREPARE TRANSACTION 'holder'"))
            .map(drop)
    }

    fn release(&self) -> Result<()> {
        self.server.sql("COMMIT; ROLLBACK PREPARED 'holder'").map(drop)
    }

    fn kill(&mut self) -> Result<()> {
        self.server.kill9()
    }

    fn restart(&mut self) -> Result<()> {
        self.server.restart()
    }
}

/// A login by SCRAM-SHA-256 (RFC 5802) on the wire, with what its slow part gave kept.
#[derive(Default)]
struct Scram {
    salted: BTreeMap<(String, Vec<u8>, u32), [u8; 32]>,
}

fn mac(key: &[u8], message: &[u8]) -> Option<[u8; 32]> {
    let mut mac = <Hmac<Sha256>>::new_from_slice(key).ok()?;
    mac.update(message);
    Some(mac.finalize().into_bytes().into())
}

impl Scram {
    fn salted(&mut self, password: &str, salt: Vec<u8>, rounds: u32) -> [u8; 32] {
        let key = (password.to_owned(), salt, rounds);
        if let Some(known) = self.salted.get(&key) {
            return *known;
        }
        // Salts are new with every password; what is kept must not grow for ever.
        if self.salted.len() > 256 {
            self.salted.clear();
        }
        let mut made = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(key.0.as_bytes(), &key.1, rounds, &mut made);
        self.salted.insert(key, made);
        made
    }

    /// `None`: what came was no answer of this protocol, or the connection ended.
    fn try_login(&mut self, port: u16, credential: &Credential) -> Option<Said> {
        let stream = connect(port).ok()?;
        let startup = format!("\0\u{3}\0\0user\0{}\0database\0postgres\0\0", credential.account);
        send(&stream, None, startup.as_bytes())?;
        let first = format!("n=,r={}", random_password());
        loop {
            let (kind, body) = receive(&stream)?;
            if kind == b'E' {
                return Some(refusal(&body));
            }
            if kind != b'R' {
                return None;
            }
            let (code, rest) = body.split_first_chunk::<4>()?;
            match u32::from_be_bytes(*code) {
                0 => {
                    let _ = send(&stream, Some(b'X'), b"");
                    return Some(Said::Accepted);
                }
                10 => {
                    let message = format!("n,,{first}");
                    let length = u32::try_from(message.len()).ok()?.to_be_bytes();
                    let body = [b"SCRAM-SHA-256\0", &length[..], message.as_bytes()].concat();
                    send(&stream, Some(b'p'), &body)?;
                }
                11 => {
                    let last = self.answer(&credential.password, &first, std::str::from_utf8(rest).ok()?)?;
                    send(&stream, Some(b'p'), last.as_bytes())?;
                }
                12 => {}
                _ => return None,
            }
        }
    }

    fn answer(&mut self, password: &str, first: &str, challenge: &str) -> Option<String> {
        let part = |name: &str| challenge.split(',').find_map(|part| part.strip_prefix(name));
        let (nonce, salt) = (part("r=")?, BASE64.decode(part("s=")?).ok()?);
        let salted = self.salted(password, salt, part("i=")?.parse().ok()?);
        let key = mac(&salted, b"Client Key")?;
        let bare = format!("c=biws,r={nonce}");
        let signature = mac(
            &Sha256::digest(key),
            format!("{first},{challenge},{bare}").as_bytes(),
        )?;
        let proof: Vec<u8> = key.iter().zip(signature).map(|(key, sign)| key ^ sign).collect();
        Some(format!("{bare},p={}", BASE64.encode(proof)))
    }
}

impl Client for Scram {
    fn login(&mut self, port: u16, credential: &Credential) -> Said {
        self.try_login(port, credential).unwrap_or(Said::Unreachable)
    }

    fn carries(&mut self, carried: &Carried, password: &str) -> bool {
        let Carried::Scram(verifier) = carried else {
            return false;
        };
        // SCRAM-SHA-256$<rounds>:<salt>$<StoredKey>:<ServerKey>
        let parts: Vec<&str> = verifier.split(['$', ':']).collect();
        let [_, rounds, salt, stored, _] = parts.as_slice() else {
            return false;
        };
        let (Ok(rounds), Ok(salt)) = (rounds.parse(), BASE64.decode(salt)) else {
            return false;
        };
        let salted = self.salted(password, salt, rounds);
        mac(&salted, b"Client Key").is_some_and(|key| BASE64.encode(Sha256::digest(key)) == *stored)
    }
}

fn send(mut stream: &TcpStream, kind: Option<u8>, body: &[u8]) -> Option<()> {
    let length = u32::try_from(body.len() + 4).ok()?.to_be_bytes();
    let kind: Vec<u8> = kind.into_iter().collect();
    stream.write_all(&[&kind[..], &length, body].concat()).ok()
}

fn receive(stream: &TcpStream) -> Option<(u8, Vec<u8>)> {
    let head = read_exact(stream, 5).ok()?;
    let length = u32::from_be_bytes(head[1..].try_into().ok()?) as usize;
    Some((head[0], read_exact(stream, length.checked_sub(4)?).ok()?))
}

/// A wrong password, or a role that may not log in; anything else is no word on the credential.
fn refusal(body: &[u8]) -> Said {
    let refused = body
        .split(|byte| *byte == 0)
        .any(|field| field == b"C28P01" || field == b"C28000");
    if refused { Said::Refused } else { Said::Unreachable }
}
