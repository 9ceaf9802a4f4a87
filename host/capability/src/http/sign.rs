//! Signatures of whole requests: AWS's Signature Version 4, and an HMAC in a header.

use hmac::{Hmac, KeyInit as _, Mac as _};
use keywheel_manifest::Position;
use keywheel_model::SecretBytes;
use keywheel_target::http::Request;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::places::{check_header, check_name_of_header, percent};
use crate::error::Error;
use crate::json;

/// The scheme, as a shape writes it behind `as`.
pub(crate) const SIGV4: &str = "aws.sigv4";
const HMAC: &str = "hmac-sha256";
/// Where a key of AWS has its id and its secret, as its own tools print them and its SDKs call them.
pub(crate) const KEY_ID: &str = "/access_key_id";
const SECRET_KEY: &str = "/secret_access_key";

/// How a request is signed.
#[derive(Debug)]
pub(super) enum Scheme {
    SigV4(SigV4),
    Hmac(InHeader),
}

/// `{"region": …, "service": …, "key-id": …}`. Without a key id the secret is a document that has it ([`KEY_ID`], [`SECRET_KEY`]).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct SigV4 {
    region: String,
    service: String,
    key_id: Option<String>,
}

/// `{"header": …}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InHeader {
    header: String,
}

impl Scheme {
    /// By the words of a plugin.
    pub(super) fn of(scheme: &str, parameters: &str) -> Result<Self, Error> {
        let wrong =
            |what: &str| Error::invalid("http.sign", format!("the parameters of `{scheme}` are {what}"));
        match scheme {
            SIGV4 => {
                let found: SigV4 = serde_json::from_str(parameters)
                    .map_err(|_| wrong("a JSON object with `region`, `service` and, where the secret is no document that has it, `key-id`"))?;
                let texts = [Some(&found.region), Some(&found.service), found.key_id.as_ref()];
                if texts.into_iter().flatten().all(|text| is_plain(text)) {
                    Ok(Self::SigV4(found))
                } else {
                    Err(wrong("letters, digits, `-`, `_` and `.`"))
                }
            }
            HMAC => {
                let found: InHeader = serde_json::from_str(parameters)
                    .map_err(|_| wrong("a JSON object with the name of a `header`"))?;
                let header = found.header.to_ascii_lowercase();
                check_header(&header, "")?;
                check_name_of_header(&header)?;
                Ok(Self::Hmac(InHeader { header }))
            }
            _ => Err(Error::invalid(
                "http.sign",
                format!("the host signs by `{SIGV4}` and `{HMAC}`, and by no other scheme yet"),
            )),
        }
    }

    /// As a shape writes it behind `as`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::SigV4(_) => SIGV4,
            Self::Hmac(_) => HMAC,
        }
    }

    /// Where the signature stands.
    pub(super) fn position(&self) -> Position {
        match self {
            Self::SigV4(_) => Position::Authorization,
            Self::Hmac(in_header) => Position::Header(in_header.header.clone()),
        }
    }
}

fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.bytes().all(plain)
}

/// Id and secret of a key: as the plugin says, or out of the document that the secret is. A document is never the key itself: what is signed so would be
/// refused, and say nothing of the key in it.
fn key_of(parameters: &SigV4, secret: &SecretBytes) -> Result<(String, SecretBytes), Error> {
    let part = |pointer| json::string_at(secret.expose(), pointer);
    let wrong = |message: &str| Error::invalid("http.sign", message);
    match (&parameters.key_id, part(KEY_ID), part(SECRET_KEY)) {
        (Some(id), None, _) => Ok((id.clone(), secret.duplicate())),
        (Some(_), Some(_), _) => Err(wrong(
            "the secret is a document with a key id of its own: leave `key-id` out",
        )),
        (None, Some(id), Some(key)) => {
            let id = std::str::from_utf8(id.expose()).ok().filter(|id| is_plain(id));
            let id = id.ok_or_else(|| wrong("the `access_key_id` in the secret is no key id"))?;
            Ok((id.to_owned(), key))
        }
        _ => Err(wrong(
            "the secret is to be a JSON document like {\"access_key_id\": \"…\", \"secret_access_key\": \"…\"}",
        )),
    }
}

/// Adds the headers of a signature. `now`: seconds since the epoch.
///
/// # Errors
/// `http.sign`: the secret is not what the scheme signs by.
pub(super) fn sign(
    scheme: &Scheme,
    key: &SecretBytes,
    query: &[(String, String)],
    request: &mut Request,
    now: u64,
) -> Result<(), Error> {
    let body = request.body.as_ref().map_or(&[][..], SecretBytes::expose);
    match scheme {
        Scheme::Hmac(InHeader { header }) => {
            let value = timed_hmac(key.expose(), now, body);
            request
                .headers
                .push((header.clone(), SecretBytes::new(value.into_bytes())));
        }
        Scheme::SigV4(parameters) => {
            let (id, key) = key_of(parameters, key)?;
            let path = path_of(&request.target);
            let date = amz_date(now);
            let mut signed = vec![
                ("host".to_owned(), authority(request)),
                ("x-amz-date".to_owned(), date.clone()),
            ];
            let typed = request.headers.iter().find(|(name, _)| name == "content-type");
            signed.extend(
                typed.map(|(name, value)| {
                    (name.clone(), String::from_utf8_lossy(value.expose()).into_owned())
                }),
            );
            signed.sort();
            let canonical = canonical(&request.method, path, query, &signed, body);
            let value = authorization(parameters, (&id, key.expose()), &date, &signed, &canonical);
            request
                .headers
                .push(("x-amz-date".to_owned(), SecretBytes::new(date.into_bytes())));
            request
                .headers
                .push(("authorization".to_owned(), SecretBytes::new(value.into_bytes())));
        }
    }
    Ok(())
}

/// `t=<seconds>,v1=<hex>` of HMAC-SHA256 over `<seconds>.<body>`: the receiver can refuse what is old.
fn timed_hmac(key: &[u8], now: u64, body: &[u8]) -> String {
    let mac = hmac(key, &[now.to_string().as_bytes(), b".", body]);
    format!("t={now},v1={}", hex(&mac[..]))
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    // HMAC takes keys of any length; were it not so, nothing would be signed.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Zeroizing::default();
    };
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The path of a target, which is ASCII.
fn path_of(target: &SecretBytes) -> &str {
    let text = std::str::from_utf8(target.expose()).unwrap_or("/");
    text.split('?').next().unwrap_or("/")
}

/// As the `Host` header has it.
fn authority(request: &Request) -> String {
    let usual = if request.tls.is_some() { 443 } else { 80 };
    if request.port == usual {
        request.host.clone()
    } else {
        format!("{}:{}", request.host, request.port)
    }
}

/// `20150830T123600Z`.
fn amz_date(now: u64) -> String {
    let (days, rest) = (now / 86_400, now % 86_400);
    // Howard Hinnant's days to civil, for dates after 1970.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z",
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}

/// AWS General Reference, "Create a signed AWS API request": the canonical request of a service that encodes paths twice (all but S3).
fn canonical(
    method: &str,
    path: &str,
    query: &[(String, String)],
    signed: &[(String, String)],
    body: &[u8],
) -> String {
    let coded = |text: &str| {
        let mut out = Vec::new();
        percent(text.as_bytes(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    };
    let segments: Vec<String> = path.split('/').map(coded).collect();
    let mut pairs: Vec<(String, String)> = query
        .iter()
        .map(|(name, value)| (coded(name), coded(value)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let headers: String = signed
        .iter()
        .map(|(name, value)| format!("{name}:{}\n", value.trim()))
        .collect();
    format!(
        "{method}\n{}\n{}\n{headers}\n{}\n{}",
        segments.join("/"),
        pairs.join("&"),
        names(signed),
        hex(&Sha256::digest(body))
    )
}

fn names(signed: &[(String, String)]) -> String {
    let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
    names.join(";")
}

/// `key`: its id, and the secret.
fn authorization(
    parameters: &SigV4,
    (key_id, key): (&str, &[u8]),
    date: &str,
    signed: &[(String, String)],
    canonical: &str,
) -> String {
    let SigV4 { region, service, .. } = parameters;
    let day = &date[..8];
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let text = format!(
        "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
        hex(&Sha256::digest(canonical.as_bytes()))
    );
    let mut secret = Zeroizing::new(Vec::with_capacity(4 + key.len()));
    secret.extend_from_slice(b"AWS4");
    secret.extend_from_slice(key);
    let of_day = hmac(&secret, &[day.as_bytes()]);
    let of_region = hmac(&of_day, &[region.as_bytes()]);
    let of_service = hmac(&of_region, &[service.as_bytes()]);
    let signing = hmac(&of_service, &[b"aws4_request"]);
    let signature = hex(&hmac(&signing, &[text.as_bytes()])[..]);
    format!(
        "AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={}, Signature={signature}",
        names(signed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of AWS's public documentation: not a secret.
    const KEY: &[u8] = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const DATE: &str = "20150830T123600Z";

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    fn signature(service: &str, query: &[(String, String)], signed: &[(String, String)]) -> String {
        let parameters = SigV4 {
            region: "us-east-1".to_owned(),
            service: service.to_owned(),
            key_id: None,
        };
        let canonical = canonical("GET", "/", query, signed, b"");
        let value = authorization(&parameters, ("AKIDEXAMPLE", KEY), DATE, signed, &canonical);
        value.rsplit_once('=').unwrap().1.to_owned()
    }

    /// `get-vanilla` and `get-vanilla-query-order-key-case` of AWS's signature test suite, and the example of its General Reference (IAM).
    #[test]
    fn signatures_are_those_that_aws_publishes() {
        let host = [pair("host", "example.amazonaws.com"), pair("x-amz-date", DATE)];
        assert_eq!(
            signature("service", &[], &host),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        let query = [pair("Param2", "value2"), pair("Param1", "value1")];
        assert_eq!(
            signature("service", &query, &host),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"
        );
        let query = [pair("Action", "ListUsers"), pair("Version", "2010-05-08")];
        let signed = [
            pair("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            pair("host", "iam.amazonaws.com"),
            pair("x-amz-date", DATE),
        ];
        assert_eq!(
            signature("iam", &query, &signed),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    /// The key and the data of RFC 4231 2.3, with its own prefix: the MAC is over `0.` and the body.
    #[test]
    fn a_signature_in_a_header_says_when_it_was_made() {
        let value = timed_hmac(b"Jefe", 0, b"what do ya want for nothing?");
        let mac = hmac(b"Jefe", &[b"0.what do ya want for nothing?"]);
        assert_eq!(value, format!("t=0,v1={}", hex(&mac[..])));
        let plain = hmac(b"Jefe", &[b"what do ya want for nothing?"]);
        assert_eq!(
            hex(&plain[..]),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_date_is_that_of_the_calendar() {
        for (seconds, date) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_440_938_160, DATE),
            (4_107_542_399, "21000228T235959Z"),
        ] {
            assert_eq!(amz_date(seconds), date);
        }
    }

    #[test]
    fn a_key_says_its_own_id_and_no_document_is_taken_for_a_key() {
        let of = |id: Option<&str>, secret: &str| {
            let parameters = SigV4 {
                region: "r".to_owned(),
                service: "s".to_owned(),
                key_id: id.map(str::to_owned),
            };
            let found = key_of(&parameters, &SecretBytes::copy_of(secret.as_bytes())).ok();
            found.map(|(id, key)| (id, String::from_utf8(key.expose().to_vec()).unwrap()))
        };
        let document = r#"{"access_key_id":"AKIA1","secret_access_key":"a\/b"}"#;
        let pair = |id: &str, key: &str| Some((id.to_owned(), key.to_owned()));
        assert_eq!(of(None, document), pair("AKIA1", "a/b"));
        assert_eq!(of(Some("AKIA2"), "a/b"), pair("AKIA2", "a/b"));
        assert_eq!(of(Some("AKIA2"), document), None);
        for bad in [
            "a/b",
            r#"{"access_key_id":"AKIA1"}"#,
            r#"{"access_key_id":"A/1","secret_access_key":"b"}"#,
        ] {
            assert_eq!(of(None, bad), None, "{bad}");
        }
    }

    #[test]
    fn parameters_are_checked() {
        for (scheme, parameters) in [
            (SIGV4, "{}"),
            (SIGV4, r#"{"region":"a","service":"b","key-id":"c/d"}"#),
            (HMAC, r#"{"header":"x\r\ny"}"#),
            (HMAC, r#"{"header":"host"}"#),
            (HMAC, r#"{"header":"x","more":1}"#),
            ("azure.shared-key", "{}"),
        ] {
            assert!(Scheme::of(scheme, parameters).is_err(), "{scheme} {parameters}");
        }
    }
}
