//! Everything a person or a program gets to see of a run.

pub mod diff;
pub mod files;
pub mod live;
pub mod report;
pub mod result;
pub mod text;
