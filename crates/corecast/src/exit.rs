//! How the process ends: one place that sorts failures by who can fix them and gives each its exit code.

use std::fmt;
use std::process::ExitCode;

use crate::config::Problems;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration is wrong: exit code 78 (`EX_CONFIG`).
    Config(Problems),
    /// Something outside that is needed is not there, such as a free port or io_uring: exit code 69 (`EX_UNAVAILABLE`).
    Unavailable(String),
    /// A flag or argument whose value is wrong: exit code 2, as clap's.
    Usage(String),
    /// Anything else that went wrong at run time: exit code 1.
    Runtime(String),
}

impl Failure {
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Config(_) => 78,
            Self::Unavailable(_) => 69,
            Self::Usage(_) => 2,
            Self::Runtime(_) => 1,
        }
    }

    /// Says it on the standard error and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Config(problems) => {
                for problem in &problems.0 {
                    eprintln!("corecast: {problem}");
                }
            }
            Self::Unavailable(message) | Self::Usage(message) | Self::Runtime(message) => {
                eprintln!("corecast: {message}")
            }
        }
        ExitCode::from(self.code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(problems) => problems.fmt(formatter),
            Self::Unavailable(message) | Self::Usage(message) | Self::Runtime(message) => formatter.write_str(message),
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Config(problems)
    }
}
