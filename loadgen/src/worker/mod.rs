//! The workers: threads with a ring each, that hold the connections, publish what is due and judge what arrives.
//!
//! | Module | Role |
//! |---|---|
//! | [`shared`] | plan, control words and ledgers that all workers see |
//! | [`member`] | the table of connections |
//! | [`pace`] | who connects when |
//! | [`desk`] | decisions: what follows from what happened |
//! | [`session`] | the hot path from bytes to the desk |
//! | [`publish`] | the open loop's publishing side |
//! | [`behave`] | churn, storm, switching |
//! | [`driver`] | the only one that touches the ring |
//! | [`slow`] | slow readers, on ordinary sockets |

pub(crate) mod behave;
pub(crate) mod counts;
pub(crate) mod desk;
pub(crate) mod driver;
pub(crate) mod member;
pub(crate) mod pace;
pub(crate) mod publish;
pub(crate) mod session;
pub(crate) mod shared;
pub(crate) mod slow;
