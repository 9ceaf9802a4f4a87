use wasmparser::{Encoding, Parser, Payload};

use crate::error::Error;
use crate::manifest::{Manifest, Schema};

/// The name of the custom section.
pub const SECTION: &str = "keywheel:manifest";
/// The largest component that is looked at.
pub const MAX_COMPONENT_BYTES: usize = 128 << 20;
/// The largest manifest in canonical form.
pub const MAX_MANIFEST_BYTES: usize = 1 << 20;

/// The component with the manifest written in, as its last section. The same input gives the same bytes.
///
/// # Errors
/// Not a component, damaged, too large, or [`Error::AlreadyPacked`].
pub fn pack(component: &[u8], manifest: &Manifest) -> Result<Vec<u8>, Error> {
    if !sections(component)?.is_empty() {
        return Err(Error::AlreadyPacked);
    }
    let content = manifest.to_canonical();
    check_size("manifest", content.len(), MAX_MANIFEST_BYTES)?;
    let mut body = Vec::with_capacity(SECTION.len() + 5 + content.len());
    write_leb128(&mut body, SECTION.len());
    body.extend_from_slice(SECTION.as_bytes());
    body.extend_from_slice(&content);
    let mut packed = Vec::with_capacity(component.len() + 6 + body.len());
    packed.extend_from_slice(component);
    packed.push(0);
    write_leb128(&mut packed, body.len());
    packed.extend_from_slice(&body);
    Ok(packed)
}

/// The manifest of a component. Parses, runs nothing.
///
/// # Errors
/// Not a component, damaged, too large, no manifest or two, or a manifest that is not valid.
pub fn read(component: &[u8]) -> Result<Manifest, Error> {
    read_as(component, Schema::New)
}

/// The manifest of a component whose very bytes [`read`] took before: its schema is not checked again.
///
/// # Errors
/// As [`read`].
pub fn read_again(component: &[u8]) -> Result<Manifest, Error> {
    read_as(component, Schema::Checked)
}

fn read_as(component: &[u8], schema: Schema) -> Result<Manifest, Error> {
    match sections(component)?.as_slice() {
        [] => Err(Error::NoManifest),
        [content] => Manifest::canonical(content, schema),
        _ => Err(Error::TwoManifests),
    }
}

/// The contents of every manifest section of the component itself; those of modules inside it are theirs.
fn sections(component: &[u8]) -> Result<Vec<&[u8]>, Error> {
    check_size("component", component.len(), MAX_COMPONENT_BYTES)?;
    if !component.starts_with(b"\0asm") {
        return Err(Error::NotWasm);
    }
    let mut found = Vec::new();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(|source| Error::Damaged {
            at: source.offset() as u64,
            source,
        })?;
        match payload {
            Payload::Version {
                encoding: Encoding::Module,
                ..
            } if depth == 0 => return Err(Error::CoreModule),
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 1 && section.name() == SECTION => {
                check_size("manifest", section.data().len(), MAX_MANIFEST_BYTES)?;
                found.push(section.data());
            }
            _ => {}
        }
    }
    Ok(found)
}

fn check_size(what: &'static str, found: usize, limit: usize) -> Result<(), Error> {
    if found > limit {
        Err(Error::TooLarge { what, found, limit })
    } else {
        Ok(())
    }
}

fn write_leb128(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        out.push(if value == 0 { low & 0x7f } else { low | 0x80 });
        if value == 0 {
            return;
        }
    }
}
