//! Centrifuge client protocol v2 codec without I/O.
