use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::account::Account;
use crate::certificates::Authority;
use crate::install::{Installed, Server};
use crate::postgres::tail;
use crate::process::{Running, Watcher};
use crate::{Login, command, free_port, random_password};

const ROOT: &str = "cn=admin,dc=kw";
/// What a client says of a login that was refused (RFC 4511 appendix A).
const INVALID_CREDENTIALS: i32 = 49;

/// How an OpenLDAP server is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenLdapOptions {
    /// The attributes of a password policy that is for everybody, such as `pwdMaxFailure: 3`; none: the server has no such thing.
    pub policy: Option<&'static str>,
    /// Whether it hashes passwords that it is given as they are.
    pub hashes: bool,
    /// Whether no entry may have more than one password.
    pub one_value: bool,
    /// Serves a certificate for `wrong.invalid` instead of `localhost` and 127.0.0.1.
    pub wrong_name: bool,
}

/// A running `slapd` on 127.0.0.1: TLS by an authority of its own on one port, and on another without, where it can be started; an
/// administrator who may do everything; a group `cn=rotators,dc=kw` with the rights of the documentation. Its log has each operation (`stats`).
pub struct OpenLdap {
    running: Option<Running>,
    installed: Installed,
    account: Account,
    options: OpenLdapOptions,
    port: u16,
    plaintext_port: u16,
    admin_password: String,
    authority: Authority,
    folder: TempDir,
    _watcher: Watcher,
}

impl OpenLdap {
    /// The entry of the server's password policy.
    pub const POLICY: &str = "cn=policy,dc=kw";

    /// Starts one.
    ///
    /// # Errors
    /// When the server is not to be had or does not come up; with its log.
    pub fn start(options: OpenLdapOptions) -> Result<Self> {
        let installed = Server::OpenLdap.installed()?;
        let account = Account::of_server("openldap")?;
        let folder = tempfile::Builder::new().prefix("kw-ldap-").tempdir_in("/tmp")?;
        account.give(folder.path())?;
        let mut server = Self {
            running: None,
            installed,
            account,
            options,
            port: 0,
            plaintext_port: 0,
            admin_password: random_password(),
            authority: Authority::new()?,
            _watcher: Watcher::of_folder(folder.path())?,
            folder,
        };
        server.write_files()?;
        for _ in 0..5 {
            (server.port, server.plaintext_port) = (free_port()?, free_port()?);
            match server.launch() {
                Err(_) if server.log().contains("Address already in use") => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(server),
            }
        }
        bail!("no free port for OpenLDAP")
    }

    /// The port with TLS from the first byte.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port without, on which TLS can be started.
    pub fn plaintext_port(&self) -> u16 {
        self.plaintext_port
    }

    /// The entry that may do everything, whatever the password policy says.
    pub fn admin_name(&self) -> &'static str {
        ROOT
    }

    /// Its password.
    pub fn admin_password(&self) -> &str {
        &self.admin_password
    }

    /// The certificate of the authority to trust, in a file.
    pub fn ca_file(&self) -> PathBuf {
        self.authority.file()
    }

    /// The server's log up to now: each operation of each connection.
    pub fn log(&self) -> String {
        fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The name of the entry that [`OpenLdap::create`] makes for a short name.
    pub fn name_of(short: &str) -> String {
        format!("cn={short},dc=kw")
    }

    /// Makes an entry with one password; with `rotates` one that may change the others' passwords, as the documentation has it.
    ///
    /// # Errors
    /// With the server's words.
    pub fn create(&self, short: &str, password: &str, rotates: bool) -> Result<()> {
        let name = Self::name_of(short);
        self.change(&format!(
            "dn: {name}\nchangetype: add\nobjectClass: person\ncn: {short}\nsn: {short}\nuserPassword: {password}\n"
        ))?;
        if rotates {
            self.change(&format!(
                "dn: cn=rotators,dc=kw\nchangetype: modify\nadd: member\nmember: {name}\n"
            ))?;
        }
        Ok(())
    }

    /// Makes changes as the administrator, in LDIF, by ldapmodify.
    ///
    /// # Errors
    /// With the server's words.
    pub fn change(&self, ldif: &str) -> Result<()> {
        let file = self.written("ldif", ldif)?;
        let done = self.ask("ldapmodify", &["-f", &file.display().to_string()]);
        fs::remove_file(&file)?;
        done.map(drop)
    }

    /// What an entry has of an attribute, line by line, by ldapsearch.
    ///
    /// # Errors
    /// With the server's words.
    pub fn values(&self, name: &str, attribute: &str) -> Result<Vec<String>> {
        let arguments = ["-LLL", "-o", "ldif-wrap=no", "-s", "base", "-b", name, attribute];
        let said = self.ask("ldapsearch", &arguments)?;
        let (plain, coded) = (format!("{attribute}: "), format!("{attribute}:: "));
        let value = |line: &str| {
            // What is no plain text to it stands in base64.
            let decoded = line
                .strip_prefix(&coded)
                .and_then(|text| STANDARD.decode(text).ok());
            let text = decoded.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            text.or_else(|| line.strip_prefix(&plain).map(str::to_owned))
        };
        Ok(said.lines().filter_map(value).collect())
    }

    /// Tries a login over TLS with ldapwhoami.
    ///
    /// # Errors
    /// When ldapwhoami cannot be run.
    pub fn login(&self, name: &str, password: &str) -> Result<Login> {
        let file = self.written("password", password)?;
        let output = command::output(
            self.client("ldapwhoami", name, &file)
                .args(["-o", "nettimeout=10"]),
        );
        fs::remove_file(&file)?;
        let output = output?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Ok(match output.status.code() {
            Some(0) => Login::Accepted,
            Some(INVALID_CREDENTIALS) => Login::Refused(said),
            _ => Login::Unreachable(said),
        })
    }

    /// Stops it as an administrator would.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn stop(&mut self) -> Result<()> {
        self.running
            .take()
            .map_or(Ok(()), |running| running.stop().map(|_| ()))
    }

    /// Kills it as a power cut would.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn kill9(&mut self) -> Result<()> {
        self.running
            .take()
            .map_or(Ok(()), |running| running.kill9().map(|_| ()))
    }

    /// Starts it again, on the same ports with what is on disk; stops it first if it runs.
    ///
    /// # Errors
    /// When it does not come up; with its log.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.launch()
    }

    fn ask(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let password = self.at("root-password");
        command::run(self.client(program, ROOT, &password).args(arguments))
    }

    /// A client that logs in; the password is in a file, and in no list of processes.
    fn client(&self, program: &str, name: &str, password: &Path) -> Command {
        let mut client = self.installed.command(self.account, program);
        client
            .current_dir("/")
            .env("LDAPTLS_CACERT", self.ca_file())
            .env("LDAPTLS_REQCERT", "demand");
        // For `localhost` the library would look for the machine's own name in the certificate.
        let server = format!("ldaps://127.0.0.1:{}", self.port);
        client.args(["-x", "-H", &server, "-D", name, "-y"]).arg(password);
        client
    }

    fn written(&self, what: &str, text: &str) -> Result<PathBuf> {
        let file = self.at(&format!("{what}-{:08x}", rand::random::<u32>()));
        self.account.write(&file, text)?;
        Ok(file)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log_file(&self) -> PathBuf {
        self.at("log")
    }

    fn write_files(&self) -> Result<()> {
        let served = if self.options.wrong_name {
            self.authority.issue(&["wrong.invalid"])?
        } else {
            self.authority.issue_local()?
        };
        let write = |name: &str, text: &str| self.account.write(&self.at(name), text);
        write("server.pem", &served.certificate_pem)?;
        write("server.key", &served.key_pem)?;
        write("ca.pem", self.authority.pem())?;
        write("root-password", &self.admin_password)?;
        write("slapd.conf", &self.config())?;
        fs::create_dir(self.at("db"))?;
        self.account.give(&self.at("db"))?;
        let policy = self.options.policy.map_or_else(String::new, |more| {
            let name = Self::POLICY;
            format!(
                "dn: {name}\nobjectClass: device\nobjectClass: pwdPolicy\ncn: policy\npwdAttribute: userPassword\n{more}\n\n"
            )
        });
        let first = format!(
            "dn: dc=kw\nobjectClass: dcObject\nobjectClass: organization\ndc: kw\no: Keywheel\n\n{policy}\
             dn: cn=rotators,dc=kw\nobjectClass: groupOfNames\ncn: rotators\nmember: {ROOT}\n"
        );
        write("first.ldif", &first)?;
        let mut add = self.installed.command(self.account, "slapadd");
        add.current_dir("/").arg("-f").arg(self.at("slapd.conf"));
        command::run(add.arg("-l").arg(self.at("first.ldif"))).map(drop)
    }

    fn config(&self) -> String {
        let (
            base,
            OpenLdapOptions {
                policy,
                hashes,
                one_value,
                ..
            },
        ) = (self.installed.base(), self.options);
        let schemas = base.parent().unwrap_or(base).join("etc/ldap/schema");
        let mut lines: Vec<String> = ["core", "cosine"]
            .map(|schema| format!("include {}/{schema}.schema", schemas.display()))
            .into();
        lines.push(format!("modulepath {}/lib/ldap", base.display()));
        let modules = ["back_mdb", "pw-sha2", "ppolicy", "constraint"];
        lines.extend(modules.map(|module| format!("moduleload {module}")));
        for (word, file) in [
            ("TLSCertificateFile", "server.pem"),
            ("TLSCertificateKeyFile", "server.key"),
            ("TLSCACertificateFile", "ca.pem"),
        ] {
            lines.push(format!("{word} {}", self.at(file).display()));
        }
        let rotators = "by group.exact=\"cn=rotators,dc=kw\"";
        lines.extend([
            "threads 4".to_owned(),
            "database mdb".to_owned(),
            "suffix dc=kw".to_owned(),
            format!("rootdn {ROOT}"),
            format!("rootpw {}", self.admin_password),
            format!("directory {}", self.at("db").display()),
            "dbnosync".to_owned(),
            "maxsize 16777216".to_owned(),
            format!("access to attrs=userPassword {rotators} =wc by anonymous auth by * none"),
            format!("access to * {rotators} read by self read by * none"),
        ]);
        if policy.is_some() {
            lines.extend([
                "overlay ppolicy".to_owned(),
                format!("ppolicy_default {}", Self::POLICY),
            ]);
            lines.push("ppolicy_use_lockout".to_owned());
            lines.extend(hashes.then(|| "ppolicy_hash_cleartext".to_owned()));
        }
        if one_value {
            lines.extend(
                ["overlay constraint", "constraint_attribute userPassword count 1"].map(str::to_owned),
            );
        }
        lines.join("\n") + "\n"
    }

    fn launch(&mut self) -> Result<()> {
        let mut server = self.installed.command(self.account, "slapd");
        server.current_dir("/").args(["-d", "stats", "-f"]);
        server.arg(self.at("slapd.conf")).arg("-h").arg(format!(
            "ldap://127.0.0.1:{}/ ldaps://127.0.0.1:{}/",
            self.plaintext_port, self.port
        ));
        let begun = self.log().len();
        let log = self.log_file();
        let mut running = Running::start(&mut server, &log, Signal::TERM)?;
        let ready = running.wait_until(|| {
            fs::read(&log).is_ok_and(|text| {
                String::from_utf8_lossy(&text[begun.min(text.len())..]).contains("slapd starting")
            })
        });
        ready.with_context(|| format!("OpenLDAP does not start:\n{}", tail(&self.log())))?;
        self.running = Some(running);
        Ok(())
    }
}
