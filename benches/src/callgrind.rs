//! Counts the instructions that a process executes within one function, with valgrind's callgrind.
//!
//! A count depends on code, compiler and C library, hardly on the machine: valgrind shows every CPU that has AVX2 to the
//! program as the same Haswell (`amd64g_dirtyhelper_CPUID_avx2` in VEX), whatever it is, so that libc's memcpy and what
//! Rust code selects at run time are the same variants everywhere. Without AVX2 libc selects others: counted with
//! `GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-AVX,-AVX_Fast_Unaligned_Load,-ERMS,-BMI2`, the paths of `micro` cost 0.2 % less to
//! 4.4 % more. Seeds of hash maps, which differ from run to run, move what looks up names by less than 0.1 %.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Runs `program` with `arguments` under callgrind and returns how many instructions `function`, a part of whose symbol
/// is enough, and everything that it called have executed.
///
/// The environment is empty but for the path: its size would move the stack and with it what is compared.
///
/// # Errors
/// If valgrind is not there, the program fails, or the function never ran.
pub fn instructions(program: &Path, arguments: &[&str], function: &str) -> Result<u64> {
    let output = std::env::temp_dir().join(format!("corecast-callgrind.{}.out", std::process::id()));
    let ran = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind", "--cache-sim=no", "--branch-sim=no", "--error-exitcode=99"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(format!("--callgrind-out-file={}", output.display()))
        .arg(program)
        .args(arguments)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .output()
        .context("cannot start valgrind; Debian's package of that name has it")?;
    let counted = std::fs::read_to_string(&output);
    let _ = std::fs::remove_file(&output);
    if !ran.status.success() {
        bail!("{} {arguments:?}: {}\n{}", program.display(), ran.status, String::from_utf8_lossy(&ran.stderr));
    }
    let counted = total(&counted.context("callgrind left no file")?)?;
    ensure!(counted > 0, "no instruction was counted: is there a function {function} that was not inlined?");
    Ok(counted)
}

/// The sum over all functions in a callgrind file (callgrind format version 1, `totals:`).
fn total(file: &str) -> Result<u64> {
    let line =
        file.lines().rev().find_map(|line| line.strip_prefix("totals:")).context("no totals in callgrind's file")?;
    line.trim().parse().with_context(|| format!("totals: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_from_the_last_line_that_has_one() {
        assert_eq!(total("events: Ir\nfn=(1) a\n1 5\n\ntotals: 12345\n").unwrap(), 12_345);
        assert!(total("events: Ir\n").is_err());
        assert!(total("totals: many\n").is_err());
    }
}
