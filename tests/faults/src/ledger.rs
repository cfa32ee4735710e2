//! What was published and what members saw, and the rules that hold over both.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

/// At most this many violations are kept word for word; the rest is counted.
const VIOLATIONS_KEPT: usize = 20;

/// Shared by all members and publishers of a test.
#[derive(Default)]
pub struct Ledger(Mutex<State>);

#[derive(Default)]
struct State {
    /// The body that each position named when it was first seen.
    bodies: HashMap<(String, String, u64), u64>,
    /// Bodies in the order of acknowledgement, per chat.
    acknowledged: BTreeMap<String, Vec<u64>>,
    deliveries: u64,
    resets: u64,
    cuts: u64,
    longest_silence: Duration,
    violations: Vec<String>,
    violations_total: u64,
}

impl Ledger {
    /// A member got a publication.
    pub fn delivered(&self, chat: &str, epoch: &str, offset: u64, data: &str) {
        let hash = xxh3_64(data.as_bytes());
        if !body_is_intact(data) {
            self.violation(format!("{chat} {epoch}/{offset}: body damaged: {data}"));
        }
        let mut state = self.state();
        state.deliveries += 1;
        let known = *state.bodies.entry((chat.to_owned(), epoch.to_owned(), offset)).or_insert(hash);
        drop(state);
        if known != hash {
            self.violation(format!("{chat} {epoch}/{offset} names two messages"));
        }
    }

    /// A publish was acknowledged.
    pub fn acknowledged(&self, chat: &str, data: &str) {
        self.state().acknowledged.entry(chat.to_owned()).or_default().push(xxh3_64(data.as_bytes()));
    }

    /// A member was told that its position cannot be recovered.
    pub fn reset(&self) {
        self.state().resets += 1;
    }

    /// A member was told that it was cut (unsubscribe push or close).
    pub fn cut(&self) {
        self.state().cuts += 1;
    }

    /// A member had heard nothing of a chat for this long when it heard again.
    pub fn silence(&self, since: Instant) {
        let mut state = self.state();
        state.longest_silence = state.longest_silence.max(since.elapsed());
    }

    /// Forgets the longest silence so far (before the part of a test that bounds it).
    pub fn forget_silence(&self) {
        self.state().longest_silence = Duration::ZERO;
    }

    /// Something that must never happen.
    pub fn violation(&self, what: String) {
        let mut state = self.state();
        state.violations_total += 1;
        if state.violations.len() < VIOLATIONS_KEPT {
            state.violations.push(what);
        }
    }

    /// Publications that members got so far.
    pub fn deliveries(&self) -> u64 {
        self.state().deliveries
    }

    /// Members told "not recoverable" so far.
    pub fn resets(&self) -> u64 {
        self.state().resets
    }

    /// Unsubscribe pushes and closes so far.
    pub fn cuts(&self) -> u64 {
        self.state().cuts
    }

    /// Acknowledged publishes so far.
    pub fn acknowledgements(&self) -> usize {
        self.state().acknowledged.values().map(Vec::len).sum()
    }

    /// The longest time that a member heard nothing of a chat.
    pub fn longest_silence(&self) -> Duration {
        self.state().longest_silence
    }

    /// The epochs that members saw in a chat.
    pub fn epochs(&self, chat: &str) -> Vec<String> {
        let mut epochs: Vec<_> =
            self.state().bodies.keys().filter(|(name, ..)| name == chat).map(|(_, epoch, _)| epoch.clone()).collect();
        epochs.sort();
        epochs.dedup();
        epochs
    }

    /// # Panics
    /// With the first violations, if there were any.
    pub fn assert_clean(&self) {
        let state = self.state();
        assert!(
            state.violations.is_empty(),
            "{} violations, the first: {:#?}",
            state.violations_total,
            state.violations
        );
    }

    /// Every acknowledged message has a position, exactly one.
    ///
    /// # Panics
    /// With the chat in which a message is missing or stands twice.
    pub fn assert_acknowledged_once(&self) {
        let state = self.state();
        for (chat, bodies) in &state.acknowledged {
            for body in bodies {
                let positions = state.bodies.iter().filter(|((name, ..), hash)| name == chat && *hash == body).count();
                assert_eq!(positions, 1, "a message acknowledged in {chat} stands at {positions} positions");
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while the ledger is held")
    }
}

/// A JSON body that carries its own hash, so that any member can tell whether it arrived intact.
pub fn body(id: &str, padding: usize) -> String {
    let pad = "x".repeat(padding);
    format!(r#"{{"id":"{id}","pad":"{pad}","hash":"{:016x}"}}"#, xxh3_64(format!("{id}/{pad}").as_bytes()))
}

fn body_is_intact(data: &str) -> bool {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(data) else { return false };
    let text = |key: &str| value.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    text("hash") == format!("{:016x}", xxh3_64(format!("{}/{}", text("id"), text("pad")).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_body_is_a_violation() {
        let ledger = Ledger::default();
        ledger.delivered("a", "e", 1, &body("1", 10));
        ledger.assert_clean();
        ledger.delivered("a", "e", 2, &body("2", 10).replace("xx", "xy"));
        assert_eq!(ledger.state().violations_total, 1);
    }

    #[test]
    fn a_position_that_names_two_messages_is_a_violation() {
        let ledger = Ledger::default();
        ledger.delivered("a", "e", 1, &body("1", 10));
        ledger.delivered("a", "e", 1, &body("2", 10));
        assert_eq!(ledger.state().violations_total, 1);
    }
}
