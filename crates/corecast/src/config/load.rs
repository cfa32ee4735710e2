//! Reads the configuration: defaults, then the file, then the environment. (Flags are set by the command line afterwards.)
//!
//! Invariants worth naming:
//! - Nothing is ignored: an unknown section, key or `CORECAST_` variable is an error that names the place and the nearest
//!   known name. All problems are reported together, not one per run.
//! - The environment is an argument; this module reads the file, and no clock, no network.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Settings;
use super::schema::{ENV_PREFIX, env_name};

/// The file that is read if none is named and this one exists.
pub(crate) const DEFAULT_FILE: &str = "/etc/corecast/corecast.toml";
/// Names the file, as `--config` does.
pub(crate) const ENV_CONFIG: &str = "CORECAST_CONFIG";
/// Used around the server by tests and scripts, which it inherits, and by `corecast load`; no settings.
const NOT_SETTINGS: [&str; 5] =
    [ENV_CONFIG, "CORECAST_BIN", "CORECAST_ARTEFACTS", "CORECAST_LOAD_TOKEN", "CORECAST_LOAD_SECRET"];

/// Where a value came from; defaults have no entry in [`Origins`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    File { path: PathBuf, line: usize },
    Env(String),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(formatter, "{}:{line}", path.display()),
            Self::Env(name) => write!(formatter, "environment variable {name}"),
            Self::Flag(name) => write!(formatter, "{name}"),
        }
    }
}

/// Where each value that is not a default came from, by (section, key).
pub(crate) type Origins = BTreeMap<(String, String), Origin>;

/// Everything that is wrong with the configuration, one line each.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Problems(pub(crate) Vec<String>);

impl Problems {
    pub(crate) fn one(problem: impl Into<String>) -> Self {
        Self(vec![problem.into()])
    }

    pub(crate) fn none_or(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Which file to read: the flag, the environment, or the usual place if something is there.
pub(crate) fn file_to_read(flag: Option<&Path>, env: &BTreeMap<String, String>) -> Option<PathBuf> {
    let named = flag.map(Path::to_path_buf).or_else(|| env.get(ENV_CONFIG).map(PathBuf::from));
    named.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()))
}

/// Applies a file and the environment to `settings`.
pub(crate) fn load(
    settings: &mut Settings,
    file: Option<&Path>,
    env: &BTreeMap<String, String>,
) -> Result<Origins, Problems> {
    let mut origins = Origins::new();
    let mut problems = Vec::new();
    if let Some(path) = file {
        match std::fs::read_to_string(path) {
            Ok(text) => apply_file(settings, path, &text, &mut origins, &mut problems),
            Err(error) => problems.push(format!("{}: cannot be read: {error}", path.display())),
        }
    }
    apply_env(settings, env, &mut origins, &mut problems);
    Problems(problems).none_or().map(|()| origins)
}

fn apply_file(settings: &mut Settings, path: &Path, text: &str, origins: &mut Origins, problems: &mut Vec<String>) {
    let at = |span: std::ops::Range<usize>| Origin::File { path: path.to_path_buf(), line: line_of(text, span.start) };
    let root = match DeTable::parse(text) {
        Ok(root) => root.into_inner(),
        Err(error) => {
            let place = at(error.span().unwrap_or_default());
            problems.push(format!("{place}: not valid TOML: {}", error.message()));
            return;
        }
    };
    for (table, value) in root {
        let place = at(table.span());
        let table = table.into_inner().into_owned();
        if settings.section_mut(&table).is_none() {
            let known = settings.sections().iter().map(|section| section.table().to_owned()).collect();
            problems.push(format!("{place}: unknown section [{table}]{}", nearest(&table, known)));
            continue;
        }
        let DeValue::Table(keys) = value.into_inner() else {
            problems.push(format!("{place}: `{table}` is a section: write [{table}] on a line of its own"));
            continue;
        };
        for (key, value) in keys {
            let place = at(key.span());
            match set_from_file(settings, &table, key.get_ref(), value) {
                Ok(()) => drop(origins.insert((table.clone(), key.into_inner().into_owned()), place)),
                Err(problem) => problems.push(format!("{place}: {problem}")),
            }
        }
    }
}

fn set_from_file(settings: &mut Settings, table: &str, key: &str, value: Spanned<DeValue<'_>>) -> Result<(), String> {
    let set = settings.section_mut(table).and_then(|section| section.set_toml(key, value));
    match set {
        Some(result) => result.map_err(|problem| format!("{table}.{key}: {problem}")),
        None => Err(format!("unknown key `{key}` in [{table}]{}", nearest(key, keys_of(settings, table)))),
    }
}

fn apply_env(
    settings: &mut Settings,
    env: &BTreeMap<String, String>,
    origins: &mut Origins,
    problems: &mut Vec<String>,
) {
    let known: BTreeMap<String, (&'static str, &'static str)> = settings
        .sections()
        .iter()
        .flat_map(|section| section.entries().into_iter().map(|entry| (section.table(), entry.key)))
        .map(|(table, key)| (env_name(table, key), (table, key)))
        .collect();
    for (name, text) in env.iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)) {
        if NOT_SETTINGS.contains(&name.as_str()) || is_service_link(name, text) {
            continue;
        }
        let Some((table, key)) = known.get(name) else {
            problems
                .push(format!("unknown environment variable {name}{}", nearest(name, known.keys().cloned().collect())));
            continue;
        };
        match settings.section_mut(table).and_then(|section| section.set_text(key, text)) {
            Some(Err(problem)) => problems.push(format!("environment variable {name}: {problem}")),
            _ => drop(origins.insert(((*table).to_owned(), (*key).to_owned()), Origin::Env(name.clone()))),
        }
    }
}

/// Kubernetes gives every container the addresses of services of its namespace: a service named `corecast` becomes
/// `CORECAST_SERVICE_HOST`, `CORECAST_PORT=tcp://…`, `CORECAST_PORT_8000_TCP_ADDR` and so on. They are not ours.
fn is_service_link(name: &str, text: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_") && (name.contains("_TCP") || name.contains("_UDP"))
        || name.ends_with("_PORT") && text.contains("://")
}

fn keys_of(settings: &Settings, table: &str) -> Vec<String> {
    let sections = settings.sections();
    let section = sections.iter().find(|section| section.table() == table);
    section.map_or_else(Vec::new, |section| section.entries().iter().map(|entry| entry.key.to_owned()).collect())
}

/// `; did you mean …?` if something known is close enough to be a slip of the finger.
fn nearest(word: &str, known: Vec<String>) -> String {
    // What all variables begin with says nothing about how close they are.
    let own = |name: &str| name.strip_prefix(ENV_PREFIX).unwrap_or(name).to_owned();
    let word = own(word);
    let allowed = word.len() / 3 + 1;
    let close = known.into_iter().map(|name| (distance(&word, &own(&name)), name)).min();
    close.filter(|(far, _)| *far <= allowed).map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"))
}

/// Levenshtein distance of two short names.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, character) in left.chars().enumerate() {
        let mut corner = row[0];
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = corner + usize::from(character != *other);
            corner = row[column + 1];
            row[column + 1] = replaced.min(corner + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
