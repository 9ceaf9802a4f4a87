use keywheel_target::received::before_last;

use super::Mask;

/// Line breaks without end are not kept.
const MOST_BYTES: usize = 64 << 10;

/// The end of what a guest was shown of a stream. What comes next is held back (`keywheel_target::received`) and looked through together
/// with it: a secret may straddle the border if it was not live yet when that was shown, or if the sender made a pause in it.
#[derive(Debug, Default)]
pub struct Shown {
    end: Vec<u8>,
}

/// A live secret is in the stream: nothing more of it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit(
    /// Ids of the secrets.
    pub Vec<String>,
);

impl Shown {
    /// Looks for secrets in all that waits to be shown.
    ///
    /// # Errors
    /// A secret was found.
    pub fn look(&self, mask: &Mask, waiting: &[u8]) -> Result<(), Hit> {
        let secrets = mask.find(&[self.end.as_slice(), waiting].concat());
        if secrets.is_empty() {
            Ok(())
        } else {
            Err(Hit(secrets))
        }
    }

    /// Takes note of what is shown.
    pub fn add(&mut self, mask: &Mask, bytes: &[u8]) {
        self.end.extend_from_slice(bytes);
        let past = before_last(&self.end, mask.window()).unwrap_or(0);
        let surplus = past.max(self.end.len().saturating_sub(MOST_BYTES));
        self.end.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use keywheel_model::SecretBytes;
    use keywheel_target::received::{Cut, End, Received};

    use super::*;
    use crate::Handle;
    use crate::handle::{Alphabet, Labels};

    const VALUE: &str = "planted-7f3\"/&planted";

    fn mask(value: &str) -> Mask {
        let mut mask = Mask::default();
        let labels = Labels::imported("text/plain", Alphabet::Text);
        mask.watch(&Handle::stored(
            "ver-1".to_owned(),
            SecretBytes::copy_of(value.as_bytes()),
            labels,
            None,
        ));
        mask
    }

    /// Numbers that are the same in every run (xorshift).
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % end as u64).unwrap()
        }

        fn letters(&mut self, most: usize) -> Vec<u8> {
            let length = self.below(most);
            (0..length)
                .map(|_| b"pla n\r\nqxyz\"+="[self.below(14)])
                .collect()
        }
    }

    /// The guest's side of a channel whose peer makes no pause.
    #[derive(Default)]
    struct Guest {
        received: Received,
        shown: Shown,
        seen: Vec<u8>,
    }

    impl Guest {
        /// Reads once; whether it was given something, or that a secret was found.
        fn reads(&mut self, mask: &Mask, cut: &Cut) -> Result<bool, Hit> {
            let end = self.received.end(cut, mask.window());
            self.shown.look(mask, self.received.bytes())?;
            let (End::At(length) | End::Held(length)) = end else {
                return Ok(false);
            };
            let bytes = self.received.take(length);
            self.shown.add(mask, &bytes);
            self.seen.extend_from_slice(&bytes);
            Ok(length > 0)
        }
    }

    fn cut(numbers: &mut Numbers) -> Cut {
        match numbers.below(4) {
            0 => Cut::Some(1),
            1 => Cut::Some(1 + numbers.below(400)),
            2 => Cut::Until(b"\n".to_vec(), 1 + numbers.below(400)),
            _ => Cut::Until(vec![b"pla nted"[numbers.below(8)]], 1 + numbers.below(400)),
        }
    }

    /// In lines of any length, with any number of breaks between them.
    fn in_lines(form: &str, numbers: &mut Numbers) -> Vec<u8> {
        let mut lines = Vec::new();
        for byte in form.bytes() {
            lines.extend_from_slice(&[byte]);
            if numbers.below(5) == 0 {
                lines.extend(std::iter::repeat_n(b'\n', numbers.below(300)));
            }
        }
        lines
    }

    #[test]
    fn no_byte_of_a_secret_is_shown_however_it_comes_and_is_read() {
        let mask = mask(VALUE);
        let coded = base64::engine::general_purpose::STANDARD.encode(VALUE);
        for seed in 1..=500 {
            let mut numbers = Numbers(seed);
            let before = numbers.letters(2_000);
            let form = match numbers.below(4) {
                0 => VALUE.as_bytes().to_vec(),
                1 => VALUE.bytes().rev().collect(),
                2 => VALUE.encode_utf16().flat_map(u16::to_le_bytes).collect(),
                _ => in_lines(&coded, &mut numbers),
            };
            let stream = [before.as_slice(), &form, &numbers.letters(2_000)].concat();
            let (mut guest, mut rest, mut hit) = (Guest::default(), stream.as_slice(), false);
            while !hit && !rest.is_empty() {
                let (chunk, after) = rest.split_at(rest.len().min(1 + numbers.below(700)));
                guest.received.push(chunk);
                rest = after;
                while !hit && numbers.below(8) > 0 {
                    hit = guest.reads(&mask, &cut(&mut numbers)).is_err();
                }
            }
            assert!(
                hit || guest.reads(&mask, &Cut::Some(1)).is_err(),
                "{seed}: not found"
            );
            assert!(stream.starts_with(&guest.seen), "{seed}: not the stream");
            assert!(guest.seen.len() <= before.len(), "{seed}: shown a part");
        }
    }

    /// What a guest gets, read in each of several ways, while the secret has not come in full.
    #[test]
    fn how_much_comes_through_does_not_depend_on_a_matching_beginning() {
        let mask = mask(VALUE);
        let ways = [
            Cut::Some(1),
            Cut::Some(1 << 20),
            Cut::Until(b"p".to_vec(), 1 << 20),
        ];
        for way in ways {
            let lengths = ["p", "plan", "planted-7f3\"/&plante", "pq"].map(|guess| {
                let mut guest = Guest::default();
                guest
                    .received
                    .push(format!("{}{guess:q<20}", "x".repeat(400)).as_bytes());
                while guest.reads(&mask, &way).unwrap() {}
                guest.seen.len()
            });
            assert!(
                lengths.iter().all(|length| *length == lengths[0]),
                "{way:?}: {lengths:?}"
            );
        }
    }

    /// A search for letters fails when they are not in what is free, not when they are not in what waits.
    #[test]
    fn a_delimiter_is_not_looked_for_in_what_is_held_back() {
        let window = mask(VALUE).window();
        for held in [&b"plan"[..], b"qqqq"] {
            let mut received = Received::default();
            received.push(held);
            for letter in b"plq" {
                let end = received.end(&Cut::Until(vec![*letter], 1), window);
                assert_eq!(end, End::Held(0));
            }
        }
    }

    #[test]
    fn what_silence_follows_is_shown() {
        let mask = mask(VALUE);
        let mut guest = Guest::default();
        guest.received.push(b"+OK\r\n+A");
        assert_eq!(guest.reads(&mask, &Cut::Some(100)), Ok(false));
        guest.received.settle();
        assert_eq!(guest.reads(&mask, &Cut::Until(b"\r\n".to_vec(), 100)), Ok(true));
        assert_eq!(guest.seen, b"+OK\r\n");
        // And nothing of what comes then.
        guest.received.push(b"GAIN\r\n");
        assert_eq!(guest.reads(&mask, &Cut::Some(100)), Ok(true));
        assert_eq!(guest.seen, b"+OK\r\n+A");
        assert_eq!(guest.reads(&mask, &Cut::Some(100)), Ok(false));
    }

    #[test]
    fn a_value_is_found_across_the_border_of_what_was_shown() {
        let mask = mask("planted-7f3");
        let mut shown = Shown::default();
        shown.add(&mask, b"echo plant");
        assert_eq!(shown.look(&mask, b"ed-7f3\n"), Err(Hit(vec!["ver-1".to_owned()])));
    }
}
