//! Per-core io_uring reactor.
#![allow(unsafe_code)] // the only crate that may: see ARCHITECTURE.md
