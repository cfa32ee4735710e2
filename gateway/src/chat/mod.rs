//! One chat on one core.

mod lane;
