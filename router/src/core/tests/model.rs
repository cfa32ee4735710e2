//! Random interleavings against a model that knows only what gateways can see.
//!
//! Whatever happens (several links, stalls, cuts, retries, a log that delays, fails and forgets to answer):
//! 1. a (chat, epoch, offset) names one message for ever, whoever looks at it and how;
//! 2. a message with a key is at one place only, and every acknowledgement of it names that place;
//! 3. a subscription sees every offset behind its start, in order, or a `Lagged` in place of what was withheld;
//! 4. history is contiguous, complete within its limits, and never shows what is not committed;
//! 5. when everything has calmed down, every subscription stands at the top of its chat, and nothing waits.

use std::collections::{BTreeMap, HashMap};

use corecast_wire::message::{SubscribeOutcome, Update};
use proptest::prelude::*;

use super::*;
use crate::log::Outcome;
use crate::log::scripted::Failure;

const CHATS: [&str; 3] = ["x", "y", "z"];
const KEPT: usize = 12;

#[derive(Clone, Debug)]
enum Step {
    /// A publish; with a key, a repetition of an earlier message now and then.
    Publish {
        link: usize,
        chat: usize,
        key: Option<u8>,
        size: usize,
    },
    Subscribe {
        link: usize,
        chat: usize,
        fresh: bool,
    },
    Unsubscribe {
        link: usize,
        chat: usize,
    },
    History {
        link: usize,
        chat: usize,
        back: u64,
        limit: u32,
        reverse: bool,
    },
    Stall {
        link: usize,
    },
    Unstall {
        link: usize,
    },
    /// The connection is lost; a new one resumes all its subscriptions.
    Cut {
        link: usize,
    },
    Hold,
    Settle {
        count: usize,
    },
    Fail {
        outcome: Outcome,
        applied: usize,
    },
    Turn,
    Advance {
        millis: u64,
    },
    /// Long enough for keys to end and for chats without subscribers to leave memory.
    Idle,
}

fn step() -> impl Strategy<Value = Step> {
    let (link, chat) = (0..3_usize, 0..CHATS.len());
    let outcome = prop_oneof![
        1 => Just((Outcome::Unavailable, 0)),
        2 => (0..4_usize).prop_map(|applied| (Outcome::Unknown, applied)),
    ];
    prop_oneof![
        12 => (link.clone(), chat.clone(), prop::option::of(0..6_u8), 0..60_usize)
            .prop_map(|(link, chat, key, size)| Step::Publish { link, chat, key, size }),
        4 => (link.clone(), chat.clone(), any::<bool>())
            .prop_map(|(link, chat, fresh)| Step::Subscribe { link, chat, fresh }),
        1 => (link.clone(), chat.clone()).prop_map(|(link, chat)| Step::Unsubscribe { link, chat }),
        3 => (link.clone(), chat, 0..20_u64, 0..20_u32, any::<bool>())
            .prop_map(|(link, chat, back, limit, reverse)| Step::History { link, chat, back, limit, reverse }),
        2 => link.clone().prop_map(|link| Step::Stall { link }),
        2 => link.clone().prop_map(|link| Step::Unstall { link }),
        1 => link.prop_map(|link| Step::Cut { link }),
        1 => Just(Step::Hold),
        2 => (0..6_usize).prop_map(|count| Step::Settle { count }),
        1 => outcome.prop_map(|(outcome, applied)| Step::Fail { outcome, applied }),
        4 => Just(Step::Turn),
        1 => (0..400_u64).prop_map(|millis| Step::Advance { millis }),
        1 => Just(Step::Idle),
    ]
}

/// A subscription as its gateway sees it.
#[derive(Debug)]
struct Subscription {
    chat: usize,
    epoch: u64,
    /// The next offset expected; 0 before the subscription was answered.
    next: u64,
    resume: Option<Position>,
    /// The chat's top in each epoch, as far as anyone had seen it when this was asked for.
    floor: HashMap<u64, u64>,
}

#[derive(Debug)]
struct Asked {
    chat: usize,
    since: Option<Position>,
    limit: usize,
    reverse: bool,
    /// The largest offset that the gateway had seen when it asked, if it was subscribed.
    seen: Option<Position>,
}

#[derive(Default)]
struct Link {
    gateway: usize,
    connections: usize,
    subscriptions: BTreeMap<u32, Subscription>,
    next_handle: u32,
    histories: HashMap<u64, Asked>,
    publishes: HashMap<u64, (usize, Bytes)>,
}

/// What is known of all chats.
#[derive(Default)]
struct Truth {
    /// (chat, epoch, offset) → payload.
    messages: BTreeMap<(usize, u64, u64), Bytes>,
    /// Payload → its place. Payloads are unique, repetitions apart.
    places: HashMap<Bytes, (usize, u64, u64)>,
}

impl Truth {
    fn observe(&mut self, place: (usize, u64, u64), payload: &Bytes) {
        let known = self.messages.entry(place).or_insert_with(|| payload.clone());
        assert_eq!(known, payload, "{place:?} names two messages");
        let first = *self.places.entry(payload.clone()).or_insert(place);
        assert_eq!(first, place, "a message is at two places");
    }

    fn top(&self, chat: usize, epoch: u64) -> u64 {
        self.messages.range((chat, epoch, 0)..=(chat, epoch, u64::MAX)).next_back().map_or(0, |(place, _)| place.2)
    }
}

struct Model {
    world: World,
    links: Vec<Link>,
    truth: Truth,
    /// Key of a chat → the payload that was published with it.
    keyed: HashMap<(usize, String), Bytes>,
    payloads: u64,
    /// Times that keys have ended: they are never used again.
    idles: u64,
    /// The largest top told per (chat, epoch).
    tops: HashMap<(usize, u64), u64>,
}

impl Model {
    fn new() -> Self {
        let mut world = World::new(|config| {
            let limits = &mut config.limits;
            limits.kept.messages = KEPT;
            limits.link_soft_bytes = 400;
            limits.link_drained_bytes = 50;
            limits.silence = Duration::from_secs(1 << 30);
        });
        let links = (0..3).map(|number| Link { gateway: world.link(&format!("node {number}")), ..Link::default() });
        let links = links.collect();
        Self {
            world,
            links,
            truth: Truth::default(),
            keyed: HashMap::new(),
            payloads: 0,
            idles: 0,
            tops: HashMap::new(),
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Publish { link, chat, key, size } => self.publish(link, chat, key, size),
            Step::Subscribe { link, chat, fresh } => self.subscribe(link, chat, fresh),
            Step::Unsubscribe { link, chat } => {
                let found = self.links[link].subscriptions.iter().find(|(_, subscription)| subscription.chat == chat);
                if let Some((&handle, _)) = found {
                    self.post(link, ToRouter::Unsubscribe { handle });
                }
            }
            Step::History { link, chat, back, limit, reverse } => self.history(link, chat, back, limit, reverse),
            Step::Stall { link } => self.world.gateways[self.links[link].gateway].stalled = true,
            Step::Unstall { link } => {
                let gateway = self.links[link].gateway;
                self.world.gateways[gateway].stalled = false;
                self.world.gateways[gateway].blocked = false;
                self.world.core.handle_writable(self.world.gateways[gateway].link);
            }
            Step::Cut { link } => self.cut(link),
            Step::Hold => self.world.log().held = true,
            Step::Settle { count } => self.world.log().settle(count),
            Step::Fail { outcome, applied } => self.world.log().fail = Some(Failure { outcome, applied }),
            Step::Turn => self.world.turn(),
            Step::Advance { millis } => self.world.advance(Duration::from_millis(millis)),
            Step::Idle => {
                self.idles += 1;
                self.world.advance(Duration::from_secs(301));
                self.world.advance(Duration::from_secs(301));
            }
        }
        self.read_all();
    }

    fn post(&mut self, link: usize, message: ToRouter) {
        self.world.post(self.links[link].gateway, message);
    }

    fn publish(&mut self, link: usize, chat: usize, key: Option<u8>, size: usize) {
        self.payloads += 1;
        let mut fresh = format!("{} ", self.payloads);
        fresh.extend(std::iter::repeat_n('.', size));
        let key = key.map(|key| format!("{key} after {}", self.idles));
        let payload = match key.clone() {
            Some(key) => self.keyed.entry((chat, key)).or_insert_with(|| Bytes::from(fresh)).clone(),
            None => Bytes::from(fresh),
        };
        let request = self.world.request();
        self.links[link].publishes.insert(request, (chat, payload.clone()));
        let key = key.map(Bytes::from);
        self.post(link, ToRouter::Publish(Publish { request, chat: name(CHATS[chat]), key, payload }));
    }

    fn subscribe(&mut self, link: usize, chat: usize, fresh: bool) {
        let state = &mut self.links[link];
        if state.subscriptions.values().any(|subscription| subscription.chat == chat) {
            return;
        }
        let handle = state.next_handle;
        state.next_handle += 1;
        let any = self.truth.messages.keys().rev().find(|place| place.0 == chat);
        let known = self.truth.messages.keys().filter(|place| place.0 == chat);
        let floor = known.map(|place| (place.1, place.2)).collect();
        let resume = any.filter(|_| !fresh).map(|&(_, epoch, offset)| Position { epoch, offset: offset / 2 });
        state.subscriptions.insert(handle, Subscription { chat, epoch: 0, next: 0, resume, floor });
        self.post(link, ToRouter::Subscribe(Subscribe { handle, chat: name(CHATS[chat]), resume, want: 4 }));
    }

    fn history(&mut self, link: usize, chat: usize, back: u64, limit: u32, reverse: bool) {
        let newest = self.truth.messages.keys().rev().find(|place| place.0 == chat);
        let since = newest.filter(|_| back > 0).map(|&(_, epoch, offset)| {
            let offset = offset.saturating_sub(back) + u64::from(reverse);
            Position { epoch, offset }
        });
        let subscribed = self.links[link].subscriptions.values();
        let mine = subscribed.filter(|subscription| subscription.chat == chat && subscription.next > 0);
        let seen = mine.map(|mine| Position { epoch: mine.epoch, offset: mine.next - 1 }).next();
        let request = self.world.request();
        let asked = Asked { chat, since, limit: limit as usize, reverse, seen };
        self.links[link].histories.insert(request, asked);
        let chat = name(CHATS[chat]);
        self.post(link, ToRouter::History(History { request, chat, since, limit, max_bytes: 1 << 20, reverse }));
    }

    fn cut(&mut self, link: usize) {
        let gateway = self.links[link].gateway;
        self.world.core.handle_closed(self.world.gateways[gateway].link, self.world.now);
        self.links[link].publishes.clear();
        self.links[link].histories.clear();
        self.links[link].connections += 1;
        let gateway = self.world.link(&format!("node {link}"));
        self.links[link].gateway = gateway;
        let mut again = Vec::new();
        for (&handle, subscription) in &mut self.links[link].subscriptions {
            // A gateway resumes behind what it has, or begins anew if it has nothing yet.
            let (epoch, next) = (subscription.epoch, subscription.next);
            let resume = (next > 0).then(|| Position { epoch, offset: next - 1 });
            subscription.resume = resume;
            subscription.floor = HashMap::from([(epoch, next.saturating_sub(1))]);
            again.push(Subscribe { handle, chat: name(CHATS[subscription.chat]), resume, want: 4 });
        }
        again.into_iter().for_each(|subscribe| self.post(link, ToRouter::Subscribe(subscribe)));
    }

    fn read_all(&mut self) {
        for link in 0..self.links.len() {
            let gateway = self.links[link].gateway;
            assert!(!self.world.gateways[gateway].gone, "no link is cut");
            for message in self.world.inbox(gateway) {
                self.read(link, message);
            }
        }
    }

    fn read(&mut self, link: usize, message: ToGateway) {
        let state = &mut self.links[link];
        match message {
            ToGateway::Subscribed(subscribed) => {
                let subscription = state.subscriptions.get_mut(&subscribed.handle).expect("a known handle");
                let resume = subscription.resume.take();
                match subscribed.outcome {
                    SubscribeOutcome::Fresh => assert_eq!(resume, None),
                    SubscribeOutcome::Resumed => {
                        assert_eq!(resume, Some(Position { epoch: subscribed.epoch, offset: subscribed.start }));
                    }
                    SubscribeOutcome::Reset => assert!(resume.is_some_and(|resume| {
                        resume.epoch != subscribed.epoch || resume.offset + 1 < subscribed.oldest
                    })),
                }
                let floor = subscription.floor.get(&subscribed.epoch).copied().unwrap_or(0);
                assert!(subscribed.offset >= floor);
                top(&mut self.tops, subscription.chat, subscribed.epoch, subscribed.offset);
                assert!(subscribed.start <= subscribed.offset);
                assert!(subscribed.offset + 1 - subscribed.oldest <= KEPT as u64);
                subscription.epoch = subscribed.epoch;
                subscription.next = subscribed.start + 1;
            }
            ToGateway::Update(Update { handle, offset, payload, .. }) => {
                let subscription = state.subscriptions.get_mut(&handle).expect("a known handle");
                assert_eq!(offset, subscription.next, "a gap or a repetition");
                subscription.next += 1;
                let place = (subscription.chat, subscription.epoch, offset);
                self.truth.observe(place, &payload);
            }
            ToGateway::Lagged { handle, epoch, offset } => {
                let subscription = state.subscriptions.get_mut(&handle).expect("a known handle");
                assert_eq!(epoch, subscription.epoch);
                assert!(offset >= subscription.next, "something was withheld");
                subscription.next = offset + 1;
            }
            ToGateway::Unsubscribed { handle, .. } => {
                state.subscriptions.remove(&handle).expect("a known handle");
            }
            ToGateway::Ack { request, epoch, offset, .. } => {
                let (chat, payload) = state.publishes.remove(&request).expect("a known request");
                self.truth.observe((chat, epoch, offset), &payload);
            }
            ToGateway::Refusal { request, reason, .. } => {
                let published = state.publishes.remove(&request).is_some();
                let asked = state.histories.remove(&request);
                assert!(published != asked.is_some(), "a known request");
                let expected: &[RefusalReason] = if published {
                    &[RefusalReason::StorageUnavailable, RefusalReason::OutcomeUnknown]
                } else if asked.is_some_and(|asked| asked.since.is_some()) && self.idles > 0 {
                    &[RefusalReason::Overloaded, RefusalReason::UnrecoverablePosition]
                } else {
                    &[RefusalReason::Overloaded]
                };
                assert!(expected.contains(&reason), "{reason:?}");
            }
            ToGateway::HistoryResult(result) => {
                let asked = state.histories.remove(&result.request).expect("a known request");
                self.check_history(&asked, &result);
            }
            ToGateway::Ping { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }

    fn check_history(&mut self, asked: &Asked, result: &HistoryResult) {
        let Asked { chat, since, limit, reverse, seen } = *asked;
        top(&mut self.tops, chat, result.epoch, result.offset);
        assert!(
            seen.is_none_or(|seen| seen.epoch != result.epoch || seen.offset <= result.offset),
            "an answer comes behind the updates queued before it"
        );
        assert!(since.is_none_or(|since| since.epoch == result.epoch));
        let offsets: Vec<u64> = result.publications.iter().map(|publication| publication.offset).collect();
        let step = |from: u64| if reverse { from - 1 } else { from + 1 };
        assert!(offsets.windows(2).all(|pair| pair[1] == step(pair[0])), "not contiguous: {offsets:?}");
        assert!(offsets.iter().all(|offset| (1..=result.offset).contains(offset)), "beyond the top: {offsets:?}");
        for publication in &result.publications {
            self.truth.observe((chat, result.epoch, publication.offset), &publication.payload);
        }
        let oldest_possible = (result.offset + 1).saturating_sub(KEPT as u64).max(1);
        let expected: Vec<u64> = match (since, reverse) {
            (None, false) => (oldest_possible..=result.offset).collect(),
            (None, true) => (oldest_possible..=result.offset).rev().collect(),
            (Some(since), false) => (oldest_possible.max(since.offset + 1)..=result.offset).collect(),
            (Some(since), true) if since.offset > oldest_possible && since.offset <= result.offset + 1 => {
                (oldest_possible..since.offset).rev().collect()
            }
            (Some(_), true) => Vec::new(),
        };
        assert_eq!(offsets, expected[..limit.min(expected.len())], "{asked:?}");
    }

    /// Lets everything come to rest and checks that nothing is missing.
    fn calm(&mut self) {
        self.world.log().held = false;
        self.world.log().fail = None;
        for link in 0..self.links.len() {
            self.run(Step::Unstall { link });
        }
        for _ in 0..20 {
            self.run(Step::Advance { millis: 100 });
        }
        assert_eq!(self.world.core.stats().pending, 0);
        for link in 0..self.links.len() {
            assert!(self.links[link].publishes.is_empty() && self.links[link].histories.is_empty());
        }
        for chat in 0..CHATS.len() {
            self.run(Step::History { link: 0, chat, back: 0, limit: 1, reverse: true });
        }
        self.run(Step::Turn);
        for link in &self.links {
            for subscription in link.subscriptions.values() {
                let top = self.truth.top(subscription.chat, subscription.epoch);
                assert_eq!(subscription.next, top + 1, "{subscription:?}");
            }
        }
        // Offsets have no holes: as many messages were committed as the tops of all chats count.
        if self.idles == 0 {
            assert_eq!(self.tops.values().sum::<u64>(), self.world.core.stats().committed);
        }
        assert_eq!(self.world.core.stats().queued_bytes, 0);
    }
}

fn top(tops: &mut HashMap<(usize, u64), u64>, chat: usize, epoch: u64, offset: u64) {
    let known = tops.entry((chat, epoch)).or_default();
    *known = offset.max(*known);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_repeated_or_renamed(steps in prop::collection::vec(step(), 1..120)) {
        let mut model = Model::new();
        for step in steps {
            model.run(step);
        }
        model.calm();
    }
}
