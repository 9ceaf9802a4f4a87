//! Texts as long as a receiver takes them: never cut within a character, nor within what stands for one.

/// What follows a text that was cut.
const CUT: &str = "… (shortened)";

/// Writes what stands for a character.
pub(crate) type Escape = fn(char, &mut String);

/// As it is.
pub(crate) fn plain(character: char, into: &mut String) {
    into.push(character);
}

/// The text, each character as `escape` writes it, in `most` units of UTF-16 at most: what some receivers count is that, and with none of the others it
/// is less than what they count. Control characters other than a line's end are spaces.
pub(crate) fn shortened(text: &str, most: usize, escape: Escape) -> String {
    let mut whole = String::with_capacity(text.len().min(4 * most));
    // So much of it is left when it is cut, and how long that is.
    let mut kept = 0;
    let mut units = 0;
    let room = most.saturating_sub(CUT.encode_utf16().count());
    let mut piece = String::new();
    for character in text.chars() {
        piece.clear();
        match character {
            '\n' => piece.push('\n'),
            character if character.is_control() => piece.push(' '),
            character => escape(character, &mut piece),
        }
        units += piece.encode_utf16().count();
        if units > most {
            whole.truncate(kept);
            whole.push_str(CUT);
            return whole;
        }
        whole.push_str(&piece);
        if units <= room {
            kept = whole.len();
        }
    }
    whole
}

/// The same in one line.
pub(crate) fn one_line(text: &str, most: usize, escape: Escape) -> String {
    shortened(&text.replace('\n', " "), most, escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(character: char, into: &mut String) {
        match character {
            '&' => into.push_str("&amp;"),
            other => into.push(other),
        }
    }

    #[test]
    fn what_fits_is_as_it_is() {
        assert_eq!(shortened("a & b\r\n\u{1b}[1m", 100, escaped), "a &amp; b \n [1m");
        assert_eq!(shortened(&"&".repeat(20), 100, escaped), "&amp;".repeat(20));
        assert_eq!(one_line("a\nb", 9, plain), "a b");
    }

    /// At every length: within the limit, whole characters, whole escapes.
    #[test]
    fn what_does_not_is_cut_between_two_characters() {
        let text = "ä&𝄞e\u{301}".repeat(30);
        for most in 20..160 {
            let cut = shortened(&text, most, escaped);
            assert!(cut.encode_utf16().count() <= most, "{most}: {cut}");
            let kept = cut.strip_suffix(CUT).unwrap();
            assert!(text.starts_with(&kept.replace("&amp;", "&")), "{most}: {cut}");
            assert!(!kept.replace("&amp;", "").contains('&'), "{most}: {cut}");
            // And no more is lost than has to be.
            assert!(cut.encode_utf16().count() + 5 > most, "{most}: {cut}");
        }
    }
}
