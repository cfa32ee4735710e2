//! Which CPUs this process may use, and pinning a thread to one of them.

use std::collections::BTreeSet;
use std::io;

/// The CPUs that the calling thread may run on, ascending: what cpuset, `taskset` and systemd's `CPUAffinity` left.
pub fn available() -> io::Result<Vec<usize>> {
    let ids = core_affinity::get_core_ids().ok_or_else(io::Error::last_os_error)?;
    Ok(ids.into_iter().map(|core| core.id).collect())
}

/// Pins the calling thread to one CPU. Call it before [`Reactor::new`](crate::Reactor::new), so that the ring's memory
/// is allocated near that CPU. Fails with `InvalidInput` if the CPU is not among [`available`].
pub fn pin(cpu: usize) -> io::Result<()> {
    if !available()?.contains(&cpu) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("CPU {cpu} is not available to this process")));
    }
    if core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Parses a CPU list as the kernel writes it, for example `0-3,8`. The order is kept, duplicates are an error.
pub fn parse_list(text: &str) -> Result<Vec<usize>, CpuListError> {
    /// The kernel's own limit (NR_CPUS of the largest configuration).
    const CPU_MAX: usize = 8_191;
    let malformed = |item: &str| CpuListError::Malformed(item.to_owned());
    let mut cpus = Vec::new();
    let mut seen = BTreeSet::new();
    for item in text.split(',').map(str::trim) {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let first: usize = first.parse().map_err(|_| malformed(item))?;
        let last: usize = last.parse().map_err(|_| malformed(item))?;
        if first > last || last > CPU_MAX {
            return Err(malformed(item));
        }
        for cpu in first..=last {
            if !seen.insert(cpu) {
                return Err(CpuListError::Repeated(cpu));
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

/// A CPU list that cannot be used; whoever wrote the configuration is to blame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuListError {
    /// Not a number nor a range of numbers up to 8,191.
    #[error("`{0}` is not a CPU or a range of CPUs such as 0-3")]
    Malformed(String),
    /// One CPU named twice.
    #[error("CPU {0} is named twice")]
    Repeated(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_parsed_in_order() {
        assert_eq!(parse_list("3,0-2"), Ok(vec![3, 0, 1, 2]));
        assert_eq!(parse_list("1,1"), Err(CpuListError::Repeated(1)));
        for text in ["", "a", "2-1", "0-", "99999"] {
            assert!(parse_list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pinned_thread_may_use_one_cpu_only() {
        let cpu = *available().unwrap().last().unwrap();
        std::thread::spawn(move || {
            pin(cpu).unwrap();
            assert_eq!(available().unwrap(), [cpu]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_cpu_outside_the_set_is_refused() {
        assert_eq!(pin(8_191).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
