//! Further names in the vault that hold a rotation's password in another form.

use keywheel_model::SecretName;
use serde::{Deserialize, Serialize};

use crate::config::Rotation;

/// A name in the vault that holds the password of a rotated secret in another form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Form {
    /// Its name in the vault.
    pub secret: SecretName,
    /// What it is.
    pub format: FormFormat,
    /// The first one, where there is none yet, with [`Form::PASSWORD`] and [`Form::USER`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

impl Form {
    /// Where a template has the password.
    pub const PASSWORD: &str = "{password}";
    /// Where a template has the name of the user.
    pub const USER: &str = "{user}";
}

/// What a form is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FormFormat {
    /// The password alone.
    Password,
    /// A JSON document with `/password`, and `/username` where it names a user.
    Json,
    /// A text that clients connect with.
    ConnectionString,
}

impl FormFormat {
    /// Its word in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Json => "json",
            Self::ConnectionString => "connection-string",
        }
    }

    /// Whether a user's name and password stand in it together.
    pub fn is_whole(self) -> bool {
        self != Self::Password
    }
}

impl Rotation {
    /// The names in the vault that it writes, each with the place behind the rotation's own that says so.
    pub fn written(&self) -> impl Iterator<Item = (String, &SecretName)> {
        let outputs = self.outputs.iter();
        let outputs = outputs.map(|(key, secret)| (format!("/outputs/{key}"), secret));
        let forms = self.forms.iter().enumerate();
        let forms = forms.map(|(at, form)| (format!("/forms/{at}/secret"), &form.secret));
        std::iter::once(("/secret".to_owned(), &self.secret))
            .chain(outputs)
            .chain(forms)
    }
}
