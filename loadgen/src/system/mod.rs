//! What the operating system says about the target's processes, the kernel and the host. Linux's /proc, read only.

pub mod environment;
pub mod kernel;
pub mod process;
