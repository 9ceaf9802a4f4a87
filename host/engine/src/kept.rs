//! What is kept beside the journal as JSON, each under a key of its own; an empty text is none.

use serde::de::DeserializeOwned;

use crate::Error;

/// What stands under a key.
///
/// # Errors
/// [`keywheel_store::Error::Unreadable`], with the key.
pub(crate) fn kept<T: DeserializeOwned>(key: &str, text: Option<String>) -> Result<Option<T>, Error> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let read = serde_json::from_str(&text).map(Some);
    Ok(read.map_err(|_| keywheel_store::Error::Unreadable { what: key.to_owned() })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_text_is_none_and_one_that_cannot_be_read_is_no_such_thing() {
        let read = |text: Option<&str>| kept::<Vec<u8>>("some-key", text.map(str::to_owned));
        assert_eq!(read(None).unwrap(), None);
        assert_eq!(read(Some("")).unwrap(), None);
        assert_eq!(read(Some("[1, 2]")).unwrap(), Some(vec![1, 2]));
        assert!(read(Some("[1,")).is_err());
    }
}
