use serde_json::Value;

use crate::call::Call;
use crate::manifest::Manifest;
use crate::refusal::{Reason, Refusal};
use crate::shape::Shape;

/// No shape is fine for a call without a secret.
pub(crate) fn find<'m>(
    manifest: &'m Manifest,
    call: &Call,
    configuration: &Value,
) -> Result<Option<&'m Shape>, Refusal> {
    match require(manifest, call, configuration) {
        Ok(shape) => Ok(Some(shape)),
        Err(refusal) if refusal.reason == Reason::NoShape && call.secrets().is_empty() => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// Exactly one shape fits; two that fit would leave it open which effect and which visible fields count.
pub(crate) fn require<'m>(
    manifest: &'m Manifest,
    call: &Call,
    configuration: &Value,
) -> Result<&'m Shape, Refusal> {
    if call.secrets().iter().any(|used| used.roles.is_empty()) {
        return Err(Refusal::new(Reason::Unplaced, call, configuration));
    }
    let mut fitting = manifest
        .shapes()
        .iter()
        .filter(|shape| shape.fits(call, configuration));
    match (fitting.next(), fitting.next()) {
        (Some(shape), None) => Ok(shape),
        (None, _) => Err(Refusal::new(Reason::NoShape, call, configuration)),
        (Some(first), Some(second)) => {
            let reason = Reason::Ambiguous(first.id().to_owned(), second.id().to_owned());
            Err(Refusal::new(reason, call, configuration))
        }
    }
}
