//! Echo service for the Autobahn cases.

fn main() {}
