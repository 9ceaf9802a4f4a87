use super::Mask;

/// A stream on its way to a guest. What was received is released only when it lies further back than the longest form of any
/// secret, or when the sender is known to have ended its message; and never if anything received so far holds a secret. So the
/// pieces in which a stream arrives, or in which the guest asks for it, tell nothing, and a prefix never comes through.
#[derive(Debug, Default)]
pub struct HoldBack {
    held: Vec<u8>,
    /// The end of what was released: a secret may straddle the border if it was not live yet when that was released.
    released: Vec<u8>,
}

/// A live secret is in the stream: nothing more of it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit(
    /// Ids of the secrets.
    pub Vec<String>,
);

impl HoldBack {
    /// Takes in what was received.
    pub fn push(&mut self, received: &[u8]) {
        self.held.extend_from_slice(received);
    }

    /// Bytes that are held.
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// Looks for secrets in what was received together with what comes after it, which is not taken in.
    ///
    /// # Errors
    /// A secret was found.
    pub fn look_ahead(&self, mask: &Mask, after: &[u8]) -> Result<(), Hit> {
        let secrets = mask.find(&[self.released.as_slice(), &self.held, after].concat());
        if secrets.is_empty() {
            Ok(())
        } else {
            Err(Hit(secrets))
        }
    }

    /// Releases up to `limit` bytes. `ended`: the sender's message is complete, so that its end need not be held back.
    ///
    /// # Errors
    /// A secret was found: nothing is released, now or later.
    pub fn release(&mut self, mask: &Mask, ended: bool, limit: usize) -> Result<Vec<u8>, Hit> {
        let seen = [self.released.as_slice(), &self.held].concat();
        let secrets = mask.find(&seen);
        if !secrets.is_empty() {
            return Err(Hit(secrets));
        }
        let window = mask.longest().saturating_sub(1);
        let free = if ended {
            self.held.len()
        } else {
            self.held.len().saturating_sub(window)
        };
        let rest = self.held.split_off(free.min(limit));
        let out = std::mem::replace(&mut self.held, rest);
        self.released.extend_from_slice(&out);
        let surplus = self.released.len().saturating_sub(window);
        self.released.drain(..surplus);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use keywheel_model::SecretBytes;

    use super::*;
    use crate::Handle;
    use crate::handle::{Alphabet, Labels};

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

    /// How many bytes of an answer come through, byte by byte, until it is held or hit.
    fn released(mask: &Mask, answer: &str) -> usize {
        let mut hold = HoldBack::default();
        let mut released = 0;
        for byte in answer.bytes() {
            hold.push(&[byte]);
            match hold.release(mask, false, 1) {
                Ok(out) => released += out.len(),
                Err(Hit(_)) => break,
            }
        }
        released
    }

    #[test]
    fn a_value_is_found_across_the_borders_of_chunks() {
        let mask = mask("planted-7f3");
        let mut hold = HoldBack::default();
        hold.push(b"echo plant");
        assert!(hold.release(&mask, false, 100).unwrap().len() < 5);
        hold.push(b"ed-7f3\n");
        assert_eq!(hold.release(&mask, true, 100), Err(Hit(vec!["ver-1".to_owned()])));
    }

    #[test]
    fn how_much_comes_through_does_not_depend_on_a_matching_prefix() {
        let mask = mask("planted-7f3-planted");
        let filler = "x".repeat(200);
        let lengths: Vec<usize> = ["p", "plan", "planted-7f3-plante", "qqqqqqqqqqqqqqqqqq"]
            .map(|guess| released(&mask, &format!("{filler}{guess:q<18}")))
            .into();
        assert!(
            lengths.iter().all(|length| *length == lengths[0] && *length > 0),
            "{lengths:?}"
        );
    }

    #[test]
    fn the_end_of_a_message_is_released() {
        let mask = mask("planted-7f3");
        let mut hold = HoldBack::default();
        hold.push(b"+OK\r\n");
        assert_eq!(hold.release(&mask, false, 100).unwrap(), b"");
        assert_eq!(hold.release(&mask, true, 100).unwrap(), b"+OK\r\n");
    }
}
