//! Whether a check fails when it must: `micro check` runs against tables made for one path, right and wrong ones.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The quickest path to prepare.
const PATH: &str = "chat: encode a publication frame, JSON";

/// What a check must answer.
struct Case {
    claim: &'static str,
    table: String,
    /// Further arguments of `micro check`.
    arguments: &'static [&'static str],
    /// Its exit code, and something that it prints.
    code: i32,
    says: &'static str,
}

/// Counts the path of this build, and then holds each claim against what a check answers.
pub(crate) fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let table = folder.path().join("expected.toml");
    let (code, said) = check(&table, &["--update"])?;
    ensure!(code == 0, "a table for {PATH:?} cannot be written: {said}");
    let written = fs::read_to_string(&table)?;
    let count = written.lines().find_map(|line| line.strip_prefix("instructions = ")).context("no count written")?;
    let count: u64 = count.parse()?;
    for case in cases(count, &written) {
        fs::write(&table, &case.table)?;
        let (code, said) = check(&table, case.arguments)?;
        ensure!(
            code == case.code && said.contains(case.says),
            "not so: {}. Expected exit code {} and {:?}, got {code} and:\n{said}",
            case.claim,
            case.code,
            case.says
        );
        println!("proved: {}", case.claim);
    }
    Ok(())
}

fn cases(count: u64, right: &str) -> Vec<Case> {
    let table = |instructions: u64| format!("[{PATH:?}]\ninstructions = {instructions}\n");
    let case = |claim, table, code, says| Case { claim, table, arguments: &[], code, says };
    let exact = table(count) + "tolerance = 1.0\n";
    vec![
        case("the same code counts the same, to the instruction", exact, 0, "1.000   1.00\n"),
        Case { arguments: &["--twice"], ..case("work done twice fails", right.to_owned(), 1, "REGRESSION") },
        case("a table that allows a hundredth less than was counted fails", table(count * 100 / 111), 1, "REGRESSION"),
        case("far less than expected passes, and asks for an update", table(count * 2), 0, "bench-micro --update"),
        case("a path without a row fails", String::new(), 1, "NO EXPECTATION"),
    ]
}

/// Exit code and output of `micro check`.
fn check(table: &Path, arguments: &[&str]) -> Result<(i32, String)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["check", "--only", PATH, "--expected"]).arg(table).args(arguments);
    let output = command.output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status.code().context("micro check was killed")?, said))
}
