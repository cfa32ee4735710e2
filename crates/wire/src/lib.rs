//! Gateway-router protocol without I/O.
