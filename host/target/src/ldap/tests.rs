use super::*;

fn message(operation: u8, content: &[u8], controls: &[u8]) -> Vec<u8> {
    tlv(
        SEQUENCE,
        &[&tlv(INTEGER, &[2]), &tlv(operation, content), controls].concat(),
    )
}

fn result(code: u32, words: &[u8]) -> Vec<u8> {
    [
        tlv(ENUMERATED, &integer(code)),
        tlv(OCTETS, &[]),
        tlv(OCTETS, words),
    ]
    .concat()
}

fn policy(error: u8) -> Vec<u8> {
    let value = tlv(SEQUENCE, &tlv(0x81, &[error]));
    let control = [tlv(OCTETS, PASSWORD_POLICY), tlv(OCTETS, &value)].concat();
    tlv(CONTROLS, &tlv(SEQUENCE, &control))
}

fn bound(code: u32, controls: &[u8]) -> Bound {
    Answer::parse(message(BIND_RESPONSE, &result(code, b"words"), controls))
        .unwrap()
        .bound()
}

#[test]
fn a_bind_says_what_it_says_of_the_password_and_nothing_else_does() {
    assert_eq!(bound(0, &[]), Bound::Accepted);
    assert_eq!(bound(0, &policy(2)), Bound::MustChange);
    assert_eq!(bound(49, &[]), Bound::Rejected);
    assert_eq!(
        (bound(49, &policy(0)), bound(49, &policy(1))),
        (Bound::Account, Bound::Account)
    );
    for code in [10, 14, 34, 48, 53, 80] {
        assert_eq!(bound(code, &[]), Bound::Unknown, "{code}");
    }
    // A success of anything else is no login.
    for operation in RESULTS
        .into_iter()
        .filter(|operation| *operation != BIND_RESPONSE)
    {
        let answer = Answer::parse(message(operation, &result(0, &[]), &[])).unwrap();
        assert_eq!(answer.bound(), Bound::Unknown);
    }
}

#[test]
fn a_status_has_none_of_the_servers_words() {
    let answer = Answer::parse(message(0x67, &result(19, b"hunter2 is in history"), &policy(8))).unwrap();
    let status = answer.status();
    assert!(!status.windows(7).any(|seven| seven == b"hunter2"));
    let again = Answer::parse(status).unwrap();
    assert_eq!((again.code, again.policy, again.id), (Some(19), Some(8), 2));
    assert_eq!(again.values().concat().len(), 1 + 1 + PASSWORD_POLICY.len() + 5);
    // An error that the policy does not know says nothing.
    assert_eq!(
        Answer::parse(message(0x67, &result(19, &[]), &policy(9)))
            .unwrap()
            .policy,
        None
    );
}

#[test]
fn what_a_failing_server_says_is_no_refusal() {
    let effect = |code| {
        Answer::parse(message(0x67, &result(code, &[]), &[]))
            .unwrap()
            .effect()
    };
    assert!([0, 5, 6].iter().all(|code| effect(*code) == Effect::Applied));
    assert!(
        [16, 19, 20, 32, 50, 51, 53, NO_OPERATION]
            .iter()
            .all(|code| effect(*code) == Effect::None)
    );
    assert!(
        [1, 3, 52, 80, 81, 4096]
            .iter()
            .all(|code| effect(*code) == Effect::Maybe)
    );
}

#[test]
fn an_entry_is_a_part_and_its_values_are_found() {
    let list = [
        tlv(OCTETS, b"cn"),
        tlv(0x31, &[tlv(OCTETS, b"one"), tlv(OCTETS, b"two")].concat()),
    ]
    .concat();
    let entry = [tlv(OCTETS, b"cn=app"), tlv(SEQUENCE, &tlv(SEQUENCE, &list))].concat();
    let answer = Answer::parse(message(0x64, &entry, &[])).unwrap();
    assert!(!answer.is_last() && answer.status().is_empty());
    assert_eq!(answer.effect(), Effect::Maybe);
    assert_eq!(answer.values(), [&[2][..], b"cn=app", b"cn", b"one", b"two"]);
}

#[test]
fn what_is_cut_off_padded_bottomless_or_no_answer_is_refused() {
    let good = message(BIND_RESPONSE, &result(0, &[]), &[]);
    assert!(Answer::parse(good.clone()).is_some());
    let mut bad = vec![
        Vec::new(),
        good[..good.len() - 1].to_vec(),
        [good.as_slice(), &[0]].concat(),
        // A request; a result without a code; a negative one; an endless length; too many octets of it.
        message(0x60, &result(0, &[]), &[]),
        message(BIND_RESPONSE, &[], &[]),
        message(BIND_RESPONSE, &[0x0a, 1, 0xff, 4, 0, 4, 0], &[]),
        vec![0x30, 0x80, 0, 0],
        vec![0x30, 0x85, 0, 0, 0, 0, 0],
        vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        message(BIND_RESPONSE, &result(0, &[]), &tlv(OCTETS, b"after")),
    ];
    let mut deep = tlv(OCTETS, b"x");
    for _ in 0..DEPTH {
        deep = tlv(SEQUENCE, &deep);
    }
    bad.push(message(0x64, &deep, &[]));
    for bytes in bad {
        assert_eq!(Answer::parse(bytes.clone()), None, "{bytes:02x?}");
    }
}

#[test]
fn numbers_are_written_as_short_as_they_can_be() {
    for (number, octets) in [
        (0, &[0][..]),
        (127, &[127]),
        (128, &[0, 128]),
        (16654, &[0x41, 0x0e]),
    ] {
        assert_eq!(integer(number), octets);
        assert_eq!(super::number(octets), Some(number));
    }
    assert_eq!(super::number(&integer(u32::MAX)), None);
}
