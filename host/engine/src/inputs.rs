//! What a rotation takes beside its own secret, such as its administrator's password.

use keywheel_config::Rotation;
use keywheel_model::SecretName;
use keywheel_vault::Vault as _;

use crate::Error;
use crate::engine::Inner;
use crate::words::of_input;

impl Inner {
    /// The secrets that the plugin needs beside the rotated one, and that have no value.
    pub(crate) async fn missing_inputs(
        &self,
        rotation: &Rotation,
    ) -> Result<Vec<(String, SecretName)>, Error> {
        let mut missing: Vec<(String, SecretName)> = Vec::new();
        for (input, secret) in &rotation.inputs {
            if self.vault.live(secret, &[]).await?.current().is_none() {
                missing.push((input.clone(), secret.clone()));
            }
        }
        Ok(missing)
    }

    /// Without its inputs an adoption could log in, and could not find out why it is refused.
    ///
    /// # Errors
    /// [`Error::NoInputs`].
    pub(crate) async fn check_inputs(&self, rotation: &Rotation) -> Result<(), Error> {
        let missing = self.missing_inputs(rotation).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let words = |(input, secret): &(String, SecretName)| of_input(rotation, input, secret);
        let ways: Vec<_> = missing.iter().map(words).collect();
        Err(Error::NoInputs {
            secret: rotation.secret.clone(),
            rotation: rotation.name.clone(),
            way_out: format!(
                "nothing was stored; {}; then import {} again",
                ways.join("; "),
                rotation.secret
            ),
            inputs: missing,
        })
    }
}

/// The secrets, for people.
pub(crate) fn secrets_of(inputs: &[(String, SecretName)]) -> String {
    let mut names: Vec<_> = inputs.iter().map(|(_, secret)| secret.as_str()).collect();
    names.dedup();
    names.join(", ")
}
