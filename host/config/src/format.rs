//! The formats of strings that the schema names: what each accepts, and what is wrong with a text that does not fit.

use std::fmt::Display;

use keywheel_manifest::Pointer;
use keywheel_model::address::Host;
use keywheel_model::{NameError, PluginName, SecretName, SocketFolder};
use keywheel_schedule::Zone;

use crate::document::quoted;
use crate::resolve::schedule::{ZONES, zone_hint};
use crate::units::{UnitError, parse_duration, parse_size};

/// What is wrong with a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

type Check = fn(&str) -> Result<(), Wrong>;

/// Every format of the configuration's own schema.
pub(crate) const FORMATS: [(&str, Check); 9] = [
    ("keywheel-duration", |text| {
        parse_duration(text).map(drop).map_err(|error| unit(&error))
    }),
    ("keywheel-size", |text| {
        parse_size(text).map(drop).map_err(|error| unit(&error))
    }),
    ("keywheel-name", |text| {
        text.parse::<PluginName>().map(drop).map_err(|error| name(&error))
    }),
    ("keywheel-secret-name", |text| {
        text.parse::<SecretName>().map(drop).map_err(|error| name(&error))
    }),
    ("keywheel-label", label),
    ("keywheel-secret-pattern", |text| {
        // What is left when each star stands for one letter must be a name.
        let named = text.replace('*', "x").parse::<SecretName>();
        named.map(drop).map_err(|error| name(&error))
    }),
    ("keywheel-path", path),
    ("keywheel-pointer", pointer),
    ("keywheel-zone", zone),
];

/// What is wrong with a text that does not fit that format.
pub(crate) fn wrong(format: &str, text: &str) -> Option<Wrong> {
    let (_, check) = FORMATS.iter().find(|(name, _)| *name == format)?;
    check(text).err()
}

/// What is wrong with a host in a plugin's settings.
pub(crate) fn wrong_host(text: &str) -> Option<Wrong> {
    let error = text.parse::<Host>().err()?;
    Some(Wrong {
        code: "config.value",
        message: format!("is not a host that can be dialled: {}", error.why),
        hint: Some(
            "a DNS name in ASCII (`db-7.internal`; `xn--…` for others) or an address in its usual form"
                .to_owned(),
        ),
    })
}

/// The same where the folder of a Unix socket may stand in its place.
pub(crate) fn wrong_host_or_socket(text: &str) -> Option<Wrong> {
    if !SocketFolder::is_meant(text) {
        return wrong_host(text);
    }
    let error = text.parse::<SocketFolder>().err()?;
    Some(Wrong {
        code: "config.value",
        message: format!("is not the folder of a Unix socket: {}", error.why),
        hint: Some(
            "the folder alone, as `unix_socket_directories` of the server has it: /run/postgresql".to_owned(),
        ),
    })
}

fn unit(error: &UnitError) -> Wrong {
    Wrong {
        code: "config.unit",
        message: error.to_string(),
        hint: error.hint(),
    }
}

/// The rule that the name breaks, never the name: it may be a megabyte long.
fn name(error: &NameError) -> Wrong {
    let message = match error {
        NameError::Segment { segment } => {
            format!(
                "part {} must begin and end with a letter or digit and hold no `..`",
                quoted(segment)
            )
        }
        other => other.to_string(),
    };
    Wrong {
        code: "config.name",
        message,
        hint: None,
    }
}

fn pointer(text: &str) -> Result<(), Wrong> {
    text.parse::<Pointer>().map(drop).map_err(|_| Wrong {
        code: "config.pointer",
        message: "this is no place in a document".to_owned(),
        hint: Some("write a JSON pointer, like \"/username\"".to_owned()),
    })
}

fn label(text: &str) -> Result<(), Wrong> {
    const LABEL_CHARS_MAX: usize = 63;
    if !text.is_empty() && text.chars().count() <= LABEL_CHARS_MAX && !text.contains(char::is_control) {
        return Ok(());
    }
    Err(Wrong {
        code: "config.value",
        message: format!("a label has 1 to {LABEL_CHARS_MAX} characters, none of them a control character"),
        hint: None,
    })
}

fn zone(text: &str) -> Result<(), Wrong> {
    Zone::named(text, &ZONES).map(drop).map_err(|error| Wrong {
        code: error.code(),
        message: error.to_string(),
        hint: Some(zone_hint(text, &error)),
    })
}

fn path(text: &str) -> Result<(), Wrong> {
    const PATH_BYTES_MAX: usize = 4095;
    let wrong = |message: &dyn Display| Wrong {
        code: "config.path",
        message: message.to_string(),
        hint: None,
    };
    if text.is_empty() {
        return Err(wrong(&"a path may not be empty"));
    }
    if text.len() > PATH_BYTES_MAX {
        return Err(wrong(&format_args!(
            "a path has at most {PATH_BYTES_MAX} bytes, this one has {}",
            text.len()
        )));
    }
    if text.contains(char::is_control) {
        return Err(wrong(&"a path may not hold control characters"));
    }
    Ok(())
}
