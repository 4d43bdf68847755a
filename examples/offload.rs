//! Work that takes long, on threads: the loop goes on turning, and the answers come back to it.
//!
//! ```text
//! $ cargo run --example offload            # or: offload ADDRESS
//! $ nc localhost 7003
//! fib 30
//! fib 30 = 832040
//! sleep 1000
//! slept 1000 ms
//! ```
//! It shows [`Handle`]: a worker gives the loop a function, which finds the client by its name if
//! it is still there. A client is paused while its work is out. So its answers come in the order
//! of its questions, it cannot fill the queue alone, and a graceful stop, which takes nobody for
//! idle who is paused, waits for the answer. When the queue is full the answer is `busy`.
use std::{
    env, io, str,
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

use charkh::{ConnId, Handle, Input, Peer, Protocol, Reactor, Result, Stopped};

/// The protocol: it reads questions, and leaves the thinking to others.
#[derive(Debug)]
pub struct Offload {
    jobs: SyncSender<Job>,
}

/// What a worker is given: who asked, and for what.
#[derive(Debug)]
pub struct Job {
    client: ConnId,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Fib(u32),
    Sleep(u64),
}

impl Protocol for Offload {
    type Session = ();

    fn open(&mut self, _: &mut Peer) {}

    fn data(&mut self, peer: &mut Peer, _: &mut (), input: &mut Input) -> Result {
        while let Some(line) = input.line(80)? {
            let Some(work) = Work::parse(line) else {
                peer.send(b"what? fib N (to 40) or sleep MS (to 10000)\n");
                continue;
            };
            match self.jobs.try_send(Job { client: peer.id(), work }) {
                Ok(()) => {
                    peer.pause(); // the lines behind this one are kept until `resume`
                    return Ok(());
                }
                Err(TrySendError::Full(_)) => drop(peer.send(b"busy\n")),
                Err(TrySendError::Disconnected(_)) => return Err("no worker is left".into()),
            }
        }
        Ok(())
    }
}

impl Work {
    fn parse(line: &[u8]) -> Option<Work> {
        match str::from_utf8(line).ok()?.split_once(' ')? {
            ("fib", n) => n.parse().ok().filter(|&n| n <= 40).map(Work::Fib),
            ("sleep", ms) => ms.parse().ok().filter(|&ms| ms <= 10_000).map(Work::Sleep),
            _ => None,
        }
    }
}

impl Job {
    /// Takes its time, so it runs on a worker.
    pub fn run(self, handle: &Handle<Offload>) -> Result<(), Stopped> {
        let answer = match self.work {
            Work::Fib(n) => format!("fib {n} = {}\n", fib(n)),
            Work::Sleep(ms) => {
                thread::sleep(Duration::from_millis(ms));
                format!("slept {ms} ms\n")
            }
        };
        handle.run(move |_, hub| {
            if let Some(mut peer) = hub.peer(self.client) {
                peer.send(answer.as_bytes());
                peer.resume();
            }
        })
    }
}

fn fib(n: u32) -> u64 {
    if n < 2 { n.into() } else { fib(n - 1) + fib(n - 2) }
}

/// A reactor, and the queue that it fills.
pub fn reactor(jobs_max: usize) -> io::Result<(Reactor<Offload>, Receiver<Job>)> {
    let (jobs, queue) = mpsc::sync_channel(jobs_max);
    Ok((Reactor::new(Offload { jobs })?, queue))
}

/// Threads that empty the queue until the reactor, and with it the queue's other end, is gone.
pub fn hire(workers: usize, queue: Receiver<Job>, handle: &Handle<Offload>) {
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..workers {
        let (queue, handle) = (queue.clone(), handle.clone());
        thread::spawn(move || {
            // One worker at a time waits for the queue, the others for the lock.
            while let Ok(Ok(job)) = queue.lock().map(|queue| queue.recv()) {
                if job.run(&handle).is_err() {
                    return;
                }
            }
        });
    }
}

fn main() -> io::Result<()> {
    let addr = env::args().nth(1).unwrap_or_else(|| "localhost:7003".into());
    let (mut reactor, queue) = reactor(64)?;
    reactor.listen_all(addr)?;
    hire(thread::available_parallelism()?.get(), queue, &reactor.handle());
    reactor.run().map(drop)
}
