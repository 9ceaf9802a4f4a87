//! Further names in the vault that hold a rotation's password in another form. They are pending with its version, and promoted in the transaction that promotes it:
//! whoever reads one name alone reads what works.

use keywheel_capability::forms::{Credential, Kind, Wanted};
use keywheel_capability::handle::Labels;
use keywheel_config::{Form, FormFormat, Rotation};
use keywheel_model::{RotationName, SecretBytes, SecretName, StepError, VersionId};
use keywheel_vault::{Output, SecretValue, Vault as _, VersionInfo};

use crate::Error;
use crate::engine::Inner;
use crate::labels::{labels, metadata};
use crate::perform::vault_error;
use crate::plan::worded;

impl Inner {
    /// What the forms of a secret are to hold beside a new version of it.
    ///
    /// # Errors
    /// `secret.form`, of the first for which there is nothing that it could be made of; those of the vault. Nothing is written.
    pub(crate) async fn written_forms(
        &self,
        secret: &SecretName,
        forms: &[Form],
        of: &Labels,
        whole: &SecretBytes,
    ) -> Result<Vec<Output>, StepError> {
        let mut outputs = Vec::with_capacity(forms.len());
        if forms.is_empty() {
            return Ok(outputs);
        }
        let credential = Credential::of(of, whole)?;
        let before = self.credential_in_use(secret).await?;
        let user_changes = before.is_some_and(|before| !before.has_user_of(&credential));
        for form in forms {
            let own = self.current_value(&form.secret).await?;
            let own = own.as_ref().map(|(value, _)| value);
            let (value, of_form) = credential
                .written(&wanted(form, user_changes), own)
                .map_err(|problem| named(form, problem))?;
            outputs.push(Output {
                name: form.secret.clone(),
                secret: SecretValue {
                    value,
                    metadata: metadata(&of_form, None)?,
                },
            });
        }
        Ok(outputs)
    }

    /// The same of a version that is there, for those of its forms that it does not have yet: it may be older than they are in the configuration.
    ///
    /// # Errors
    /// As [`Self::written_forms`].
    async fn forms_of(
        &self,
        secret: &SecretName,
        forms: &[Form],
        version: &VersionInfo,
    ) -> Result<Vec<Output>, StepError> {
        if forms.is_empty() {
            return Ok(Vec::new());
        }
        let value = self.vault.read(secret, &version.id).await;
        let value = value.map_err(|error| vault_error(&error))?;
        let of = labels(&version.metadata, value.expose())?;
        self.written_forms(secret, forms, &of, &value).await
    }

    /// For a promotion, which is not put off for a form: the target may take nothing else by now.
    pub(crate) async fn forms_to_promote(
        &self,
        secret: &SecretName,
        forms: &[Form],
        version: &VersionInfo,
    ) -> Vec<Output> {
        self.forms_of(secret, forms, version).await.unwrap_or_else(|problem| {
            tracing::warn!(%secret, code = problem.code, "a form that the version did not have yet is left as it is");
            Vec::new()
        })
    }

    /// For an older version that a person wants back.
    ///
    /// # Errors
    /// [`Error::Refused`] with `secret.form`, and nothing is changed; those of the vault.
    pub(crate) async fn forms_of_older(
        &self,
        rotation: &Rotation,
        to: &VersionId,
    ) -> Result<Vec<Output>, Error> {
        let head = self
            .vault
            .live(&rotation.secret, std::slice::from_ref(to))
            .await?;
        let Some(version) = head.version(to) else {
            return Ok(Vec::new());
        };
        let forms = self.forms_of(&rotation.secret, &rotation.forms, version).await;
        forms.map_err(|problem| refused(&rotation.name, &problem))
    }

    /// What would keep the next version from being written.
    ///
    /// # Errors
    /// Those of the vault.
    pub(crate) async fn form_problems(&self, rotation: &Rotation) -> Result<Vec<String>, Error> {
        Ok(self.look_at_forms(rotation).await?.0)
    }

    /// Forms that hold another password or user than the secret does.
    ///
    /// # Errors
    /// Those of the vault.
    pub(crate) async fn stale_forms(&self, rotation: &Rotation) -> Result<Vec<String>, Error> {
        Ok(self.look_at_forms(rotation).await?.1)
    }

    async fn look_at_forms(&self, rotation: &Rotation) -> Result<(Vec<String>, Vec<String>), Error> {
        let (mut problems, mut stale) = (Vec::new(), Vec::new());
        if rotation.forms.is_empty() {
            return Ok((problems, stale));
        }
        let plugin = self.plugin(&rotation.plugin)?;
        let user_changes = plugin.manifest().changes_user(&rotation.config);
        let credential = match self.credential_in_use(&rotation.secret).await {
            Ok(Some(credential)) => credential,
            // Nothing is adopted yet: its forms are looked at when it is.
            Ok(None) => return Ok((problems, stale)),
            Err(problem) => return Ok((vec![worded(&problem.code, &problem.message, None)], stale)),
        };
        for form in &rotation.forms {
            let own = match self.current_value(&form.secret).await {
                Ok(own) => own,
                Err(problem) => {
                    let problem = named(form, problem);
                    problems.push(worded(&problem.code, &problem.message, None));
                    continue;
                }
            };
            let value = own.as_ref().map(|(value, _)| value);
            match credential.written(&wanted(form, user_changes), value) {
                Err(problem) => {
                    let problem = named(form, problem);
                    problems.push(worded(&problem.code, &problem.message, Some(&hint(form))));
                }
                Ok((made, _)) if value.is_some_and(|value| !value.same_as(&made)) => {
                    let message = format!(
                        "{} does not hold what {} holds now; with the next version it does",
                        form.secret, rotation.secret
                    );
                    stale.push(worded("secret.form-differs", &message, None));
                }
                Ok(_) => {}
            }
        }
        Ok((problems, stale))
    }

    async fn credential_in_use(&self, secret: &SecretName) -> Result<Option<Credential>, StepError> {
        match self.current_value(secret).await? {
            Some((value, of)) => Ok(Some(Credential::of(&of, &value)?)),
            None => Ok(None),
        }
    }

    async fn current_value(&self, name: &SecretName) -> Result<Option<(SecretBytes, Labels)>, StepError> {
        let head = self
            .vault
            .live(name, &[])
            .await
            .map_err(|error| vault_error(&error))?;
        let Some(current) = head.current() else {
            return Ok(None);
        };
        let value = self.vault.read(name, &current.id).await;
        let value = value.map_err(|error| vault_error(&error))?;
        let of = labels(&current.metadata, value.expose())?;
        Ok(Some((value, of)))
    }
}

/// A value that cannot be taken, as a refusal before anything was written.
pub(crate) fn refused(rotation: &RotationName, problem: &StepError) -> Error {
    Error::Refused {
        rotation: rotation.clone(),
        problems: vec![worded(&problem.code, &problem.message, None)],
    }
}

fn named(form: &Form, mut problem: StepError) -> StepError {
    problem.message = format!("the form {}: {}", form.secret, problem.message);
    problem
}

fn hint(form: &Form) -> String {
    format!("keywheel secret import {}", form.secret)
}

fn wanted(form: &Form, user_changes: bool) -> Wanted<'_> {
    Wanted {
        kind: match form.format {
            FormFormat::Password => Kind::Password,
            FormFormat::Json => Kind::Json,
            FormFormat::ConnectionString => Kind::ConnectionString,
        },
        template: form.template.as_deref(),
        words: [Form::PASSWORD, Form::USER],
        user_changes,
    }
}
