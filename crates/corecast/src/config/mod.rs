//! Configuration: a TOML file, then the environment, then flags; one schema for all of them, the defaults file and the docs.

pub(crate) mod convert;
pub(crate) mod load;
pub(crate) mod render;
pub(crate) mod schema;
mod sections;
pub(crate) mod validate;
pub(crate) mod values;

#[cfg(test)]
mod tests;

pub(crate) use load::{Origins, Problems};
pub(crate) use sections::*;
