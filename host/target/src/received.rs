//! What has come over a stream and was not read yet, and how much of it may be shown to somebody who may not see the beginning of what
//! he may not see the whole of.
//!
//! Held back are the last bytes, as many as what is looked for is long (the window), for as long as more may follow them: their number
//! decides, never what is in them. They are free when nothing has followed for [`QUIET`], or when the stream has ended.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::channel::CHANNEL_LIMIT;

/// A sender who has been silent for so long has said what he had to say.
pub const QUIET: Duration = Duration::from_millis(20);
/// The same after more than [`LONG_BYTES`] without a pause: what one flight does not hold waits for a round trip.
pub const LONG_QUIET: Duration = Duration::from_millis(250);
/// Less than the first flight of a connection (ten segments, RFC 6928).
pub const LONG_BYTES: usize = 8 << 10;

/// Most that is looked at before any of it is free: there may be no end of line breaks, which count for nothing.
const MOST_BYTES: usize = 2 * CHANNEL_LIMIT;

/// Up to where somebody wants to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// What there is, up to so many bytes.
    Some(usize),
    /// Up to and including a delimiter, which comes within so many bytes.
    Until(Vec<u8>, usize),
}

impl Cut {
    /// In bytes.
    pub fn limit(&self) -> usize {
        let (Self::Some(limit) | Self::Until(_, limit)) = self;
        *limit
    }
}

/// What is free, seen by somebody who wants to read up to a [`Cut`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// So many bytes.
    At(usize),
    /// No delimiter within the limit.
    Beyond,
    /// Not enough, and more is held back; so much could be read.
    Held(usize),
    /// Not enough, and there is no more.
    Open,
}

/// See the module.
#[derive(Default)]
pub struct Received {
    bytes: Zeroizing<Vec<u8>>,
    /// How many of them were followed by silence.
    settled: usize,
    /// How many bytes have come since the last silence.
    burst: usize,
}

impl Received {
    /// Takes in what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.burst += bytes.len();
    }

    /// Nothing has come for [`Received::quiet`], or the stream has ended.
    pub fn settle(&mut self) {
        self.settled = self.bytes.len();
        self.burst = 0;
    }

    /// How long nothing must have come.
    pub fn quiet(&self) -> Duration {
        if self.burst > LONG_BYTES {
            LONG_QUIET
        } else {
            QUIET
        }
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes out the first bytes.
    pub fn take(&mut self, length: usize) -> Vec<u8> {
        let taken = self.bytes.drain(..length).collect();
        self.settled = self.settled.saturating_sub(length);
        taken
    }

    /// Whether what was taken out may be shown: enough has come after it, or nothing did.
    pub fn is_clear_of(&self, window: usize) -> bool {
        self.burst == 0 || before_last(&self.bytes, window).is_some() || self.bytes.len() >= MOST_BYTES
    }

    /// How much of what is free somebody may read who wants to read up to a cut.
    pub fn end(&self, cut: &Cut, window: usize) -> End {
        let free = before_last(&self.bytes, window).unwrap_or(0).max(self.settled);
        let (seen, limit) = (&self.bytes[..free], cut.limit());
        let held = free < self.bytes.len();
        let full = self.bytes.len() >= MOST_BYTES;
        match cut {
            Cut::Some(_) if free >= limit || free > 0 && (full || !held) => End::At(free.min(limit)),
            _ if full && free < limit => End::Beyond,
            Cut::Some(_) if held => End::Held(free),
            Cut::Some(_) => End::Open,
            Cut::Until(delimiter, _) => {
                let within = &seen[..free.min(limit)];
                let found = within
                    .windows(delimiter.len().max(1))
                    .position(|there| there == delimiter);
                match found {
                    Some(at) => End::At(at + delimiter.len()),
                    None if free >= limit => End::Beyond,
                    None if held => End::Held(0),
                    None => End::Open,
                }
            }
        }
    }
}

/// Where the last bytes begin, so many that `window` of them are no line breaks: who looks for something looks over those. None: there
/// are not so many.
pub fn before_last(bytes: &[u8], window: usize) -> Option<usize> {
    let mut left = window;
    for (at, byte) in bytes.iter().enumerate().rev() {
        if left == 0 {
            return Some(at + 1);
        }
        if !b"\r\n".contains(byte) {
            left -= 1;
        }
    }
    (left == 0).then_some(0)
}
