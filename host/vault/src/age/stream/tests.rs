use super::*;

fn file(recipient: Recipient, payload: &[u8]) -> Vec<u8> {
    let other = Stanza {
        words: vec!["keywheel-test".to_owned(), "word".to_owned()],
        body: vec![7; 48],
    };
    let mut sealer = Sealer::begin(Vec::new(), &[recipient], |_| Ok(vec![other]))
        .expect("keys")
        .expect("a vector takes it");
    sealer.write_all(payload).expect("payload");
    sealer.finish().expect("end")
}

fn open(identity: &Identity, file: &[u8]) -> Result<Vec<u8>, String> {
    let mut opener = Opener::begin(file, |stanzas| {
        stanzas
            .iter()
            .find_map(|stanza| stanza.open(identity))
            .ok_or(Error::WrongKey { what: "the identity" })
    })
    .map_err(|error| error.to_string())?;
    let mut payload = Vec::new();
    opener
        .read_to_end(&mut payload)
        .map_err(|error| error.to_string())?;
    Ok(payload)
}

fn payload(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from(at % 251).unwrap_or(0))
        .collect()
}

#[test]
fn a_payload_of_every_length_around_a_chunk_comes_back() {
    let identity = Identity::generate().expect("identity");
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 17] {
        let sealed = file(identity.recipient(), &payload(length));
        assert_eq!(open(&identity, &sealed), Ok(payload(length)), "{length}");
    }
}

/// One chunk is what the recovery slot holds: the two writers of the format agree.
#[test]
fn the_reader_of_slots_and_this_one_read_the_same_format() {
    let identity = Identity::generate().expect("identity");
    let secret = keywheel_model::SecretBytes::copy_of(b"root");
    let slot = super::super::encrypt(identity.recipient(), &secret).expect("slot");
    assert_eq!(open(&identity, &slot), Ok(b"root".to_vec()));
}

#[test]
fn what_was_altered_cut_lengthened_or_moved_does_not_open() {
    let identity = Identity::generate().expect("identity");
    let whole = file(identity.recipient(), &payload(2 * CHUNK + 100));
    let body = whole.len() - (2 * (CHUNK + TAG) + 100 + TAG);
    for at in [
        0,
        30,
        60,
        120,
        body - 17,
        body - 1,
        body,
        body + CHUNK,
        whole.len() - 1,
    ] {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        assert!(open(&identity, &altered).is_err(), "{at}");
    }
    for length in [
        0,
        10,
        body - 16,
        body,
        body + CHUNK + TAG,
        body + 2 * (CHUNK + TAG),
        whole.len() - 1,
    ] {
        assert!(open(&identity, &whole[..length]).is_err(), "{length}");
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert!(open(&identity, &longer).is_err());
    let (head, chunks) = whole.split_at(body);
    let (first, rest) = chunks.split_at(CHUNK + TAG);
    let (second, last) = rest.split_at(CHUNK + TAG);
    assert!(open(&identity, &[head, second, first, last].concat()).is_err());
    assert_eq!(
        open(&identity, &[head, first, second, last].concat()).map(|all| all.len()),
        Ok(2 * CHUNK + 100)
    );
}

#[test]
fn another_identity_opens_nothing_and_a_header_without_an_end_is_bounded() {
    let (identity, other) = (
        Identity::generate().expect("one"),
        Identity::generate().expect("two"),
    );
    let sealed = file(identity.recipient(), b"payload");
    assert!(
        open(&other, &sealed)
            .expect_err("another")
            .contains("does not open")
    );
    let endless = format!("{VERSION_LINE}-> x\n{}", "A".repeat(1 << 20));
    assert!(open(&identity, endless.as_bytes()).is_err());
}
