//! Components in bytes: what a file is put together of, and the hostile guest with another body in it.

use wasmparser::{ExternalKind, Parser, Payload, TypeRef};

/// The export that the host calls for the step `create`.
const CREATE: &str = "keywheel:plugin/rotator@0.1.0#create";
/// Magic and version, of modules and of components.
const HEAD_BYTES: usize = 8;

// Ids of sections.
const IMPORTS: u8 = 2;
const TABLES: u8 = 4;
const MEMORIES: u8 = 5;
const CODE: u8 = 10;
/// In a component.
const MODULE: u8 = 1;
const CORE_INSTANCE: u8 = 2;

pub(crate) fn leb128(mut value: usize, out: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn number(value: usize) -> Vec<u8> {
    let mut all = Vec::new();
    leb128(value, &mut all);
    all
}

pub(crate) fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &number(content.len()), content].concat()
}

pub(crate) fn custom(name: &str, content: &[u8]) -> Vec<u8> {
    section(0, &[&number(name.len()), name.as_bytes(), content].concat())
}

/// A number, and what stands behind it.
fn read_number(mut bytes: &[u8]) -> (usize, &[u8]) {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first().unwrap();
        value |= usize::from(byte & 0x7f) << shift;
        (bytes, shift) = (rest, shift + 7);
        if byte & 0x80 == 0 {
            return (value, bytes);
        }
    }
}

/// The sections of a module or a component: id and content.
fn sections(bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let (mut rest, mut all) = (&bytes[HEAD_BYTES..], Vec::new());
    while let Some((id, after)) = rest.split_first() {
        let (length, content) = read_number(after);
        all.push((*id, &content[..length]));
        rest = &content[length..];
    }
    all
}

/// The guest, with the step `create` computing this and no more: what stands between its head and its end, in bytes. `tables` and `memories` are
/// entries that are added to its own; the function is given the numbers of the first of them.
pub(crate) fn guest_that(
    tables: &[&[u8]],
    memories: &[&[u8]],
    create: impl Fn(usize, usize) -> Vec<u8>,
) -> Vec<u8> {
    let guest = keywheel_hostile::guest();
    let mut changed = guest[..HEAD_BYTES].to_vec();
    let mut found = false;
    for (id, content) in sections(&guest) {
        let own = id == MODULE && at_create(content).is_some();
        found |= own;
        let content = if own {
            module_that(content, tables, memories, &create)
        } else {
            content.to_vec()
        };
        changed.extend(section(id, &content));
    }
    assert!(found, "no module of the guest exports `create`");
    changed
}

/// Which of a module's own functions is `create`.
fn at_create(module: &[u8]) -> Option<usize> {
    let (mut imported, mut create) = (0, None);
    for payload in Parser::new(0).parse_all(module) {
        match payload.unwrap() {
            Payload::ImportSection(imports) => {
                let is_function = |import: &wasmparser::Import<'_>| matches!(import.ty, TypeRef::Func(_));
                imported = imports
                    .into_imports()
                    .map(Result::unwrap)
                    .filter(is_function)
                    .count();
            }
            Payload::ExportSection(exports) => {
                let mut exports = exports.into_iter().map(Result::unwrap);
                create = exports.find(|export| export.kind == ExternalKind::Func && export.name == CREATE);
            }
            _ => {}
        }
    }
    create.map(|export| usize::try_from(export.index).unwrap() - imported)
}

fn module_that(
    module: &[u8],
    tables: &[&[u8]],
    memories: &[&[u8]],
    create: impl Fn(usize, usize) -> Vec<u8>,
) -> Vec<u8> {
    let at = at_create(module).unwrap();
    let count = |wanted: u8| {
        let found = sections(module).into_iter().find(|(id, _)| *id == wanted);
        found.map_or(0, |(_, content)| read_number(content).0)
    };
    // The guest imports functions alone, so that what is its own begins at nothing.
    assert!(count(IMPORTS) > 0);
    let body = create(count(TABLES), count(MEMORIES));
    let mut changed = module[..HEAD_BYTES].to_vec();
    for (id, content) in sections(module) {
        let content = match id {
            TABLES => longer(content, tables),
            MEMORIES => longer(content, memories),
            CODE => with_body(content, at, &body),
            _ => content.to_vec(),
        };
        changed.extend(section(id, &content));
    }
    changed
}

/// A list with more entries at its end.
fn longer(list: &[u8], more: &[&[u8]]) -> Vec<u8> {
    let (count, entries) = read_number(list);
    [&number(count + more.len())[..], entries, &more.concat()].concat()
}

/// The code of all functions, with another body for one of them. It has no variables.
fn with_body(code: &[u8], at: usize, body: &[u8]) -> Vec<u8> {
    let (count, mut rest) = read_number(code);
    let mut changed = number(count);
    for function in 0..count {
        let (length, content) = read_number(rest);
        let own = [&[0], body, &[0x0b]].concat();
        let content = if function == at { &own } else { &content[..length] };
        changed.extend(number(content.len()));
        changed.extend(content);
        let (length, behind) = read_number(rest);
        rest = &behind[length..];
    }
    changed
}

/// The guest, and behind it `count` instances of a module that nobody calls: it is enough that they are made.
pub(crate) fn guest_beside(module: &str, count: usize) -> Vec<u8> {
    let guest = keywheel_hostile::guest();
    let modules = sections(&guest).iter().filter(|(id, _)| *id == MODULE).count();
    let one = [&[0][..], &number(modules), &[0]].concat();
    let instances = [number(count), one.repeat(count)].concat();
    let module = wat::parse_str(module).unwrap();
    [
        guest,
        section(MODULE, &module),
        section(CORE_INSTANCE, &instances),
    ]
    .concat()
}
