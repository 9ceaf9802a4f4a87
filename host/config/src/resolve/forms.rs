use std::collections::BTreeMap;

use keywheel_model::SecretName;

use super::Resolver;
use crate::document::At;
use crate::form::{Form, FormFormat};
use crate::raw;

impl Resolver {
    pub(super) fn forms(&mut self, pointer: &str, forms: Vec<raw::Form>) -> Vec<Form> {
        let forms = forms.into_iter().enumerate();
        let forms = forms.filter_map(|(at, raw)| {
            let form = Form {
                secret: raw.secret.parse().ok()?,
                format: match raw.format {
                    raw::FormFormat::Password => FormFormat::Password,
                    raw::FormFormat::Json => FormFormat::Json,
                    raw::FormFormat::ConnectionString => FormFormat::ConnectionString,
                },
                template: raw.template,
            };
            self.template(&format!("{pointer}/{at}/template"), &form);
            Some(form)
        });
        forms.collect()
    }

    /// Where it has the password, once; and the user at most once.
    fn template(&mut self, pointer: &str, form: &Form) {
        let Some(template) = &form.template else { return };
        let times = |word: &str| template.matches(word).count();
        let message = if !form.format.is_whole() {
            "the password alone has no template"
        } else if times(Form::PASSWORD) != 1 {
            "it has to have `{password}` once, where the password stands"
        } else if times(Form::USER) > 1 {
            "it has `{user}` more than once"
        } else {
            return;
        };
        self.report(At::Value(pointer), "config.template", message.to_owned(), None);
    }
}

/// Names in the vault, by the name that a plugin gives them.
pub(super) fn secrets(names: &BTreeMap<String, raw::SecretText>) -> BTreeMap<String, SecretName> {
    names
        .iter()
        .filter_map(|(key, secret)| Some((key.clone(), secret.0.parse().ok()?)))
        .collect()
}
