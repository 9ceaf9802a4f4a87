//! Connection strings as applications have them: read by the rules of whoever reads them, one part replaced, the rest byte for byte.
//!
//! The text is secret, and so is every value in it: nothing here shows either, and an error names places and forms alone.

#![forbid(unsafe_code)]

mod error;
mod form;
mod key;
pub mod quote;

use std::ops::Range;

use zeroize::Zeroizing;

pub use error::Error;
pub use form::Form;
pub use key::canonical;

use form::Quoting;

/// The longest text that is read, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;

/// A connection string that was understood.
pub struct ConnectionString<'t> {
    text: &'t str,
    form: Form,
    pairs: Vec<Pair>,
}

/// One value of it.
struct Pair {
    /// As the text has it, or what it stands for where it is found by its place.
    key: String,
    /// Where the value is, with its quotes.
    value: Range<usize>,
    quoting: Quoting,
}

impl<'t> ConnectionString<'t> {
    /// Reads a text in whatever form it is.
    ///
    /// # Errors
    /// It is in no known form, or could be read in two ways, or is too long.
    pub fn parse(text: &'t str) -> Result<Self, Error> {
        check(text)?;
        let (form, pairs) = form::read(text)?;
        Ok(Self { text, form, pairs })
    }

    /// Reads a text in this form.
    ///
    /// # Errors
    /// It is not in that form, or is too long.
    pub fn parse_as(form: Form, text: &'t str) -> Result<Self, Error> {
        check(text)?;
        let pairs = form.read(text)?;
        Ok(Self { text, form, pairs })
    }

    /// Its form.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The value of a part: `password`, `user`, `host`, `port`, `database` under whatever name the form has for it, or any other key as it
    /// stands there.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Twice`].
    pub fn part(&self, key: &str) -> Result<Zeroizing<String>, Error> {
        let pair = self.find(key)?;
        pair.quoting
            .read(&self.text[pair.value.clone()])
            .ok_or(Error::Malformed {
                form: self.form,
                at: pair.value.start,
            })
    }

    /// How the value of a part stands there: quoted or encoded as the form has it, without the quotes around it.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Twice`].
    pub fn written(&self, key: &str) -> Result<&'t str, Error> {
        let pair = self.find(key)?;
        Ok(self.text[pair.value.clone()].trim_matches(['\'', '"', '{', '}']))
    }

    /// The same string with another value of a part, which is quoted as the form wants it. Every other byte stays.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Twice`]; [`Error::Unwritable`] where the form has no way to write that value.
    pub fn with_part(&self, key: &str, value: &str) -> Result<Zeroizing<String>, Error> {
        let pair = self.find(key)?;
        let unwritable = || Error::Unwritable { form: self.form };
        let written = pair.quoting.write(value).ok_or_else(unwritable)?;
        let (before, after) = (&self.text[..pair.value.start], &self.text[pair.value.end..]);
        let mut made = Zeroizing::new(String::with_capacity(before.len() + written.len() + after.len()));
        for piece in [before, written.as_str(), after] {
            made.push_str(piece);
        }
        // Whoever reads it next finds that value there, and as many others as before.
        let is_there = |again: ConnectionString<'_>| {
            again.pairs.len() == self.pairs.len() && again.part(key).is_ok_and(|part| part.as_str() == value)
        };
        // And takes it for what it was, where nobody says what it is.
        let is_known = |text: &str| form::read(text).is_ok_and(|(form, _)| form == self.form);
        let stays = is_known(&made) || !is_known(self.text);
        if stays && ConnectionString::parse_as(self.form, &made).is_ok_and(is_there) {
            Ok(made)
        } else {
            Err(unwritable())
        }
    }

    fn find(&self, key: &str) -> Result<&Pair, Error> {
        let mut found = self
            .pairs
            .iter()
            .filter(|pair| key::is_same(self.form, &pair.key, key));
        let first = found.next().ok_or_else(|| Error::Missing {
            form: self.form,
            key: key.to_owned(),
        })?;
        match found.next() {
            None => Ok(first),
            Some(second) => Err(Error::Twice {
                key: key.to_owned(),
                first: first.value.start,
                second: second.value.start,
            }),
        }
    }
}

fn check(text: &str) -> Result<(), Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::TooLong);
    }
    match text.find(char::is_control) {
        Some(at) => Err(Error::Control { at }),
        None => Ok(()),
    }
}
