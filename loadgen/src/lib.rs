//! Open-loop load generator, checker and reports.
