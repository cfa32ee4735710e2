//! What the comparisons share: CPU time of a process, pinning, medians and spread, counted instructions and a table to
//! compare them with.

pub mod callgrind;
pub mod cpu;
pub mod expected;
pub mod summary;
