//! The control client: it publishes into a chat of its own and follows it, all the time; attacks on others must not touch it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use corecast_faults::ledger::{Ledger, body};
use corecast_faults::member::{Member, Options};
use corecast_faults::{block_on, eventually as eventually_in_runtime};

use crate::{PATIENCE, eventually};

/// Between two messages.
const INTERVAL: Duration = Duration::from_millis(10);
/// The longest pause between two messages that counts as undisturbed. A loop that hangs or spins exceeds it at once; the
/// scheduler of a machine whose CPUs are busy with the attack itself does not.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// The chat that it follows.
pub const CHAT: &str = "control";

/// A running control client. Its thread ends with [`Control::finish`] or when it is dropped.
pub struct Control {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
    ledger: Arc<Ledger>,
}

impl Control {
    /// Connects and waits until it follows its chat.
    ///
    /// # Panics
    /// When that does not come about.
    pub fn start(gateway: SocketAddr) -> Self {
        let ledger = Arc::new(Ledger::default());
        let (stop, live) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (ledger, stop, live) = (Arc::clone(&ledger), Arc::clone(&stop), Arc::clone(&live));
            move || block_on(run(gateway, ledger, &stop, &live))
        });
        eventually("the control client is subscribed", PATIENCE, || live.load(Ordering::Relaxed));
        Self { stop, thread: Some(thread), ledger }
    }

    /// Ends it and checks what it saw.
    ///
    /// # Panics
    /// When it was disconnected, missed or lost anything, or heard nothing for too long.
    pub fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let published = self.thread.take().expect("not finished before").join().expect("the control client");
        let ledger = &self.ledger;
        ledger.assert_clean();
        assert_eq!((ledger.cuts(), ledger.resets()), (0, 0), "disconnects and resets of the control client");
        assert_eq!(ledger.acknowledgements(), published, "messages acknowledged");
        assert_eq!(ledger.deliveries(), published as u64, "messages delivered");
        ledger.assert_acknowledged_once();
        let silence = ledger.longest_silence();
        assert!(silence < SILENCE_MAX, "the control client heard nothing for {silence:?}");
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Publishes until told to stop, waits until all of it has arrived, and returns how many messages there were.
async fn run(gateway: SocketAddr, ledger: Arc<Ledger>, stop: &AtomicBool, live: &AtomicBool) -> usize {
    let options = Options { gateways: vec![gateway], chats: vec![CHAT.to_owned()], receive_buffer: None, number: 0 };
    let member = Member::start(options, Arc::clone(&ledger));
    eventually_in_runtime("subscribed", PATIENCE, || member.is_live()).await;
    ledger.forget_silence();
    live.store(true, Ordering::Relaxed);
    let mut published = 0;
    while !stop.load(Ordering::Relaxed) && ledger.cuts() == 0 {
        published += 1;
        member.publish(CHAT, body(&published.to_string(), 20));
        tokio::time::sleep(INTERVAL).await;
    }
    let all = || ledger.cuts() > 0 || ledger.deliveries() == published as u64 && ledger.acknowledgements() == published;
    eventually_in_runtime("everything published has arrived", PATIENCE, all).await;
    published
}
