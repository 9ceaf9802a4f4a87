use serde_json::Value;

use crate::call::Call;
use crate::manifest::Manifest;
use crate::refusal::{Reason, Refusal};
use crate::shape::{Shape, ShapeBody};

/// No shape is fine for a call without a secret.
pub(crate) fn find<'m>(
    manifest: &'m Manifest,
    call: &Call,
    configuration: &Value,
) -> Result<Option<&'m Shape>, Refusal> {
    match only(manifest, call, configuration) {
        Ok(None) if call.secrets().is_empty() => Ok(None),
        Ok(Some(shape)) => Ok(Some(shape)),
        Ok(None) => Err(Refusal::new(Reason::NoShape, call, configuration, manifest)),
        Err(reason) => Err(Refusal::new(reason, call, configuration, manifest)),
    }
}

/// A shape is needed.
pub(crate) fn require<'m>(
    manifest: &'m Manifest,
    call: &Call,
    configuration: &Value,
) -> Result<&'m Shape, Refusal> {
    let found = only(manifest, call, configuration).and_then(|shape| shape.ok_or(Reason::NoShape));
    found.map_err(|reason| Refusal::new(reason, call, configuration, manifest))
}

/// Two that fit would leave it open which effect and which visible fields count. Logins and frames that differ in the part alone that their secret plays do
/// not: one version may be the subject of a step, and play another part beside.
fn only<'m>(manifest: &'m Manifest, call: &Call, configuration: &Value) -> Result<Option<&'m Shape>, Reason> {
    if call.secrets().iter().any(|used| used.roles.is_empty()) {
        return Err(Reason::Unplaced);
    }
    let mut fitting = manifest
        .shapes()
        .iter()
        .filter(|shape| shape.fits(call, configuration));
    let Some(first) = fitting.next() else {
        return Ok(None);
    };
    match fitting.find(|other| !differs_in_part_alone(first, other)) {
        Some(other) => Err(Reason::Ambiguous(first.id().to_owned(), other.id().to_owned())),
        None => Ok(Some(first)),
    }
}

fn differs_in_part_alone(one: &Shape, other: &Shape) -> bool {
    let is_shown_alike = match (one.body(), other.body()) {
        (ShapeBody::Login(_), ShapeBody::Login(_)) => true,
        (ShapeBody::Frame(one), ShapeBody::Frame(other)) => {
            one.framing() == other.framing() && one.reply() == other.reply()
        }
        _ => false,
    };
    is_shown_alike && one.effect() == other.effect() && one.secrets() != other.secrets()
}
