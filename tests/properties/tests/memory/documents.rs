//! Configuration, grants, pins, manifests, components; JSON documents and the forms of secrets; names, units and rules.

use std::path::Path;

use keywheel_capability::Encoding;
use keywheel_capability::json::{self, MAX_POINTER_BYTES, MAX_VALUES};
use keywheel_config::Draft;
use keywheel_manifest::{Digest, Manifest, Pointer, canonical_address, pack, read};
use keywheel_model::address::Host;
use keywheel_model::{PluginName, RunId, SecretName};
use keywheel_policy::table::Table;
use keywheel_policy::{Grant, Lock};
use keywheel_properties::{ENCODINGS, any_text, edited, edited_bytes, json_text, toml_text};
use keywheel_target::frame::{FRAME_LIMIT, Frame, Framing, PART_LIMIT};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{KIB, MIB, held, holds, turn};

const CONFIGURATION: &str = include_str!("../valid/keywheel.toml");
const MANIFEST: &str = include_str!("../../../../plugins/postgres/manifest.toml");
const SCHEMA: &str = include_str!("../../../../plugins/postgres/schema.json");
const GRANT: &str = include_str!("../../../../policies/redis.toml");
const TABLE: &str = include_str!("../../../../policies/tests/postgres.toml");
const LOCK: &str = "format = 1\n\n[plugin.redis]\nversion = \"1\"\npublisher = \"RWQ\\\"x\"\n\
                    sha256 = \"sha256:61a80fb7f8cbfef660cdc53966c49bde465a196bade9e8187843e981d140aba2\"\n";

/// How long a text may grow here. What holds for each byte up to here holds up to the limit of the file.
const LONG: usize = 48 * KIB;

/// What a text of TOML may cost for each byte. The most is what is none at all: each two bytes of it (`=` and the end of the line) are an error, of which the
/// parser keeps a kilobyte before the list is cut. So the configuration, which has up to 8 MiB, may take some gigabytes: it is the operator's own file. A grant
/// or a manifest has a megabyte at the most, and what a plugin brings along is JSON.
const TREE: usize = 640;

/// Beside that: tables of the words that are known, the list of problems, the texts of a handful of errors.
const FIXED: usize = MIB;

/// The same of JSON: a member of some bytes is a node with its name and its value.
const MEMBER: usize = 96;

/// What costs a parser the most for each byte: heads and pieces that are repeated, `#` in them is a number.
const GROWING: [(&str, &str); 18] = [
    ("", "[[rotation]]\n"),
    ("", "[a#]\n"),
    ("", "[[a]]\n[[a.b]]\n"),
    ("", "k# = 1\n"),
    ("x = [", "[],"),
    ("x = [", "{},"),
    ("x = [", "1,"),
    ("x = ", "["),
    ("x = ", "{a="),
    ("", "a."),
    ("", "=\n"),
    ("", "\"\\u0000\".a.b = 1\n"),
    ("x = \"", "\\n"),
    (
        "",
        "[[rotation]]\nname = \"a#\"\nplugin = \"x\"\nsecret = \"a/#\"\n",
    ),
    ("", "[[case]]\ncall = \"a\"\nexpect = \"allow\"\n"),
    ("", "[[hosts]]\n"),
    ("hosts = [", "\"a#:1 tls\","),
    ("", "[plugin.a#]\n"),
];

fn grown() -> impl Strategy<Value = String> {
    (select(&GROWING[..]), 1..LONG).prop_map(|((head, piece), length)| {
        let mut text = head.to_owned();
        for number in 0.. {
            text.push_str(&piece.replace('#', &number.to_string()));
            if text.len() >= length {
                break;
            }
        }
        text
    })
}

fn texts(valid: &[&str]) -> impl Strategy<Value = String> + use<> {
    let words = [
        "rotation",
        "name",
        "plugin",
        "secret",
        "config",
        "hosts",
        "shapes",
        "case",
        "call",
        "configuration",
        "format",
    ];
    let valid = valid.iter().map(|text| (*text).to_owned()).collect();
    prop_oneof![3 => edited(valid), 2 => toml_text(&words), 1 => any_text(), 3 => grown()]
}

fn tree(text: &str) -> usize {
    FIXED + TREE * text.len()
}

#[test]
fn a_configuration() {
    let _turn = turn();
    let path = Path::new("keywheel.toml");
    let _ = Draft::read(CONFIGURATION, path).finish();
    holds("a configuration", 192, texts(&[CONFIGURATION]), |text| {
        held(tree(text), || {
            (
                keywheel_config::parse(text, path),
                Draft::read(text, path).finish(),
            )
        })
    });
}

#[test]
fn grants_pins_and_tables_of_cases() {
    let _turn = turn();
    holds("a grant", 192, texts(&[GRANT]), |text| {
        held(tree(text), || Grant::from_toml("grant.toml", text))
    });
    holds("pins", 192, texts(&[LOCK]), |text| {
        held(tree(text), || Lock::from_toml("keywheel.lock", text))
    });
    holds("a table of cases", 192, texts(&[TABLE]), |text| {
        held(tree(text), || Table::from_toml("table.toml", text))
    });
}

#[test]
fn a_manifest_and_its_schema() {
    let _turn = turn();
    let taken = Manifest::from_toml(MANIFEST, SCHEMA).expect("shipped");
    assert!(taken.validator().is_ok());
    holds("a manifest", 128, texts(&[MANIFEST]), |text| {
        held(tree(text) + MEMBER * SCHEMA.len(), || {
            Manifest::from_toml(text, SCHEMA)
        })
    });
    let schema = prop_oneof![
        edited(vec![SCHEMA.to_owned()]),
        json_text().prop_map(|json| json.to_string())
    ];
    holds("a schema", 128, schema, |schema| {
        held(tree(MANIFEST) + MEMBER * schema.len(), || {
            Manifest::from_toml(MANIFEST, schema).map(|manifest| manifest.validator().is_ok())
        })
    });
    let canonical = edited_bytes(vec![taken.to_canonical()]);
    holds("a canonical manifest", 128, canonical, |bytes| {
        held(MEMBER * bytes.len(), || Manifest::from_canonical(bytes))
    });
}

#[test]
fn a_component() {
    let _turn = turn();
    let manifest = Manifest::from_toml(MANIFEST, SCHEMA).expect("shipped");
    let bare = b"\0asm\x0d\0\x01\0".to_vec();
    let packed = pack(&bare, &manifest).expect("packed");
    // A section that says that it is longer than all there is.
    let lies = [&bare[..], b"\0\xff\xff\xff\xff\x07\x08manifest"].concat();
    holds(
        "a component",
        192,
        edited_bytes(vec![bare, packed, lies]),
        |bytes| {
            held(MEMBER * bytes.len(), || {
                (
                    read(bytes).map(|_| ()),
                    pack(bytes, &manifest).map(|packed| packed.len()),
                )
            })
        },
    );
}

/// Pieces of a document: what is in what, and how often.
fn nested() -> impl Strategy<Value = Vec<u8>> {
    (0..80_usize, 0..100_000_usize, 0..40_000_usize, any::<bool>()).prop_map(
        |(depth, name, values, objects)| {
            let name = "n".repeat(name);
            let (open, close) = if objects {
                (format!("{{\"{name}\":"), "}")
            } else {
                ("[".to_owned(), "]")
            };
            let inner = format!("{{\"{name}\":[{}]}}", vec!["1"; values].join(","));
            // A megabyte at the most: no secret is longer.
            let depth = depth.min(MIB / open.len());
            format!("{}{inner}{}", open.repeat(depth), close.repeat(depth)).into_bytes()
        },
    )
}

/// However long the document and its names are: so many values in a list that grows, and so many bytes of pointers; each once more, with room to spare, as
/// long as what is in it is looked at. Of the string that is found, the text and the secret that is made of it.
#[test]
fn places_in_a_json_document() {
    let _turn = turn();
    let most =
        |text: &Vec<u8>| 3 * MAX_POINTER_BYTES + 3 * MAX_VALUES * size_of::<json::Node>() + 4 * text.len();
    let valid = br#"{"username":"a","password":"p\u00e9\"","more":[1,-2.5e3,true,null,{"x~/y":""}]}"#;
    let documents = prop_oneof![
        3 => json_text().prop_map(|json| json.to_string().into_bytes()),
        3 => edited_bytes(vec![valid.to_vec()]),
        2 => nested(),
    ];
    holds("places in a document", 192, documents, |text| {
        let all = held(most(text), || json::scan(text));
        let one = held(most(text), || json::string_at(text, "/password"));
        if all.most > one.most { all } else { one }
    });
}

/// What an encoding writes has a documented length. Text that is no UTF-8 is mended first, three bytes for one; and what is written grows, so that for a moment
/// an older and a newer half are there.
#[test]
fn the_forms_of_a_secret() {
    let _turn = turn();
    let names = ENCODINGS.to_vec();
    let values = prop_oneof![
        vec(any::<u8>(), 0..300),
        (any::<u8>(), 1..70_000_usize).prop_map(|(byte, times)| vec![byte; times])
    ];
    holds(
        "the forms of a secret",
        256,
        (select(names), values),
        |(name, value)| {
            let encoding = Encoding::named(name).expect("known");
            held(3 * encoding.most(3 * value.len()) + 3 * value.len() + 64, || {
                let mut out = zeroize::Zeroizing::default();
                encoding.write(value, &mut out);
                out
            })
        },
    );
}

/// Whatever is put in: pieces up to their number, each with its head, and all of it twice, as pieces and as the frame.
#[test]
fn a_frame() {
    let _turn = turn();
    let moves = vec((0..4_u8, any::<u32>(), vec(any::<u8>(), 0..6_000)), 0..80);
    holds("a frame", 96, (moves, any::<bool>()), |(moves, ber)| {
        let piece = moves
            .iter()
            .map(|(_, _, bytes)| bytes.len())
            .max()
            .unwrap_or_default();
        held(4 * FRAME_LIMIT + 128 * PART_LIMIT + 2 * piece, || {
            let mut frame = Frame::new(if *ber { Framing::Ber } else { Framing::Resp });
            for (what, tag, bytes) in moves {
                let _ = match what {
                    0 => frame.open(tag % 256),
                    1 => frame.close(),
                    2 => frame.bytes(bytes),
                    _ => frame.secret(keywheel_model::SecretBytes::copy_of(bytes)),
                };
            }
            frame.finish()
        })
    });
}

#[test]
fn names_units_and_rules() {
    let _turn = turn();
    let long = "[a-z0-9./:-]{0,9}"
        .prop_flat_map(|piece| (1..3_000_usize).prop_map(move |times| piece.repeat(times)));
    let valid = [
        "app/db.main_1",
        "1d 2h 3m",
        "[::ffff:10.0.0.1]",
        "{/host}:{/port} tls",
        "/nodes/*/host",
        "sha256:61a8",
    ];
    let texts = prop_oneof![any_text(), long, edited(valid.map(str::to_owned).to_vec())];
    holds("names, units and rules", 512, texts, |text| {
        held(16 * KIB + 16 * text.len(), || {
            (
                text.parse::<SecretName>().is_ok(),
                text.parse::<PluginName>().is_ok(),
                text.parse::<RunId>().is_ok(),
                text.parse::<Host>().is_ok(),
                text.parse::<Digest>().is_ok(),
                text.parse::<Pointer>().is_ok(),
                text.parse::<keywheel_policy::HostRule>().is_ok(),
                text.parse::<keywheel_policy::SecretRule>().is_ok(),
                (
                    keywheel_config::parse_duration(text).is_ok(),
                    keywheel_config::parse_size(text).is_ok(),
                ),
                canonical_address(text),
            )
        })
    });
}
