//! How a secret comes in: standard input, a file, or a prompt without echo. Never an option, never the environment: both
//! are seen by other processes and kept in histories.

use std::io;
use std::path::{Path, PathBuf};

use keywheel_model::SecretBytes;
use keywheel_server::{Ask, FileAction};
use zeroize::Zeroizing;

use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::Output;

/// A longer secret is refused.
const SECRET_BYTES_MAX: usize = 64 << 10;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Standard input; from a terminal it is asked for, without echo.
    Input,
    /// A file.
    File(PathBuf),
}

impl Source {
    /// `@FILE`, `-`, or nothing at all.
    ///
    /// # Errors
    /// Anything else may be the secret itself: it is refused and not repeated.
    pub(crate) fn parse(word: Option<&str>) -> Result<Self, Failure> {
        match word {
            // The second as other tools write it.
            None | Some("-" | "@-") => Ok(Self::Input),
            Some(word) => match word.strip_prefix('@') {
                Some(file) if !file.is_empty() => Ok(Self::File(file.into())),
                _ => {
                    let message = "a secret's value is never taken from the command line";
                    Err(Failure::new(ExitCode::Usage, "secret.on-command-line", message)
                        .hint("write `@FILE`, or send it to standard input; if that was the value, it is in your shell's history now"))
                }
            },
        }
    }

    /// Whether a person types it.
    pub(crate) fn is_prompt(&self, output: &Output) -> bool {
        *self == Self::Input && output.terminal().facts().stdin
    }

    /// Reads it. One line break at its end is not part of it.
    ///
    /// # Errors
    /// It cannot be read, is empty, or too long; or a person would have to be asked and may not be.
    pub(crate) fn read(&self, prompt: &str, output: &Output) -> Result<SecretBytes, Failure> {
        let bytes = match self {
            Self::File(path) => from_file(path, output)?,
            Self::Input if output.terminal().facts().stdin => from_prompt(prompt, output)?,
            Self::Input => {
                let read = output.terminal().ask(&Ask::Input(SECRET_BYTES_MAX), &[]);
                bounded(
                    read.map_err(|error| unread("standard input", &error))?,
                    "standard input",
                )?
            }
        };
        let bytes = without_line_break(&bytes);
        if bytes.is_empty() {
            return Err(Failure::new(
                ExitCode::Usage,
                "secret.empty",
                "there is nothing where the secret should be",
            )
            .hint("send the value to standard input, or name the file that has it: `@FILE`"));
        }
        Ok(SecretBytes::copy_of(bytes))
    }
}

fn from_file(path: &Path, output: &Output) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let shown = format!("\"{}\"", path.display());
    let ask = Ask::File(FileAction::Read(SECRET_BYTES_MAX), path.to_owned());
    let bytes = output.terminal().ask(&ask, &[]).map_err(|error| {
        let exit = if error.kind() == io::ErrorKind::NotFound {
            ExitCode::NotFound
        } else {
            ExitCode::Unexpected
        };
        Failure::because(exit, "secret.file", format!("cannot read {shown}"), &error)
    })?;
    bounded(bytes, &shown)
}

fn unread(what: &str, error: &io::Error) -> Failure {
    Failure::because(
        ExitCode::Unexpected,
        "secret.read",
        format!("cannot read {what}"),
        error,
    )
}

fn from_prompt(prompt: &str, output: &Output) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if !output.is_interactive() {
        let message = "a secret is needed, and nobody may be asked";
        return Err(
            Failure::new(ExitCode::Usage, "secret.no-input", message).hint("send it to standard input")
        );
    }
    let asked = output.terminal().ask(&Ask::Hidden(format!("{prompt}: ")), &[]);
    asked.map_err(|error| Failure::because(ExitCode::Unexpected, "secret.prompt", "cannot ask", &error))
}

/// One byte more than is allowed tells that there are more.
fn bounded(bytes: Zeroizing<Vec<u8>>, what: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if bytes.len() > SECRET_BYTES_MAX {
        let message = format!("{what} has more than the {SECRET_BYTES_MAX} bytes that a secret may have");
        return Err(Failure::new(ExitCode::Usage, "secret.too-large", message)
            .hint("is it the right file? A key or a certificate belongs in, an archive does not"));
    }
    Ok(bytes)
}

fn without_line_break(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Style;

    #[test]
    fn a_value_on_the_command_line_is_refused_and_not_repeated() {
        for word in ["hunter2-planted", "@", "hunter2-planted@file", ""] {
            let failure = Source::parse(Some(word)).unwrap_err();
            assert_eq!(failure.exit(), ExitCode::Usage);
            assert!(!failure.to_text(Style::PLAIN).contains("planted"));
        }
        assert_eq!(Source::parse(Some("@a/b")).unwrap(), Source::File("a/b".into()));
        assert_eq!(Source::parse(None).unwrap(), Source::Input);
    }

    #[test]
    fn one_line_break_at_the_end_is_dropped_and_no_more() {
        for (given, wanted) in [
            ("a", "a"),
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            (" a ", " a "),
            ("\n", ""),
        ] {
            assert_eq!(
                without_line_break(given.as_bytes()),
                wanted.as_bytes(),
                "{given:?}"
            );
        }
    }

    #[test]
    fn a_secret_over_the_limit_is_refused() {
        assert_eq!(
            bounded(Zeroizing::new(vec![1; SECRET_BYTES_MAX]), "it")
                .unwrap()
                .len(),
            SECRET_BYTES_MAX
        );
        assert!(bounded(Zeroizing::new(vec![1; SECRET_BYTES_MAX + 1]), "it").is_err());
    }
}
