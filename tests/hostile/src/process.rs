//! A process, seen from outside through `/proc`: what an attack must not use up.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

/// Clock ticks per second in `/proc/PID/stat`; the kernel's user interface fixes it.
const TICKS_PER_SECOND: u64 = 100;

/// Looks at one process.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// The process with this id.
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// Sends a signal by name, such as `STOP` or `CONT`.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.pid.to_string()]).status().expect("kill runs");
        assert!(status.success(), "kill -{name} {}", self.pid);
    }

    /// Open descriptors. Connections of the data plane are not among them: they are registered with the ring.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn descriptors(self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).expect("a running process").count()
    }

    /// Resident memory in bytes, counted page by page (`VmRSS` lags behind).
    ///
    /// # Panics
    /// When the process is gone.
    pub fn resident(self) -> i64 {
        let rollup = self.read("smaps_rollup");
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).expect("a line Rss");
        line.trim().trim_end_matches(" kB").parse::<i64>().expect("a number of kB") * 1024
    }

    /// CPU time used so far, user and system.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn cpu(self) -> Duration {
        let stat = self.read("stat");
        // The name in parentheses may contain anything; user and system time are the 12th and 13th field behind it.
        let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number of ticks")).sum();
        Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
    }

    /// Share of one CPU that it uses during `time`.
    pub fn cpu_share(self, time: Duration) -> f64 {
        let (begin, before) = (Instant::now(), self.cpu());
        std::thread::sleep(time);
        (self.cpu() - before).as_secs_f64() / begin.elapsed().as_secs_f64()
    }

    /// Connections to a local port that somebody on the server's side still holds open, also those that no descriptor shows
    /// because they are registered with a ring. What the kernel alone still knows (waiting to be accepted, closed and waiting for
    /// the peer to close too) does not count.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn connections(self, listen: SocketAddr) -> usize {
        const LISTEN: &str = "0A";
        /// In place of an inode.
        const NOBODY: &str = "0";
        let local = format!(":{:04X}", listen.port());
        let table = self.read("net/tcp");
        let mut rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
        let is_open = |row: &Vec<&str>| row[1].ends_with(&local) && row[3] != LISTEN && row[9] != NOBODY;
        rows.by_ref().filter(is_open).count()
    }

    fn read(self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.pid);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_this_process_does_is_seen() {
        let this = Process::new(std::process::id());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(this.connections(address), 0);
        let before = this.descriptors();
        let client = TcpStream::connect(address).unwrap();
        assert_eq!((this.connections(address), this.descriptors()), (0, before + 1), "not accepted yet");
        let (server, _) = listener.accept().unwrap();
        assert_eq!((this.connections(address), this.descriptors()), (1, before + 2));
        drop(server);
        assert_eq!(this.connections(address), 0, "the client has not closed, but that is the kernel's business");
        drop(client);

        let resident = this.resident();
        let memory = vec![1_u8; 8 << 20];
        assert!(this.resident() - resident >= 8 << 20, "{} bytes in use", memory.len());

        let begin = Instant::now();
        let cpu = this.cpu();
        let mut sum = 0_u64;
        while this.cpu() - cpu < Duration::from_millis(50) {
            sum = (0..100_000).fold(sum, |sum, number| sum ^ number);
            assert!(begin.elapsed() < Duration::from_secs(20), "no CPU time is counted ({sum})");
        }
    }
}
