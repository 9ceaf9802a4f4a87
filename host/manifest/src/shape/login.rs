use serde_json::Value;

use super::{is_configured, parse_slots};
use crate::call::SecretUse;
use crate::reader::{Fields, Problems};
use crate::template::{Pattern, Slot};

/// `[[login]]`: who may log in with which secret. The password of a connector is a sink like any other, and the user name
/// beside it decides whose password is proved.
///
/// ```toml
/// [[login]]
/// id = "admin"
/// driver = "postgres"
/// user = "{/admin}"
/// password = "{input:admin}"
/// effect = "none"
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LoginShape {
    pub(crate) driver: String,
    pub(crate) user: Slot,
    pub(crate) password: Pattern,
}

impl LoginShape {
    /// `postgres`.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    pub(super) fn read(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Self> {
        let driver = fields.required_text("driver", problems).map(str::to_owned);
        let user = fields.required_text("user", problems);
        let user = user.and_then(|text| {
            let slots = parse_slots(text, fields.path("user"), problems)?;
            if let [slot @ (Slot::Value(_) | Slot::Text(_))] = slots.as_slice() {
                return Some(slot.clone());
            }
            problems.add(
                fields.path("user"),
                "a user is a configuration value, `{/pointer}`, or a fixed name",
            );
            None
        });
        let password = fields.required_text("password", problems);
        let password = password.and_then(|text| {
            let slots = parse_slots(text, fields.path("password"), problems)?;
            if let [Slot::Secret(pattern)] = slots.as_slice() {
                return Some(pattern.clone());
            }
            problems.add(
                fields.path("password"),
                "a password is one secret, such as `{subject}`",
            );
            None
        });
        Some(Self {
            driver: driver?,
            user: user?,
            password: password?,
        })
    }

    pub(super) fn fits(&self, driver: &str, user: &str, password: &SecretUse, configuration: &Value) -> bool {
        let user = match &self.user {
            Slot::Value(pointer) => is_configured(user, pointer, configuration),
            Slot::Text(fixed) => fixed == user,
            _ => false,
        };
        user && self.driver == driver && self.password.fits(password)
    }
}
