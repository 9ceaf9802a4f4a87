use crate::form::Form;

/// Why a connection string is not understood, or cannot be written. A place is a byte from the beginning; no value is in it, and no key but the one that
/// was asked for: what looks like a key may be the rest of a password that was not quoted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// In no known form.
    #[error(
        "this is no connection string: neither a URL, nor keys with values (`key=value;…`, `key=value …`), nor a server with options behind commas"
    )]
    Unknown,
    /// Two forms could be meant.
    #[error("this could be read as {first} and as {second}: quote what has a `;` or a space in it")]
    Ambiguous {
        /// One.
        first: Form,
        /// The other.
        second: Form,
    },
    /// The form is clear, the text is not.
    #[error("this is not {form} at byte {at}")]
    Malformed {
        /// What it was read as.
        form: Form,
        /// Where.
        at: usize,
    },
    /// No such part.
    #[error("there is no `{key}` in it, read as {form}")]
    Missing {
        /// What it was read as.
        form: Form,
        /// The part that was asked for.
        key: String,
    },
    /// A part that is there twice: clients disagree about which one counts.
    #[error("`{key}` stands in it twice, at bytes {first} and {second}: take one out")]
    Twice {
        /// The part that was asked for.
        key: String,
        /// Where one is.
        first: usize,
        /// Where the other is.
        second: usize,
    },
    /// The form cannot hold such a value.
    #[error("{form} has no way to write this value")]
    Unwritable {
        /// The form.
        form: Form,
    },
    /// A control character, which no form has a way to write.
    #[error("there is a control character at byte {at}")]
    Control {
        /// Where.
        at: usize,
    },
    /// More than [`crate::MAX_BYTES`].
    #[error("it is longer than 64 KiB")]
    TooLong,
}
