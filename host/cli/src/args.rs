//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::cmd;
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::Style;
use crate::terminal::{Own, Terminal as _};
use crate::visible::is_plain;

/// Rotates credentials: durably, without lock-outs, by sandboxed plugins that never see a password.
#[derive(Debug, Parser)]
#[command(
    name = "keywheel",
    version,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 10 needs attention, 20 configuration invalid, 40 rolled back, 41 needs a person; \
                  all of them: docs/reference/exit-codes.md"
)]
pub(crate) struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// The verb.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The configuration file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "keywheel.toml",
        help_heading = "Global options"
    )]
    pub(crate) config: PathBuf,
    /// How data is printed: for people, or one JSON document for programs
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT", help_heading = "Global options")]
    pub(crate) output: Format,
    /// Say less: only data, warnings and errors
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Global options"
    )]
    pub(crate) quiet: bool,
    /// Say more; twice for all
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,
    /// Never ask; fail instead
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) no_input: bool,
    /// When to use colours; `auto` is on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN", help_heading = "Global options")]
    pub(crate) color: Color,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // For people.
    Table,
    // For programs: one documented JSON document.
    Json,
}

/// When colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    // On a terminal, unless `NO_COLOR` is set.
    Auto,
    Always,
    Never,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new host: folders, a configuration to start from, the vault and its keys
    Init(cmd::init::Arguments),
    /// Print what needs attention, sorted by the time to harm
    Status(cmd::status::Arguments),
    /// Print what a rotation would do, step by step, and what would stop it; nothing is written
    Plan(cmd::plan::Arguments),
    /// Rotate credentials
    Rotate(cmd::rotate::Arguments),
    /// List and show runs, go on with one, take one back
    #[command(subcommand)]
    Run(cmd::run::Verb),
    /// Print when rotations run by themselves, and why
    #[command(subcommand)]
    Schedule(cmd::schedule::Verb),
    /// Look at secrets, bring one in, read one, go back to an older version
    #[command(subcommand)]
    Secret(cmd::secret::Verb),
    /// Test whether a target can be reached and rotated, and accepts the current credential
    #[command(subcommand)]
    Target(cmd::target::Verb),
    /// Check that targets still accept what the vault calls current, and put that on again where they do not
    #[command(subcommand)]
    Drift(cmd::drift::Verb),
    /// Look at plugins, pin one, pack one's manifest into its component
    #[command(subcommand)]
    Plugin(cmd::plugin::Verb),
    /// Check, explain and test what plugins are granted
    #[command(subcommand)]
    Policy(cmd::policy::Verb),
    /// Check, print and describe the configuration
    #[command(subcommand)]
    Config(cmd::config::Verb),
    /// Print how the vault stands, and open it
    #[command(subcommand)]
    Vault(cmd::vault::Verb),
    /// Search the audit trail, and check that it holds together
    #[command(subcommand)]
    Audit(cmd::audit::Verb),
    /// List who is told what needs a person, and try it
    #[command(subcommand)]
    Notify(cmd::notify::Verb),
    /// Run this host: start what is due, go on with what waits, answer commands, until it is stopped
    Serve(cmd::serve::Arguments),
    /// Look at everything that this host stands on
    Doctor,
    /// Print the completion script of a shell
    Completion(cmd::completion::Arguments),
}

impl Command {
    /// Whether somebody may give it who may approve runs, and no more.
    pub(crate) fn is_of_approvers(&self) -> bool {
        use cmd::run::Verb;
        matches!(
            self,
            Self::Run(Verb::List(_) | Verb::Show(_) | Verb::Approve(_) | Verb::Deny(_))
        )
    }

    /// Whether the state is looked at or changed: then the host that has it does it, if one is running. What must have the state to itself is refused
    /// by the state's lock.
    pub(crate) fn needs_state(&self) -> bool {
        match self {
            Self::Init(_) | Self::Serve(_) | Self::Completion(_) | Self::Policy(_) | Self::Config(_) => false,
            Self::Plugin(verb) => verb.needs_state(),
            Self::Vault(verb) => !matches!(verb, cmd::vault::Verb::Restore(_)),
            _ => true,
        }
    }
}

/// The longest line that is repeated of what somebody typed.
const LINE_CHARS_MAX: usize = 400;

/// Prints why a command line was not taken, as every other failure is printed, or the help that it asked for. What is wrong is repeated in a message:
/// a text that could paint on the terminal or fill it is not.
pub(crate) fn refused(error: &clap::Error) -> ExitCode {
    if error.exit_code() == 0 {
        // Nobody is left to be told when the stream is gone.
        let _ = error.print();
        return ExitCode::Ok;
    }
    let text = without_typed(error);
    if wants_json(std::env::args_os()) {
        Own.err(&usage(error.kind(), &text).to_json());
    } else if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Nothing of what was typed is in it.
        let _ = error.print();
    } else {
        Own.err(&usage(error.kind(), &text).to_text(Style::PLAIN));
    }
    ExitCode::Usage
}

/// What is wrong, without a word that may be a secret's value: one too many, or one that stands for a secret's name. Whoever typed it knows it; what is
/// printed may go into a log.
fn without_typed(error: &clap::Error) -> String {
    let text = error.to_string();
    let told = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    let argument = told(ContextKind::InvalidArg);
    let typed = match error.kind() {
        ErrorKind::UnknownArgument => argument.filter(|word| !word.starts_with('-')),
        ErrorKind::ValueValidation if argument.is_some_and(|place| place.contains("<NAME>")) => {
            told(ContextKind::InvalidValue)
        }
        _ => None,
    };
    match typed {
        Some(word) => text
            .replace(&format!("'{word}' "), "")
            .replace(&format!("'{word}'"), "it"),
        None => text,
    }
}

/// Whether `-o json` was among the words, although they were not taken as a whole.
fn wants_json(words: impl Iterator<Item = OsString>) -> bool {
    let mut is_format = false;
    for word in words.skip(1).take_while(|word| word != "--") {
        let word = word.to_string_lossy();
        if is_format && word == "json" || ["-ojson", "-o=json", "--output=json"].contains(&word.as_ref()) {
            return true;
        }
        is_format = word == "-o" || word == "--output";
    }
    false
}

/// A refused command line as the failure that every other command ends with: what is wrong is clap's first paragraph, its tips and the
/// usage are the way out.
fn usage(kind: ErrorKind, text: &str) -> Failure {
    let one_line = |part: &str| part.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut parts = text.split("\n\n").map(one_line).filter(|part| !part.is_empty());
    let mut message = parts.next().unwrap_or_default();
    if kind == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        "a command is missing".clone_into(&mut message);
    }
    let message = harmless(message.strip_prefix("error: ").unwrap_or(&message));
    let failure = Failure::new(ExitCode::Usage, "usage.invalid", message);
    let told = parts.filter_map(|part| {
        part.strip_prefix("tip: ")
            .map(str::to_owned)
            .or(part.starts_with("Usage: ").then_some(part))
    });
    let failure = told.fold(failure, |failure, hint| failure.hint(harmless(&hint)));
    failure.hint("`--help` after a command describes it")
}

/// A line that cannot paint on the terminal, and does not fill it.
fn harmless(line: &str) -> String {
    let shown = line.chars().map(|c| if is_plain(c) { c } else { '?' });
    let mut shown: String = shown.take(LINE_CHARS_MAX).collect();
    if line.chars().count() > LINE_CHARS_MAX {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_may_be_a_secret_is_not_repeated_and_a_mistyped_option_is() {
        let said = |words: &[&str]| {
            let error = Cli::try_parse_from([&["keywheel"], words].concat()).unwrap_err();
            usage(error.kind(), &without_typed(&error)).to_text(Style::PLAIN)
        };
        for words in [
            &["secret", "import", "a/b", "-", "hunter2 <x>"][..],
            &["secret", "import", "a/b", "--value", "hunter2 <x>"],
            &["vault", "unseal", "--passphrase", "hunter2 <x>"],
            &["secret", "import", "hunter2 <x>"],
            &["secret", "read", "hunter2 <x>", "--reason", "test"],
        ] {
            let said = said(words);
            assert!(!said.contains("hunter2") && said.contains("hint: "), "{said}");
        }
        assert!(said(&["rotate", "--plan", "--nope"]).contains("'--nope'"));
        assert!(said(&["rotaet"]).contains("'rotaet'"));
    }
}
