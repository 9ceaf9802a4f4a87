//! Components in bytes: what a file is put together of, and the hostile guest with another body in it.

use wasmparser::{ExternalKind, Parser, Payload, TypeRef};

/// The export that the host calls for the step `create`.
const CREATE: &str = "keywheel:plugin/rotator@0.1.0#create";
/// Magic and version, of modules and of components.
const HEAD_BYTES: usize = 8;

// Ids of sections.
const FUNCTIONS: u8 = 3;
const TABLES: u8 = 4;
const MEMORIES: u8 = 5;
const EXPORTS: u8 = 7;
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

/// The guest, whose step `create` computes something before what it does, and something behind it that gives no answer. `tables` and `memories` are
/// entries that are added to its own; `before` and `behind` are given the numbers of the first of them.
pub(crate) fn guest_that(
    tables: &[&[u8]],
    memories: &[&[u8]],
    before: impl Fn(usize, usize) -> Vec<u8>,
    behind: impl Fn(usize, usize) -> Vec<u8>,
) -> Vec<u8> {
    let guest = keywheel_hostile::guest();
    let mut changed = guest[..HEAD_BYTES].to_vec();
    let mut found = false;
    for (id, content) in sections(&guest) {
        let create = (id == MODULE).then(|| create_of(content)).flatten();
        found |= create.is_some();
        let content = match create {
            Some(create) => {
                let first = (count(content, TABLES), count(content, MEMORIES));
                let (before, behind) = (before(first.0, first.1), behind(first.0, first.1));
                module_that(
                    content,
                    tables,
                    memories,
                    &create,
                    &create.around(&before, &behind),
                )
            }
            None => content.to_vec(),
        };
        changed.extend(section(id, &content));
    }
    assert!(found, "no module of the guest exports `create`");
    changed
}

/// The function that is exported for the step `create`.
struct Create {
    index: usize,
    /// Of the function's type.
    kind: usize,
    parameters: usize,
    results: usize,
    /// All functions, imported and own.
    functions: usize,
}

impl Create {
    /// The body of a function of the same type: this, a call of it, and that.
    fn around(&self, before: &[u8], behind: &[u8]) -> Vec<u8> {
        let mut body = [&[0], before].concat();
        for parameter in 0..self.parameters {
            // `local.get`
            body.push(0x20);
            leb128(parameter, &mut body);
        }
        // `call`
        body.push(0x10);
        leb128(self.index, &mut body);
        // `drop`
        body.extend(vec![0x1a; self.results]);
        // `unreachable`, `end`
        [&body[..], behind, &[0x00, 0x0b]].concat()
    }
}

/// None: the module exports no such function.
fn create_of(module: &[u8]) -> Option<Create> {
    let (mut types, mut kinds, mut index) = (Vec::new(), Vec::new(), None);
    for payload in Parser::new(0).parse_all(module) {
        match payload.unwrap() {
            Payload::TypeSection(all) => {
                let all = all.into_iter_err_on_gc_types().map(Result::unwrap);
                types = all
                    .map(|kind| (kind.params().len(), kind.results().len()))
                    .collect();
            }
            Payload::ImportSection(all) => {
                let all = all.into_imports().map(Result::unwrap);
                kinds.extend(all.filter_map(|import| match import.ty {
                    TypeRef::Func(kind) => Some(kind),
                    _ => None,
                }));
            }
            Payload::FunctionSection(all) => kinds.extend(all.into_iter().map(Result::unwrap)),
            Payload::ExportSection(all) => {
                let mut all = all.into_iter().map(Result::unwrap);
                index = all
                    .find(|export| export.kind == ExternalKind::Func && export.name == CREATE)
                    .map(|export| usize::try_from(export.index).unwrap());
            }
            _ => {}
        }
    }
    let index = index?;
    let kind = usize::try_from(kinds[index]).unwrap();
    let (parameters, results) = types[kind];
    Some(Create {
        index,
        kind,
        parameters,
        results,
        functions: kinds.len(),
    })
}

/// How many entries a section of a module has. The guest imports functions alone, so that what is its own begins at nothing.
fn count(module: &[u8], wanted: u8) -> usize {
    let found = sections(module).into_iter().find(|(id, _)| *id == wanted);
    found.map_or(0, |(_, content)| read_number(content).0)
}

/// With one more function, which is what is called for the step `create`.
fn module_that(module: &[u8], tables: &[&[u8]], memories: &[&[u8]], create: &Create, body: &[u8]) -> Vec<u8> {
    let kind = number(create.kind);
    let code = [number(body.len()), body.to_vec()].concat();
    let mut changed = module[..HEAD_BYTES].to_vec();
    for (id, content) in sections(module) {
        let content = match id {
            FUNCTIONS => longer(content, &[&kind]),
            TABLES => longer(content, tables),
            MEMORIES => longer(content, memories),
            EXPORTS => exports_with(content, create.functions),
            CODE => longer(content, &[&code]),
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

/// The same exports, with this function for the step `create`.
fn exports_with(exports: &[u8], function: usize) -> Vec<u8> {
    let (count, mut rest) = read_number(exports);
    let mut changed = number(count);
    for _ in 0..count {
        let (length, name) = read_number(rest);
        let (name, behind) = name.split_at(length);
        let (kind, behind) = behind.split_first().unwrap();
        let (index, behind) = read_number(behind);
        rest = behind;
        let index = if name == CREATE.as_bytes() {
            function
        } else {
            index
        };
        changed.extend([&number(length)[..], name, &[*kind], &number(index)].concat());
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
