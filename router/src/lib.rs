//! Chat sequencing, history, links to gateways.
