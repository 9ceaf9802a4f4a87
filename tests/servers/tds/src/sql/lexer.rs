use crate::tokens::Problem;
use crate::value::same;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Not quoted.
    Word(String),
    /// `[…]` and `"…"`.
    Name(String),
    /// `'…'` and `N'…'`.
    Text(String),
    Number(i64),
    Bytes(Vec<u8>),
    /// `@…` and `@@…`.
    Variable(String),
    Sign(String),
}

/// The tokens of a text, and a place among them.
pub(super) struct Cursor {
    tokens: Vec<Token>,
    at: usize,
}

pub(super) fn syntax(near: &str) -> Problem {
    let mut problem = Problem::new(102, format!("Incorrect syntax near '{near}'."));
    problem.class = 15;
    problem
}

impl Cursor {
    pub(super) fn of(sql: &str) -> Result<Self, Problem> {
        let text: Vec<char> = sql.chars().collect();
        let (mut tokens, mut at) = (Vec::new(), 0);
        while let Some(&first) = text.get(at) {
            let next = text.get(at + 1).copied().unwrap_or(' ');
            match (first, next) {
                (c, _) if c.is_whitespace() => at += 1,
                ('-', '-') => at = find(&text, at, "\n").unwrap_or(text.len()),
                ('/', '*') => {
                    at = 2 + find(&text, at + 2, "*/")
                        .ok_or_else(|| Problem::new(113, "Missing end comment mark '*/'."))?;
                }
                ('N' | 'n', '\'') => {
                    at += 1;
                    tokens.push(Token::Text(quoted(&text, &mut at, '\'')?));
                }
                ('\'', _) => tokens.push(Token::Text(quoted(&text, &mut at, '\'')?)),
                ('"', _) => tokens.push(Token::Name(quoted(&text, &mut at, '"')?)),
                ('[', _) => tokens.push(Token::Name(quoted(&text, &mut at, ']')?)),
                ('0', 'x' | 'X') => {
                    at += 2;
                    tokens.push(Token::Bytes(hexadecimal(&taken(&text, &mut at, |c| {
                        c.is_ascii_hexdigit()
                    }))));
                }
                (c, _) if c.is_ascii_digit() => {
                    let digits = taken(&text, &mut at, |c| c.is_ascii_digit());
                    tokens.push(Token::Number(digits.parse().map_err(|_| syntax(&digits))?));
                }
                ('@', _) => {
                    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '@' | '_' | '#' | '$');
                    tokens.push(Token::Variable(taken(&text, &mut at, is_part).to_lowercase()));
                }
                (c, _) if c.is_alphabetic() || c == '_' || c == '#' => {
                    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '#' | '@' | '$');
                    tokens.push(Token::Word(taken(&text, &mut at, is_part)));
                }
                _ => {
                    let two: String = [first, next].iter().collect();
                    let is_two = ["<>", "<=", ">=", "!=", "::"].contains(&two.as_str());
                    at += if is_two { 2 } else { 1 };
                    tokens.push(Token::Sign(if is_two { two } else { first.to_string() }));
                }
            }
        }
        Ok(Self { tokens, at: 0 })
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    pub(super) fn after(&self, count: usize) -> Option<&Token> {
        self.tokens.get(self.at + count)
    }

    pub(super) fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(own)) if own.eq_ignore_ascii_case(word))
    }

    /// These words, all of them or none.
    pub(super) fn words(&mut self, words: &str) -> bool {
        let are = words.split(' ').enumerate().all(
            |(at, word)| matches!(self.after(at), Some(Token::Word(own)) if own.eq_ignore_ascii_case(word)),
        );
        if are {
            self.at += words.split(' ').count();
        }
        are
    }

    pub(super) fn sign(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Sign(own)) if own == sign);
        self.at += usize::from(is);
        is
    }

    pub(super) fn expect(&mut self, sign: &str) -> Result<(), Problem> {
        if self.sign(sign) {
            Ok(())
        } else {
            Err(self.wrong())
        }
    }

    pub(super) fn expect_words(&mut self, words: &str) -> Result<(), Problem> {
        if self.words(words) {
            Ok(())
        } else {
            Err(self.wrong())
        }
    }

    /// A name, quoted or not.
    pub(super) fn name(&mut self) -> Result<String, Problem> {
        match self.next() {
            Some(Token::Word(name) | Token::Name(name)) if !name.is_empty() => Ok(name),
            _ => {
                self.at -= 1;
                Err(self.wrong())
            }
        }
    }

    pub(super) fn text(&mut self) -> Result<String, Problem> {
        if let Some(Token::Text(text)) = self.next() {
            return Ok(text);
        }
        self.at -= 1;
        Err(self.wrong())
    }

    /// As the server says it: it quotes what it does not understand.
    pub(super) fn wrong(&self) -> Problem {
        let near = match self.peek() {
            Some(
                Token::Word(text)
                | Token::Name(text)
                | Token::Text(text)
                | Token::Variable(text)
                | Token::Sign(text),
            ) => text.clone(),
            Some(Token::Number(number)) => number.to_string(),
            Some(Token::Bytes(_)) => "0x".to_owned(),
            None => match self.tokens.last() {
                Some(Token::Word(text) | Token::Name(text) | Token::Text(text)) => text.clone(),
                _ => String::new(),
            },
        };
        syntax(&near)
    }
}

fn find(text: &[char], from: usize, what: &str) -> Option<usize> {
    let what: Vec<char> = what.chars().collect();
    (from..text.len()).find(|at| text[*at..].starts_with(&what))
}

fn taken(text: &[char], at: &mut usize, is_part: impl Fn(char) -> bool) -> String {
    let part: String = text[*at..].iter().copied().take_while(|c| is_part(*c)).collect();
    *at += part.chars().count();
    part
}

/// Up to the quote that is not doubled. A backslash at the end of a line is taken away with that, as the server does it.
fn quoted(text: &[char], at: &mut usize, end: char) -> Result<String, Problem> {
    let mut content = String::new();
    *at += 1;
    loop {
        match (text.get(*at).copied(), text.get(*at + 1).copied()) {
            (None, _) => {
                return Err(Problem::new(
                    105,
                    format!("Unclosed quotation mark after the character string '{content}'."),
                ));
            }
            (Some(c), Some(next)) if c == end && next == end => {
                content.push(c);
                *at += 2;
            }
            (Some(c), _) if c == end => {
                *at += 1;
                return Ok(content);
            }
            (Some('\\'), Some('\n')) if end == '\'' => *at += 2,
            (Some('\\'), Some('\r')) if end == '\'' && text.get(*at + 2) == Some(&'\n') => *at += 3,
            (Some(c), _) => {
                content.push(c);
                *at += 1;
            }
        }
    }
}

fn hexadecimal(digits: &str) -> Vec<u8> {
    let even = if digits.len().is_multiple_of(2) {
        digits.to_owned()
    } else {
        format!("0{digits}")
    };
    let byte = |at: usize| u8::from_str_radix(even.get(at..at + 2).unwrap_or_default(), 16).unwrap_or(0);
    (0..even.len()).step_by(2).map(byte).collect()
}

/// Whether a word begins a statement: nothing needs to stand between two of them.
pub(super) fn begins_statement(token: &Token) -> bool {
    const VERBS: [&str; 22] = [
        "ALTER", "BEGIN", "COMMIT", "CREATE", "DBCC", "DECLARE", "DENY", "DROP", "ELSE", "EXEC", "EXECUTE",
        "GRANT", "IF", "PRINT", "REVOKE", "ROLLBACK", "SAVE", "SELECT", "SET", "USE", "WAITFOR", "END",
    ];
    matches!(token, Token::Word(word) if VERBS.iter().any(|verb| same(verb, word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled_and_a_line_goes_on_after_a_backslash() {
        let text = |sql: &str| Cursor::of(sql).unwrap().text().unwrap();
        assert_eq!(text("N'a''b'"), "a'b");
        assert_eq!(text("'a\\\nb\\c\\\r\nd'"), "ab\\cd");
        assert_eq!(Cursor::of("[a]]b'c]").unwrap().name().unwrap(), "a]b'c");
        assert_eq!(Cursor::of("'open").err().unwrap().number, 105);
        assert_eq!(Cursor::of("-- x\n/* y */").unwrap().peek(), None);
        assert_eq!(
            Cursor::of("x 0xABC").unwrap().tokens[1],
            Token::Bytes(vec![0x0A, 0xBC])
        );
    }
}
