//! The version, as `corecast version`, `--version`, `info` and `corecast_build_info` tell it.

/// The version of the software alone.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Version, and whether it was built for speed: figures of a debug build mean nothing.
pub(crate) const LONG: &str = if cfg!(debug_assertions) {
    concat!(env!("CARGO_PKG_VERSION"), " (debug build: slow)")
} else {
    env!("CARGO_PKG_VERSION")
};
