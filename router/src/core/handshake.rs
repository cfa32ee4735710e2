//! From the connect to `Welcome`: who a gateway is, that it has the secret, that it computes with the same placement.
//!
//! The router proves the secret first. Why a gateway is refused is told only to one that has proved itself, except for
//! the version, without which there is no proof.

use corecast_wire::auth::{Mac, Nonce, challenge_parts, proof_parts};
use corecast_wire::limits::MAX_BODY_BYTES;
use corecast_wire::message::{GoAway, GoAwayReason, Hello, HelloRefusal, Refused, ToGateway, ToRouter, Welcome};
use corecast_wire::version::{SUPPORTED, negotiate};
use corecast_wire::{Features, MessageError, Text};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::link::Phase;
use super::{Now, RouterCore, millis};
use crate::log::Log;

/// What the connected gateways agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Topology {
    fingerprint: u64,
    endpoint_index: u16,
}

impl<L: Log> RouterCore<L> {
    pub(super) fn handle_handshake(&mut self, index: u32, message: ToRouter, now: Now) -> Result<(), MessageError> {
        let unexpected = Err(MessageError::Unexpected { message: "a message before its time in the handshake" });
        let closing = Phase::Closing { deadline: now.instant };
        match (std::mem::replace(&mut self.links[index as usize].phase, closing), message) {
            (Phase::Hello { nonce, deadline }, ToRouter::Hello(hello)) => {
                let mac = self.mac_of(challenge_parts(&hello.nonce, &nonce));
                let refusal = self.refusal_before_proof(&hello);
                self.links[index as usize].phase = Phase::Proof { nonce, hello: Box::new(hello), deadline };
                match refusal {
                    Some((reason, why)) => self.refuse_link(index, reason, why, now),
                    None => self.send(index, &ToGateway::Challenge { nonce, mac: mac.finalize().into_bytes().into() }),
                }
                Ok(())
            }
            (Phase::Proof { nonce, hello, deadline }, ToRouter::Proof { mac }) => {
                let refusal = self.refusal(&hello, &nonce, &mac);
                self.links[index as usize].phase = Phase::Proof { nonce, hello: hello.clone(), deadline };
                match refusal {
                    Some((reason, why)) => self.refuse_link(index, reason, why, now),
                    None => self.welcome(index, &hello, now),
                }
                Ok(())
            }
            (phase, _) => {
                self.links[index as usize].phase = phase;
                unexpected
            }
        }
    }

    fn refusal_before_proof(&self, hello: &Hello) -> Option<(HelloRefusal, &'static str)> {
        if self.drain_until.is_some() {
            return Some((HelloRefusal::Draining, "this router is stopping"));
        }
        let negotiated = negotiate(SUPPORTED, Features::NONE, hello.versions, hello.features);
        negotiated.err().map(|refusal| (refusal, "no protocol version in common"))
    }

    fn refusal(&self, hello: &Hello, nonce: &Nonce, mac: &Mac) -> Option<(HelloRefusal, &'static str)> {
        if self.mac_of(proof_parts(&hello.nonce, nonce)).verify_slice(mac).is_err() {
            return Some((HelloRefusal::Unauthenticated, "the proof is wrong: gateway and router have other secrets"));
        }
        if hello.slots != self.config.slots {
            return Some((HelloRefusal::SlotsMismatch, "gateway and router have other numbers of slots"));
        }
        if self.config.endpoint_index.is_some_and(|index| index != hello.endpoint_index) {
            return Some((HelloRefusal::EndpointMismatch, "this endpoint is configured with another index"));
        }
        if let Some(topology) = self.topology {
            if topology.fingerprint != hello.topology {
                return Some((HelloRefusal::TopologyMismatch, "the linked gateways have another endpoint list"));
            }
            if topology.endpoint_index != hello.endpoint_index {
                return Some((HelloRefusal::EndpointMismatch, "the linked gateways know this endpoint as another"));
            }
        }
        let replaces = self.links.iter().any(|(_, link)| link.is_up() && link.node == hello.node);
        if self.up >= self.config.limits.links && !replaces {
            return Some((HelloRefusal::TooManyLinks, "no room for another gateway"));
        }
        None
    }

    fn refuse_link(&mut self, index: u32, reason: HelloRefusal, why: &'static str, now: Now) {
        if let Phase::Proof { hello, .. } = &self.links[index as usize].phase {
            tracing::warn!(node = %hello.node, ?reason, "a gateway is refused: {why}");
        }
        self.stats.links_refused += 1;
        let message = Text::from_static(why);
        self.end(index, ToGateway::Refused(Refused { reason, versions: SUPPORTED, message }), now);
    }

    fn welcome(&mut self, index: u32, hello: &Hello, now: Now) {
        let older = self.links.iter().find(|(_, link)| link.is_up() && link.node == hello.node);
        if let Some((older, _)) = older {
            let notice = GoAway { reason: GoAwayReason::Replaced, drain_ms: 0 };
            self.end(older as u32, ToGateway::GoAway(notice), now);
        }
        let Ok((version, features)) = negotiate(SUPPORTED, Features::NONE, hello.versions, hello.features) else {
            return;
        };
        self.topology = Some(Topology { fingerprint: hello.topology, endpoint_index: hello.endpoint_index });
        self.up += 1;
        self.stats.links_total += 1;
        let link = &mut self.links[index as usize];
        link.phase = Phase::Up;
        link.decoder.set_limit(MAX_BODY_BYTES);
        link.node = Text::truncated(hello.node.as_str());
        link.node_incarnation = hello.node_incarnation;
        tracing::info!(node = %link.node, version, "a gateway is linked");
        let limits = &self.config.limits;
        let welcome = Welcome {
            version,
            features,
            router_incarnation: self.config.incarnation,
            heartbeat_ms: millis(limits.heartbeat),
            payload_bytes_max: limits.payload_bytes as u32,
            requests_max: limits.requests_per_link as u32,
        };
        self.check_by(now.instant + limits.heartbeat);
        self.send(index, &ToGateway::Welcome(welcome));
    }

    fn mac_of(&self, parts: [&[u8]; 3]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        for part in parts {
            mac.update(part);
        }
        mac
    }
}
