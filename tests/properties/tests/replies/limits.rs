//! What a reply, an answer or a frame may be at most, by input that comes up to the limit and a little beyond it: at random hardly anything does.
//! Each of these says exactly on which side of it is taken.

use keywheel_model::SecretBytes;
use keywheel_properties::budget;
use keywheel_target::frame::{DEPTH_LIMIT, FRAME_LIMIT, Frame, Framing, PART_LIMIT};
use keywheel_target::postgres::{Access, RowLimits, Rows};
use keywheel_target::resp::{Bounds, Reply};
use keywheel_target::statement::{Dialect, Statement};
use keywheel_target::{Deadline, Error};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{DEADLINE, ask, elements, log_in, reply, run, written};
use crate::wire::{QUERY, conversation, done, field, message, sound};

/// What has this many arrays in it, one in the other; each has other elements, too, before or behind.
fn nested(depth: usize, before: &[bool]) -> Reply {
    (0..depth).fold(Reply::Integer(7), |inner, at| {
        let beside = Reply::Bulk(Some(vec![b'x'; at]));
        let items = if before[at % before.len()] {
            vec![beside, inner]
        } else {
            vec![inner, Reply::Simple("OK".to_owned())]
        };
        Reply::Array(Some(items))
    })
}

/// Many short strings, in arrays of their own or side by side.
fn many(lengths: &[usize], in_arrays: bool) -> Reply {
    let one = |length: &usize| {
        let bulk = Reply::Bulk(Some(vec![b'v'; *length]));
        if in_arrays {
            Reply::Array(Some(vec![bulk]))
        } else {
            bulk
        }
    };
    Reply::Array(Some(lengths.iter().map(one).collect()))
}

fn is_limit(read: &Result<Reply, Error>, word: &str) -> bool {
    matches!(read, Err(Error::Limit { what, .. }) if what.contains(word))
}

proptest! {
    #![proptest_config(budget(128))]

    #[test]
    fn a_reply_is_as_deep_as_the_limit_and_no_deeper(bound in select(vec![1_usize, 2, 3, 8]), over in -1..3_isize, before in vec(any::<bool>(), 1..4)) {
        let sent = nested(bound.saturating_add_signed(over), &before);
        let bounds = Bounds { depth: bound, ..Bounds::default() };
        let read = run(reply(written(&sent), bounds)).0;
        if over > 0 {
            prop_assert!(is_limit(&read, "depth"), "{:?}", read);
        } else {
            prop_assert_eq!(read.ok(), Some(sent));
        }
    }

    /// Of all of it together, whatever its parts are: each of them alone is far below.
    #[test]
    fn a_reply_has_as_many_bytes_as_the_limit_and_no_more(lengths in vec(0..40_usize, 20..60), in_arrays: bool, over in -2..3_isize) {
        let sent = many(&lengths, in_arrays);
        let bytes = written(&sent);
        // The limit itself is one too many.
        let bound = (bytes.len() + 1).saturating_add_signed(-over);
        let read = run(reply(bytes, Bounds { bytes: bound, ..Bounds::default() })).0;
        if over > 0 {
            prop_assert!(is_limit(&read, ""), "{} bytes over: {:?}", over, read);
        } else {
            prop_assert_eq!(read.ok(), Some(sent));
        }
    }

    #[test]
    fn a_reply_has_as_many_elements_as_the_limit_and_no_more(lengths in vec(0..3_usize, 1..40), in_arrays: bool, over in -2..3_isize) {
        let sent = many(&lengths, in_arrays);
        let bound = elements(&sent).saturating_add_signed(-over);
        let read = run(reply(written(&sent), Bounds { elements: bound, ..Bounds::default() })).0;
        if elements(&sent) > bound {
            prop_assert!(is_limit(&read, "elements"), "{:?}", read);
        } else {
            prop_assert_eq!(read.ok(), Some(sent));
        }
    }

    /// A prefix of the rows, as long as both limits allow; and what is cut is said.
    #[test]
    fn rows_are_kept_up_to_the_limits_and_no_further(lengths in vec(0..20_usize, 0..12), rows in 1..12_usize, bytes in 1..120_usize) {
        // Each row has a number of four bytes, too.
        let fits = |kept: usize| kept <= rows && lengths[..kept].iter().map(|length| length + 4).sum::<usize>() <= bytes;
        let kept = (0..=lengths.len()).take_while(|kept| fits(*kept)).last().expect("none fits always");
        let mut answers = sound();
        answers[QUERY] = rows_of(&lengths);
        let found = run(ask(answers, RowLimits { rows, bytes }, DEADLINE)).expect("rows");
        prop_assert_eq!(found.rows.len(), kept);
        prop_assert_eq!(found.truncated, kept < lengths.len());
    }
}

/// The answer to a query: rows whose texts are so long.
fn rows_of(lengths: &[usize]) -> Vec<u8> {
    let mut answer = described();
    for length in lengths {
        answer.extend(row(*length));
    }
    answer.extend(done("SELECT"));
    answer
}

fn described() -> Vec<u8> {
    let description = [&[0, 2][..], &field("name", 25), &field("count", 23)].concat();
    [
        message(b'1', b""),
        message(b'2', b""),
        message(b'T', &description),
    ]
    .concat()
}

fn row(length: usize) -> Vec<u8> {
    let size = u32::try_from(length).expect("short").to_be_bytes();
    let text = vec![b'x'; length];
    message(
        b'D',
        &[&[0, 2][..], &size, &text, &[0, 0, 0, 4, 0, 0, 0, 7]].concat(),
    )
}

/// What the host reads of an answer, in bytes.
const ANSWER: usize = 16 << 20;

/// Of what an answer of that size is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// Of one row.
    Row,
    /// Of rows of which most are cut.
    Rows,
    /// Of what the server notes beside it.
    Notices,
}

fn answer_of(made: Made, size: usize, part: usize) -> Vec<u8> {
    let mut answer = described();
    let end = done("SELECT");
    let room = size - answer.len() - end.len();
    let notice = || {
        let text = "n".repeat(part);
        message(b'N', format!("SNOTICE\0VNOTICE\0C00000\0M{text}\0\0").as_bytes())
    };
    let one = match made {
        Made::Row => row(room - row(0).len()),
        Made::Rows => row(part),
        Made::Notices => notice(),
    };
    answer.extend(one.repeat(room / one.len()));
    answer.extend(end);
    answer
}

/// Asks, and whether the session is of use afterwards.
async fn ask_much(answer: Vec<u8>) -> (Result<Rows, Error>, bool) {
    let mut answers = sound();
    answers[QUERY] = answer;
    // One that is never asked for: after the last one the server ends.
    answers.push(done("SELECT"));
    let port = conversation(answers, DEADLINE).await;
    let mut session = log_in(port).await.expect("a session");
    let mut statement = Statement::new(Dialect::Postgres);
    statement.text("SELECT name, count FROM t").expect("short");
    let deadline = Deadline::after(DEADLINE);
    let asked = session.query(&statement, Access::Read, RowLimits::default(), deadline);
    let asked = asked.await;
    (asked, session.is_usable())
}

proptest! {
    #![proptest_config(budget(4))]

    /// However many messages it is made of, and whether anybody wants them: the driver holds a message in memory before it can be looked at.
    #[test]
    fn no_more_of_an_answer_is_read_than_the_limit(below in 65_536..1_000_000_usize, above in 65_536..1_000_000_usize, part in 1_000..60_000_usize) {
        for made in [Made::Row, Made::Rows, Made::Notices] {
            let (asked, usable) = run(ask_much(answer_of(made, ANSWER - below, part)));
            let cut = asked.expect("rows").truncated;
            prop_assert_eq!((cut, usable), (made != Made::Notices, true), "{:?} below", made);
            let (asked, usable) = run(ask_much(answer_of(made, ANSWER + above + part, part)));
            prop_assert!(!usable, "{:?} above", made);
            match asked {
                // Enough rows had come, and the rest is what nobody wants.
                Ok(rows) => prop_assert!(made == Made::Rows && rows.truncated, "{:?}", made),
                Err(error) => {
                    prop_assert!(made != Made::Rows, "{:?}: {}", made, error);
                    prop_assert!(matches!(error, Error::Limit { what: "the answer", .. }), "{:?}: {}", made, error);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(budget(256))]

    #[test]
    fn a_frame_is_as_deep_as_the_limit_and_no_deeper(over in -2..4_isize, bytes in vec(any::<u8>(), 1..20)) {
        let depth = DEPTH_LIMIT.saturating_add_signed(over);
        let mut frame = Frame::new(Framing::Ber);
        let opened: Vec<bool> = (0..depth).map(|_| frame.open(0x30).is_ok()).collect();
        let expected: Vec<bool> = (0..depth).map(|at| at < DEPTH_LIMIT).collect();
        prop_assert_eq!(&opened, &expected);
        frame.bytes(&bytes).expect("short");
        for _ in opened.iter().filter(|opened| **opened) {
            frame.close().expect("one is open");
        }
        prop_assert!(frame.finish().is_ok());
    }

    /// With what the framing itself adds, and without a word of it before the end: that would tell how long a secret is.
    #[test]
    fn a_frame_is_as_long_as_the_limit_and_no_longer(lengths in vec(0..500_usize, 80..98), over in -2..3_isize) {
        let mut items = lengths.clone();
        let framed = |items: &[usize]| written(&many(items, false)).len();
        // The last one fills it up; it has five digits, and a number of five digits before it.
        let rest = FRAME_LIMIT.saturating_add_signed(over) - framed(&items) - "$00000\r\n\r\n".len();
        items.push(rest);
        prop_assert_eq!(framed(&items), FRAME_LIMIT.saturating_add_signed(over));
        let mut frame = Frame::new(Framing::Resp);
        for length in &items {
            frame.secret(SecretBytes::copy_of(&vec![b's'; *length])).expect("nothing is told");
        }
        prop_assert_eq!(frame.finish().is_ok(), over <= 0);
    }

    #[test]
    fn a_frame_has_as_many_pieces_as_the_limit_and_no_more(over in -2..3_isize, ber: bool) {
        let mut frame = Frame::new(if ber { Framing::Ber } else { Framing::Resp });
        let pieces = PART_LIMIT.saturating_add_signed(over);
        let taken = (0..pieces).filter(|_| frame.bytes(b"").is_ok()).count();
        prop_assert_eq!(taken, pieces.min(PART_LIMIT));
    }
}
