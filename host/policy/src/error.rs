use keywheel_manifest::reader::Problem;
use keywheel_model::{PluginName, RotationName};

/// Why policies or the lock file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file has problems; all of them.
    #[error("{file} has {} problem(s):{}", .problems.len(), list(.file, .problems))]
    Invalid {
        /// The file, as the caller named it.
        file: String,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// Two files grant the same.
    #[error("{first} and {second} both grant {}", subject(.plugin, .rotation.as_ref()))]
    Twice {
        /// One file.
        first: String,
        /// The other.
        second: String,
        /// The plugin.
        plugin: PluginName,
        /// The rotation, where the grant is for one.
        rotation: Option<RotationName>,
    },
}

fn list(file: &str, problems: &[Problem]) -> String {
    let line = |problem: &Problem| {
        format!(
            "\n  {file}:{}{problem}",
            if problem.at.is_some() { "" } else { " " }
        )
    };
    problems.iter().map(line).collect()
}

fn subject(plugin: &PluginName, rotation: Option<&RotationName>) -> String {
    rotation.map_or_else(
        || format!("the plugin {plugin}"),
        |rotation| format!("the plugin {plugin} in the rotation {rotation}"),
    )
}

impl Error {
    /// Stable, dotted, lower case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "policy.invalid",
            Self::Twice { .. } => "policy.granted-twice",
        }
    }

    /// The way out.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Invalid { .. } => "correct each line; nothing of the file is in force until then",
            Self::Twice { .. } => {
                "keep one of the files; a grant for one rotation names it: `rotation = \"…\"`"
            }
        };
        Some(hint.to_owned())
    }
}
