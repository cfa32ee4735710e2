//! Which CPUs this process may use, pinning a thread to one of them, and how long it runs there before others may.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

/// The CPUs that the calling thread may run on, ascending: what cpuset, `taskset` and systemd's `CPUAffinity` left.
pub fn available() -> io::Result<Vec<usize>> {
    let ids = core_affinity::get_core_ids().ok_or_else(io::Error::last_os_error)?;
    Ok(ids.into_iter().map(|core| core.id).collect())
}

/// Pins the calling thread to one CPU. Call it before [`Reactor::new`](crate::Reactor::new), so that the ring's memory
/// is allocated near that CPU. Fails with `InvalidInput`, naming the allowed ones, if the CPU is not among
/// [`available`].
pub fn pin(cpu: usize) -> io::Result<()> {
    let allowed = available()?;
    if !allowed.contains(&cpu) {
        let allowed = format_list(&allowed);
        let problem = format!("this process may not use it (cpuset, taskset, CPUAffinity), only {allowed}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    if core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// How long a core's thread runs before another one on its CPU may.
const SLICE: Duration = Duration::from_micros(500);

/// Asks the scheduler to let others run after 500 µs of this thread's work (EEVDF, Linux 6.12). For cores that share a CPU,
/// with each other or with a router: a message that passes through several of them waits for each one's slice, 3 ms by
/// default. Says whether the kernel took it; one that does not know slices keeps its own.
pub fn share_cpu() -> bool {
    let mut attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: `attributes` is live and as large as `size` says; 0 is the calling thread.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, attributes.size, 0) };
    // Nothing but the slice is to change, and a policy that the operator chose stays.
    if got != 0 || attributes.sched_policy != libc::SCHED_OTHER as u32 {
        return false;
    }
    attributes.sched_runtime = SLICE.as_nanos() as u64;
    // SAFETY: as above; the kernel only reads.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) == 0 }
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

/// Writes an ascending list of CPUs as the kernel does, for example `0-3,8`.
pub fn format_list(cpus: &[usize]) -> String {
    let runs = cpus.chunk_by(|before, after| before + 1 == *after).map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        _ => run.iter().map(usize::to_string).collect(),
    });
    runs.collect::<Vec<_>>().join(",")
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
    fn a_cpu_outside_the_set_is_refused_and_the_set_is_named() {
        let cpu = *available().unwrap().last().unwrap();
        std::thread::spawn(move || {
            pin(cpu).unwrap();
            // What a cpuset of one CPU leaves: every other one is refused, also one that the machine has.
            for other in [0, 1, 8_191].into_iter().filter(|other| *other != cpu) {
                let error = pin(other).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                assert!(error.to_string().ends_with(&format!("only {cpu}")), "{error}");
            }
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_slice_is_taken_where_the_kernel_knows_slices() {
        std::thread::spawn(|| {
            assert!(share_cpu());
            let mut attributes = [0_u64; 7];
            // SAFETY: the array is live and 56 bytes long.
            let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, attributes.as_mut_ptr(), 56, 0) };
            // size and policy | flags | nice and priority | runtime: the slice, 0 before 6.12.
            assert!(got == 0 && [0, 500_000].contains(&attributes[3]), "{attributes:?}");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn lists_are_written_as_they_are_read() {
        for text in ["0", "0-3,8", "1,3,5-6"] {
            assert_eq!(format_list(&parse_list(text).unwrap()), text);
        }
    }
}
