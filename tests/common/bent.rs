//! A simulated world in which one call fails as a kernel's may, and clients come from anywhere; or
//! one in which only `WouldBlock` says that there is no more.
#![allow(dead_code, unreachable_pub)]
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use charkh::{
    Addr,
    net::{Event, Net, Received, Sim, SocketOptions, Token, Wake},
};

pub struct Bent<const SHORT_MEANS_DONE: bool = true> {
    pub sim: Sim,
    /// Which call is the next to fail, with which error of the system; 0 lets it pass.
    pub failures: VecDeque<(&'static str, i32)>,
    /// Where the clients that are accepted next come from.
    pub origins: VecDeque<SocketAddr>,
}

impl Bent {
    pub fn new(seed: u64) -> Self {
        Self::of(Sim::new(seed))
    }
}

impl<const SHORT_MEANS_DONE: bool> Bent<SHORT_MEANS_DONE> {
    pub fn of(sim: Sim) -> Self {
        Self { sim, failures: VecDeque::new(), origins: VecDeque::new() }
    }

    fn fails(&mut self, call: &str) -> io::Result<()> {
        match self.failures.front() {
            Some(&(name, code)) if name == call => {
                self.failures.pop_front();
                if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
            }
            _ => Ok(()),
        }
    }
}

impl<const SHORT_MEANS_DONE: bool> Net for Bent<SHORT_MEANS_DONE> {
    type Listener = <Sim as Net>::Listener;
    type Stream = <Sim as Net>::Stream;
    type Udp = <Sim as Net>::Udp;

    const SHORT_MEANS_DONE: bool = SHORT_MEANS_DONE && Sim::SHORT_MEANS_DONE;

    fn now(&mut self) -> Duration {
        self.sim.now()
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.fails("wait")?;
        self.sim.wait(timeout, events)
    }

    fn pause(&mut self, time: Duration) {
        self.sim.pause(time);
    }

    fn waker(&mut self) -> io::Result<Wake> {
        self.sim.waker()
    }

    fn listen(
        &mut self,
        addr: &Addr,
        options: &SocketOptions,
        token: Token,
    ) -> io::Result<(Self::Listener, Addr)> {
        self.fails("listen")?;
        self.sim.listen(addr, options, token)
    }

    fn accept(&mut self, listener: &mut Self::Listener) -> io::Result<(Self::Stream, Addr)> {
        self.fails("accept")?;
        let (stream, addr) = self.sim.accept(listener)?;
        Ok((stream, self.origins.pop_front().map_or(addr, Addr::from)))
    }

    fn refuse(&mut self, listener: &mut Self::Listener) -> io::Result<()> {
        self.fails("refuse")?;
        self.sim.refuse(listener)
    }

    fn connect(
        &mut self,
        addr: &Addr,
        source: Option<IpAddr>,
        options: &SocketOptions,
    ) -> io::Result<Self::Stream> {
        self.fails("connect")?;
        self.sim.connect(addr, source, options)
    }

    fn watch(&mut self, stream: &mut Self::Stream, token: Token) -> io::Result<()> {
        self.fails("watch")?;
        self.sim.watch(stream, token)
    }

    fn connected(&mut self, stream: &mut Self::Stream) -> io::Result<()> {
        self.sim.connected(stream)
    }

    fn take_error(&mut self, stream: &mut Self::Stream) -> io::Result<()> {
        self.sim.take_error(stream)
    }

    fn read(&mut self, stream: &mut Self::Stream, into: &mut [u8]) -> io::Result<usize> {
        self.fails("read")?;
        self.sim.read(stream, into)
    }

    fn write(&mut self, stream: &mut Self::Stream, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.sim.write(stream, bytes)
    }

    fn finish(&mut self, stream: &mut Self::Stream) -> io::Result<()> {
        self.fails("finish")?;
        self.sim.finish(stream)
    }

    fn reset(&mut self, stream: Self::Stream) {
        self.sim.reset(stream);
    }

    fn bind_udp(
        &mut self,
        addr: SocketAddr,
        options: &SocketOptions,
        token: Token,
    ) -> io::Result<(Self::Udp, SocketAddr)> {
        self.fails("bind_udp")?;
        self.sim.bind_udp(addr, options, token)
    }

    fn recv_from(&mut self, socket: &mut Self::Udp, into: &mut [u8]) -> io::Result<Received> {
        self.fails("recv_from")?;
        self.sim.recv_from(socket, into)
    }

    fn send_to(&mut self, socket: &mut Self::Udp, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        self.fails("send_to")?;
        self.sim.send_to(socket, to, bytes)
    }
}
