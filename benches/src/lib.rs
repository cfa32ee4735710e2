//! What the comparisons share: CPU time of a process, pinning, medians and spread.

pub mod cpu;
pub mod summary;
