//! Requests of IAM's Query API (2010-05-08) and of STS (2011-06-15). Answers are XML; the host shows the declared fields of them as a document.

use keywheel_sdk::error::{admin_refused, error};
use keywheel_sdk::http::{Api, Call, Reply};
use keywheel_sdk::{Error, ErrorKind, Run, Secret};
use serde_json::{Value, json};

use crate::{Config, key_of};

const TIMEOUT_MS: u32 = 15_000;
const SIGV4: &str = "aws.sigv4";
const LIST: &str = "/ListAccessKeysResponse/ListAccessKeysResult";
const CREATE: &str = "/CreateAccessKeyResponse/CreateAccessKeyResult/AccessKey";
const LAST_USED: &str = "/GetAccessKeyLastUsedResponse/GetAccessKeyLastUsedResult/AccessKeyLastUsed";
/// Whose a key is.
pub(crate) const WHO: &str = "/GetCallerIdentityResponse/GetCallerIdentityResult";

/// An access key as IAM lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) is_active: bool,
    /// When it was made, as IAM writes it.
    pub(crate) made: String,
}

impl Config {
    fn region(&self) -> &str {
        self.region.as_deref().unwrap_or("us-east-1")
    }

    /// A request of a service.
    fn ask(&self, service: &str, fields: &[(&str, &str)], key: &Secret) -> Result<Call, Error> {
        let host = if service == "sts" { &self.sts_host } else { &self.host };
        let trust = self.trust.as_deref();
        let api = Api { host, port: self.port, trust, timeout_ms: TIMEOUT_MS, headers: Vec::new() };
        let parameters = json!({ "region": self.region(), "service": service });
        api.request("POST", "/")?.form(fields)?.signed(SIGV4, &parameters, key)
    }
}

/// Asks STS with a key whose it is. Nobody can be refused that for want of a right.
pub(crate) fn who(config: &Config, key: &Secret) -> Result<Reply, Error> {
    config.ask("sts", &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")], key)?.send()
}

/// IAM, by the key that may change those of the user.
pub(crate) struct Iam<'a> {
    config: &'a Config,
    key: Secret,
}

impl<'a> Iam<'a> {
    pub(crate) fn open(run: &Run, config: &'a Config) -> Result<Self, Error> {
        Ok(Self { config, key: key_of(run, config)? })
    }

    fn ask(&self, action: &str, more: &[(&str, &str)]) -> Result<Call, Error> {
        let fields = [&[("Action", action), ("Version", "2010-05-08")], more].concat();
        self.config.ask("iam", &fields, &self.key)
    }

    /// The user's keys, two at the most.
    pub(crate) fn list(&self) -> Result<Vec<Key>, Error> {
        let reply = self.ask("ListAccessKeys", &[("UserName", &self.config.user)])?.send()?;
        let document = accepted(reply, "listing the keys")?.document();
        let garbled = || error(ErrorKind::Other, "aws-iam.answer", "the list of keys is not what IAM documents");
        let result = document.pointer(LIST).filter(|result| result["IsTruncated"] != "true").ok_or_else(garbled)?;
        let members = result["AccessKeyMetadata"]["member"].as_array().ok_or_else(garbled)?.iter();
        let text = |key: &Value, field: &str| key[field].as_str().map(str::to_owned);
        members
            .map(|key| {
                let (id, status) = (text(key, "AccessKeyId"), text(key, "Status"));
                let (Some(id), Some(status)) = (id, status) else { return Err(garbled()) };
                Ok(Key { id, is_active: status == "Active", made: text(key, "CreateDate").unwrap_or_default() })
            })
            .collect()
    }

    /// Asks for a key: its secret is captured under this name, and the answer kept. What the answer says is still to be looked at.
    pub(crate) fn create(&self, name: &str) -> Result<Reply, Error> {
        let request = self.ask("CreateAccessKey", &[("UserName", &self.config.user)])?;
        request.captures(name, &format!("xml:{CREATE}/SecretAccessKey"))?.send()
    }

    /// When a key was used last, and for what; none if it never was.
    pub(crate) fn last_used(&self, id: &str) -> Result<Option<String>, Error> {
        let reply =
            accepted(self.ask("GetAccessKeyLastUsed", &[("AccessKeyId", id)])?.send()?, "looking when a key was used")?;
        let text = |field: &str| reply.text(&format!("{LAST_USED}/{field}")).unwrap_or_default();
        let (date, service) = (text("LastUsedDate"), text("ServiceName"));
        Ok((!date.is_empty()).then(|| format!("{date} ({service})")))
    }

    /// Deletes a key. One that is gone is no error.
    pub(crate) fn delete(&self, id: &str) -> Result<(), Error> {
        let reply = self.ask("DeleteAccessKey", &[("UserName", &self.config.user), ("AccessKeyId", id)])?.send()?;
        if reply.status() == 404 && code(&reply) == "NoSuchEntity" {
            return Ok(());
        }
        accepted(reply, "deleting a key").map(drop)
    }
}

/// The id in the answer to a new key.
pub(crate) fn id_in(reply: &Reply) -> Result<String, Error> {
    let id = reply.text(&format!("{CREATE}/AccessKeyId")).filter(|id| !id.is_empty());
    let garbled = || error(ErrorKind::Other, "aws-iam.answer", "the answer to a new key has no id");
    id.ok_or_else(garbled)
}

/// AWS's own word for what went wrong.
pub(crate) fn code(reply: &Reply) -> String {
    reply.text("/ErrorResponse/Error/Code").unwrap_or_default()
}

/// Whether a signature was refused for its time: AWS has one word for that and for a wrong secret.
pub(crate) fn is_of_the_clock(reply: &Reply) -> bool {
    let message = reply.text("/ErrorResponse/Error/Message").unwrap_or_default();
    ["Signature expired", "Signature not yet current"].iter().any(|start| message.starts_with(start))
}

pub(crate) fn accepted(reply: Reply, what: &str) -> Result<Reply, Error> {
    if reply.is_success() { Ok(reply) } else { Err(problem(&reply, what)) }
}

pub(crate) fn problem(reply: &Reply, what: &str) -> Error {
    let code = code(reply);
    let failed = |kind: ErrorKind, own: &str, words: &str| error(kind, own, format!("{what}: {code}{words}"));
    match code.as_str() {
        "SignatureDoesNotMatch" if is_of_the_clock(reply) => {
            failed(ErrorKind::Unavailable, "aws-iam.clock", ": the host's clock is not AWS's")
        }
        "RequestExpired" => failed(ErrorKind::Unavailable, "aws-iam.clock", ": the host's clock is not AWS's"),
        "InvalidClientTokenId" | "SignatureDoesNotMatch" => admin_refused(),
        "AccessDenied" => failed(
            ErrorKind::Denied,
            "aws-iam.rights",
            ", which AWS says to a key that it knows and that lacks a right",
        ),
        // There was room when the keys were listed.
        "LimitExceeded" => failed(
            ErrorKind::Unavailable,
            "aws-iam.limit",
            ": IAM still counts a key that is gone, or somebody has made one",
        ),
        "Throttling" | "RequestLimitExceeded" | "ServiceUnavailable" | "EntityTemporarilyUnmodifiable" => {
            failed(ErrorKind::Unavailable, "aws-iam.busy", "")
        }
        _ => reply.problem(what),
    }
}
