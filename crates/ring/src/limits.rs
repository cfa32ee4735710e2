//! Resource limits of the process.

use std::io;
use std::mem::MaybeUninit;

use crate::socket::check;

/// RLIMIT_NOFILE before and after [`raise_descriptors`]. It bounds the ordinary descriptors of the process and the
/// file table of *each* ring (not their sum: several rings go past it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// The soft limit found.
    pub before: u64,
    /// The soft limit now.
    pub soft: u64,
    /// The hard limit, the most that this process can reach without privileges.
    pub hard: u64,
}

/// Raises the soft RLIMIT_NOFILE to the hard one and reports both. Call it once at start, before any ring.
pub fn raise_descriptors() -> io::Result<DescriptorLimit> {
    let (before, hard) = get(libc::RLIMIT_NOFILE)?;
    if before < hard {
        let wanted = libc::rlimit { rlim_cur: hard, rlim_max: hard };
        // SAFETY: the pointer is to a live `rlimit`.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) })?;
    }
    let (soft, hard) = get(libc::RLIMIT_NOFILE)?;
    Ok(DescriptorLimit { before, soft, hard })
}

/// The soft RLIMIT_NOFILE.
pub fn descriptors() -> io::Result<u64> {
    Ok(get(libc::RLIMIT_NOFILE)?.0)
}

/// The soft RLIMIT_MEMLOCK in bytes; `u64::MAX` = unlimited.
pub(crate) fn locked_memory() -> io::Result<u64> {
    Ok(get(libc::RLIMIT_MEMLOCK)?.0)
}

/// Soft and hard value of a limit.
fn get(resource: libc::__rlimit_resource_t) -> io::Result<(u64, u64)> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the pointer is to memory of the size of an `rlimit`, which the kernel fills in.
    check(unsafe { libc::getrlimit(resource, limit.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, so the structure is filled in.
    let limit = unsafe { limit.assume_init() };
    Ok((limit.rlim_cur, limit.rlim_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_reaches_the_hard_limit_and_is_idempotent() {
        let raised = raise_descriptors().unwrap();
        assert_eq!(raised.soft, raised.hard);
        assert!(raised.before <= raised.soft);
        let again = raise_descriptors().unwrap();
        assert_eq!(again.before, raised.hard);
        assert_eq!(descriptors().unwrap(), raised.hard);
    }
}
