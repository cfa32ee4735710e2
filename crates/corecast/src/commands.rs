//! The small commands that read the configuration and print something.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use crate::cli::{CheckArgs, Role};
use crate::config::{Origins, Settings, load, validate};
use crate::exit::Failure;

/// `checkconfig`: reads everything, checks the relations, and says so.
pub(crate) fn check(args: &CheckArgs, env: &BTreeMap<String, String>) -> Result<(), Failure> {
    let file = load::file_to_read(args.config.as_deref(), env);
    let (settings, origins) = read(args.role, args.config.as_deref(), env)?;
    validate::check(&settings, &origins, args.role)?;
    let read = file.map_or_else(|| "no file".to_owned(), |path| path.display().to_string());
    print(&format!("The configuration is valid: {read}, {} settings differ from their defaults.\n", origins.len()))
}

/// The settings from a role's defaults, file and environment, before flags.
pub(crate) fn read(
    role: Option<Role>,
    file: Option<&Path>,
    env: &BTreeMap<String, String>,
) -> Result<(Settings, Origins), Failure> {
    let mut settings = Settings::of_role(role);
    let file = load::file_to_read(file, env);
    let origins = load::load(&mut settings, file.as_deref(), env)?;
    Ok((settings, origins))
}

/// Prints data to the standard output. A reader that goes away early (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Runtime(format!("cannot write to the standard output: {error}")))
        }
        _ => Ok(()),
    }
}
