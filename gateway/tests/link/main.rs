//! The link machine against scripted routers, under virtual time. One file per failure; its first line is the claim.

mod cores;
mod harness;

mod damage;
mod gap;
mod handshake;
mod heartbeat;
mod lagged;
mod outage;
mod random_failures;
mod repair_fails;
mod requests;
mod resume;
mod script;
mod subscriptions;
