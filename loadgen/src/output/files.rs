//! The files of a run: `summary.json`, `report.html`, one `.hgrm` per tag (`latency.hlog` is written as the run goes).

use std::fs;
use std::path::{Path, PathBuf};

use super::report;
use crate::hlog;
use crate::run::{Finished, RunError};
use crate::summary::{SCHEMA, Summary};

/// Writes all of them; returns where the report is.
pub fn write(finished: &Finished, folder: &Path) -> Result<PathBuf, RunError> {
    let wrong = |path: PathBuf| move |error: std::io::Error| RunError::Output { path, error };
    fs::create_dir_all(folder).map_err(wrong(folder.to_owned()))?;
    let path = folder.join("summary.json");
    fs::write(&path, json(&finished.summary)).map_err(wrong(path))?;
    for (tag, histogram) in &finished.histograms {
        let path = folder.join(format!("{tag}.hgrm"));
        fs::write(&path, hlog::distribution(histogram)).map_err(wrong(path))?;
    }
    let path = folder.join("report.html");
    fs::write(&path, report::render(&finished.summary)).map_err(wrong(path.clone()))?;
    Ok(path)
}

/// The summary as text, indented.
pub fn json(summary: &Summary) -> String {
    serde_json::to_string_pretty(summary).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

/// Reads a summary from its file or its folder.
pub fn read(path: &Path) -> Result<Summary, String> {
    let file = if path.is_dir() { path.join("summary.json") } else { path.to_owned() };
    let shown = file.display();
    let text = fs::read_to_string(&file).map_err(|error| format!("{shown}: {error}"))?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| format!("{shown}: {error}"))?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(schema) if schema == u64::from(SCHEMA) => {}
        Some(schema) => return Err(format!("{shown}: schema {schema}, this tool reads {SCHEMA}")),
        None => return Err(format!("{shown}: not a summary of corecast load")),
    }
    serde_json::from_value(value).map_err(|error| format!("{shown}: {error}"))
}

/// All summaries under a folder (rounds of one thing), or the one that is meant.
pub fn read_all(path: &Path) -> Result<Vec<Summary>, String> {
    if !path.is_dir() || path.join("summary.json").is_file() {
        return read(path).map(|summary| vec![summary]);
    }
    let mut folders: Vec<PathBuf> = fs::read_dir(path)
        .map_err(|error| format!("{}: {error}", path.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|entry| entry.join("summary.json").is_file())
        .collect();
    folders.sort();
    if folders.is_empty() {
        return Err(format!("{}: no summary.json in it or in its folders", path.display()));
    }
    folders.iter().map(|folder| read(folder)).collect()
}
