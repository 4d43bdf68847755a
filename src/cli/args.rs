//! The command line. What it says of a limit is short; [`Config`] says more. The defaults are
//! those of the library.
use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use charkh::{
    Config, WhenFull,
    client::Timeouts,
    net::SocketOptions,
    proxy::{AcceptProxy, TrustedProxies, Version},
};
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use log::LevelFilter;

use super::{
    address,
    load::options::LoadArgs,
    tls::{ClientTls, ServerTls},
    units::{Count, Maybe, Size, Span, size_within, span_within},
};

#[derive(Debug, Parser)]
#[command(
    version,
    about = "An event-driven TCP server on one thread, and a small client for it.",
    after_help = "Examples:\n  \
        charkh serve                       greet whoever connects to localhost:12345\n  \
        charkh send \"Hello Server!\"        send that, and show the answer\n  \
        charkh serve --help                every limit, with its default",
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Listen, and serve everyone who connects until SIGTERM or Ctrl-C.
    Serve(Box<ServeArgs>),
    /// Send a message, or standard input, and show what comes back.
    Send(Box<SendArgs>),
    /// Make a load, measure how it is served, and say whether that can be trusted.
    Load(Box<LoadArgs>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ProtocolName {
    Greet,
    Echo,
    Discard,
    Chat,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Sizes: 65536, 64KiB, 1M, 100k; k and M are 1000s, Ki and Mi are 1024s.
Durations: 500ms, 30s, 2m, 1h30m; `off` where a deadline may be missing.

UDP: whoever sends a datagram can write any address into it. So an answer is never longer than what
it answers; none goes to a port below 1024 or of the server's own number, where another server may
answer it; and no address is sent more than --replies-per-ip. With several addresses of its own a
machine should listen on each, not on 0.0.0.0: there an answer comes from whichever leads back.

Signals: SIGTERM or Ctrl-C stops in good order, a second one at once; SIGUSR1 prints the totals;
SIGUSR2 writes the trace, if there is one; SIGHUP loads the files of TLS again, and changes nothing
else, so a server goes on when its terminal is closed.

Sockets that a service manager hands over (systemd's LISTEN_FDS) are served with those of ADDRESS;
if no ADDRESS is given, they alone. At one that is called `tls` (FileDescriptorName=) TLS is spoken.
The manager is told when the server is ready, loads again and stops (NOTIFY_SOCKET), and that its
loop turns (WATCHDOG_USEC).

Examples:
  charkh serve                                   greet, at localhost:12345
  charkh serve --protocol echo 7000              echo, at localhost:7000
  charkh serve --protocol echo 7000 udp:7000     and what comes there by UDP
  charkh serve --protocol chat 0.0.0.0:7000 --idle 10m --max-per-ip 20
  charkh serve unix:/run/greet.sock --unix-mode 660
                                                 for users of this machine, and of one group
  charkh serve --protocol echo --stats 1s        with a line of numbers every second
  charkh serve --proxy-protocol --proxy-from 10.0.0.0/8 0.0.0.0:7000
                                                 behind a balancer that names its clients
  charkh serve tls:7443 7000 --tls-self-signed   encrypted at one port, as it is at the other
  charkh serve --trace trace.json                what the loop did last, for ui.perfetto.dev")]
pub(crate) struct ServeArgs {
    #[arg(value_name = "ADDRESS", help = addresses_help())]
    pub(crate) addresses: Vec<String>,
    /// What to say: greet answers `Hello Client!`, echo sends back what comes, discard answers
    /// nothing, chat passes lines to everyone else. By UDP, greet answers only who sends as many
    /// bytes as `Hello Client!` has, and chat does not serve.
    #[arg(long, value_enum, value_name = "NAME", default_value = "greet")]
    pub(crate) protocol: ProtocolName,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    turn: Turn,
    #[command(flatten)]
    buffers: Buffers,
    #[command(flatten)]
    udp: Udp,
    #[command(flatten)]
    deadlines: Deadlines,
    #[command(flatten)]
    pub(crate) tls: ServerTls,
    #[command(flatten)]
    sockets: Sockets,
    #[command(flatten)]
    proxies: Proxies,
    #[command(flatten)]
    pub(crate) reports: Reports,
}

fn addresses_help() -> String {
    format!(
        "Where to listen: host:port, [v6]:port, or a port of localhost, where 0 takes a free one, \
         each with tls: in front of it if TLS is spoken there, or udp: for datagrams; or \
         unix:path, and unix:@name for a name without a file (Linux) \
         [default: {}, or the sockets that were handed over]",
        address::DEFAULT
    )
}

fn usual() -> Config {
    Config::default()
}

fn max_connections_help() -> String {
    let most = usual().conns_max;
    format!(
        "Connections at once; refused at the start if there are not enough descriptors \
         [default: as many as there are descriptors for, at most {most}]"
    )
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct Limits {
    #[arg(long, value_name = "N", help = max_connections_help(), value_parser = connections)]
    max_connections: Option<Count>,
    /// Connections at once from one IPv4 address or one IPv6 /64 network, so that one client
    /// cannot take all.
    #[arg(long, value_name = "N|off", default_value_t = Maybe(usual().conns_per_ip.map(Count)))]
    max_per_ip: Maybe<Count>,
    /// Whether those there is no room for wait in the kernel's queue or are closed at once.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = usual().when_full.into())]
    when_full: Full,
    /// Memory for unread and unsent bytes of all connections together, and for what TLS keeps of
    /// each, which is at most half of it: more are refused. Above it the heaviest connection ends.
    #[arg(long, value_name = "SIZE", default_value_t = Size(usual().memory_max))]
    memory_max: Size,
}

fn connections(text: &str) -> Result<Count, String> {
    match text.parse()? {
        Count(count) if count >= 1 << 30 => Err("it must be less than 2^30".into()),
        count => Ok(count),
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Full {
    Wait,
    Refuse,
}

impl From<WhenFull> for Full {
    fn from(when_full: WhenFull) -> Self {
        match when_full {
            WhenFull::Wait => Full::Wait,
            WhenFull::Refuse => Full::Refuse,
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What one turn may take")]
struct Turn {
    /// Connections accepted at each address: a storm of new ones does not stop the others.
    #[arg(long, value_name = "N", default_value_t = Count(usual().accepts_max))]
    accepts_per_turn: Count,
    /// Outbound connections begun, for protocols that make any.
    #[arg(long, value_name = "N", default_value_t = Count(usual().connects_max))]
    connects_per_turn: Count,
    /// Handshakes gone on with, which may cost a thousand times what a message does.
    #[arg(long, value_name = "N", default_value_t = Count(usual().handshakes_max))]
    handshakes_per_turn: Count,
    /// Datagrams received at each udp: address; a flood does not stop the connections.
    #[arg(long, value_name = "N", default_value_t = Count(usual().datagrams_max))]
    datagrams_per_turn: Count,
    /// Bytes read: one who sends without pause does not keep the others waiting.
    #[arg(long, value_name = "SIZE", default_value_t = Size(usual().read_max),
        value_parser = size_within(1, 1 << 30))]
    read_per_turn: Size,
    /// Bytes written: one who is sent much does not either.
    #[arg(long, value_name = "SIZE", default_value_t = Size(usual().write_max),
        value_parser = size_within(1, usize::MAX))]
    write_per_turn: Size,
    /// Messages taken: nor does one who sends many small ones.
    #[arg(long, value_name = "N", default_value_t = Count(usual().frames_max))]
    frames_per_turn: Count,
    /// Jobs of other threads run, for protocols that have any.
    #[arg(long, value_name = "N", default_value_t = Count(usual().jobs_max))]
    jobs_per_turn: Count,
    /// Timers looked at: many that are due at once do not stop the connections.
    #[arg(long, value_name = "N", default_value_t = Count(usual().timers_max))]
    timers_per_turn: Count,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Buffers of one connection")]
struct Buffers {
    /// Bytes kept of a message that is not whole; above it the connection ends.
    #[arg(long, value_name = "SIZE", default_value_t = Size(usual().input_max))]
    input_max: Size,
    /// Bytes unsent; above it the connection of a client that does not read ends.
    #[arg(long, value_name = "SIZE", default_value_t = Size(usual().output_max))]
    output_max: Size,
    /// Bytes unsent above which nothing more is read: a client is answered at its own pace.
    #[arg(long, value_name = "SIZE", default_value_t = Size(usual().output_high))]
    output_high: Size,
    /// Bytes unsent at which reading goes on.
    #[arg(long, value_name = "SIZE", default_value_t = Size(usual().output_low))]
    output_low: Size,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "UDP")]
struct Udp {
    /// Answers to one IPv4 address or one IPv6 /64 network in a second: it may be a victim's.
    #[arg(long, value_name = "N|off", default_value_t = Maybe(usual().replies_per_ip.map(Count)))]
    replies_per_ip: Maybe<Count>,
    /// The longest datagram received; longer ones are dropped and counted.
    #[arg(long, value_name = "SIZE", default_value_t = Size(usual().datagram_size),
        value_parser = size_within(0, 65_535))]
    datagram_size: Size,
    /// Datagrams that may wait to be sent, until the end of a turn.
    #[arg(long, value_name = "N", default_value_t = Count(usual().datagrams_out_max))]
    datagrams_out_max: Count,
    /// Bytes that these may have, all together.
    #[arg(long, value_name = "SIZE", default_value_t = Size(usual().datagrams_out_bytes))]
    datagrams_out_bytes: Size,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Deadlines")]
struct Deadlines {
    /// How long a connection may be silent, so that the forgotten ones go.
    #[arg(long, value_name = "TIME|off", default_value_t = maybe(usual().idle))]
    idle: Maybe<Span>,
    /// How long a client may take to send its first byte, so that those who only connect go.
    #[arg(long, value_name = "TIME|off", default_value_t = maybe(usual().first_byte))]
    first_byte: Maybe<Span>,
    /// How long output may wait without a byte of it leaving, for clients that stopped reading.
    #[arg(long, value_name = "TIME|off", default_value_t = maybe(usual().write_stall))]
    write_stall: Maybe<Span>,
    /// How long a connection may live, whatever it does: no slow sender can stretch it.
    #[arg(long, value_name = "TIME|off", default_value_t = maybe(usual().lifetime))]
    lifetime: Maybe<Span>,
    /// How long an outbound connection may take to come up.
    #[arg(long, value_name = "TIME|off", default_value_t = maybe(usual().connect))]
    connect_timeout: Maybe<Span>,
    /// How long a handshake, of TLS or of the PROXY protocol, may take, whatever comes meanwhile.
    #[arg(long, value_name = "TIME|off", default_value_t = maybe(usual().handshake))]
    handshake_timeout: Maybe<Span>,
    /// How long a closed connection waits for the client's end, so that the last answer arrives.
    #[arg(long, value_name = "TIME", default_value_t = Span(usual().linger))]
    linger: Span,
    /// How many bytes of the client are thrown away meanwhile, for those who never stop.
    #[arg(long, value_name = "SIZE", default_value_t = Size(usual().linger_bytes as usize),
        value_parser = size_within(0, u32::MAX as usize))]
    linger_bytes: Size,
    /// How long a stopping server waits for its connections before it ends them.
    #[arg(long, value_name = "TIME", default_value_t = Span(usual().grace))]
    grace: Span,
}

fn maybe(span: Option<Duration>) -> Maybe<Span> {
    Maybe(span.map(Span))
}

fn keepalive(text: &str) -> Result<Maybe<Span>, String> {
    // Whole seconds, in 15 bits: more than that Linux does not take.
    let within = span_within(Duration::from_secs(1), Duration::from_secs(32_767));
    match text {
        "off" => Ok(Maybe(None)),
        text => within(text).map(|span| Maybe(Some(span))),
    }
}

fn unix_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode @ 0..=0o777) if text.chars().all(|c| c.is_digit(8)) => Ok(mode),
        _ => Err("it must be octal, from 0 to 777".into()),
    }
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sockets")]
struct Sockets {
    /// Connections that the kernel may hold until they are accepted.
    #[arg(long, value_name = "N", default_value_t = Count(usual().sockets.backlog))]
    backlog: Count,
    /// Let several processes listen on one port.
    #[arg(long)]
    reuse_port: bool,
    /// Let [::] take IPv6 alone, and not IPv4 too.
    #[arg(long)]
    only_v6: bool,
    /// Permission bits of the files of unix sockets: who may connect, such as 660 for the owner and
    /// the group [default: what the umask leaves].
    #[arg(long, value_name = "OCTAL", value_parser = unix_mode)]
    unix_mode: Option<u32>,
    /// Let small answers leave at once.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set,
        default_value_t = usual().sockets.nodelay)]
    no_delay: bool,
    /// Ask a silent client after this long whether its machine is still there.
    #[arg(long, value_name = "TIME|off", default_value_t = maybe(usual().sockets.keepalive),
        value_parser = keepalive)]
    keepalive: Maybe<Span>,
    /// The kernel's buffer for what is received, which takes twice as much of its memory at most
    /// [default: the system's own, which adapts].
    #[arg(long, value_name = "SIZE", value_parser = size_within(1, i32::MAX as usize))]
    recv_buffer: Option<Size>,
    /// The kernel's buffer for what is sent, likewise: with both, its memory for all connections is
    /// at most their number times twice the sum [default: the system's own, which adapts].
    #[arg(long, value_name = "SIZE", value_parser = size_within(1, i32::MAX as usize))]
    send_buffer: Option<Size>,
    /// What the kernel takes beyond what the client has room for: little, so that a slow reader
    /// can be told from one who has stopped (Linux).
    #[arg(long, value_name = "SIZE|off",
        default_value_t = Maybe(usual().sockets.unsent_max.map(Size)))]
    unsent_max: Maybe<Size>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Behind a balancer")]
struct Proxies {
    /// Let every connection begin with a header of the PROXY protocol, version 1 or 2: the client
    /// that it names is the one that is served, counted and logged.
    #[arg(long)]
    proxy_protocol: bool,
    /// Whose headers are believed, as networks or addresses: 10.0.0.0/8,fd00::/8,192.0.2.1. Whoever
    /// comes from elsewhere is refused; whoever comes from there without a header is closed.
    #[arg(long, value_name = "CIDR[,CIDR]", requires = "proxy_protocol")]
    proxy_from: Vec<TrustedProxies>,
    /// Bytes of a header, in version 2; a longer one closes the connection.
    #[arg(long, value_name = "SIZE", requires = "proxy_protocol",
        default_value_t = Size(AcceptProxy::HEADER_MAX), value_parser = size_within(232, 65_551))]
    proxy_header_max: Size,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Reports")]
pub(crate) struct Reports {
    /// Print a line of numbers so often, and one at the end.
    #[arg(long, value_name = "INTERVAL",
        value_parser = span_within(Duration::from_millis(10), Duration::from_secs(86_400)))]
    pub(crate) stats: Option<Span>,
    /// A turn that works longer is counted and logged, with whoever took so long.
    #[arg(long, value_name = "TIME", default_value_t = Span(usual().slow_turn))]
    slow_turn: Span,
    /// Record what the loop does, and write it to FILE at the end and on SIGUSR2: a Chrome trace,
    /// which <https://ui.perfetto.dev> opens.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Records kept, of what came last: a request makes four, each is 24 bytes of memory.
    #[arg(long, value_name = "N", default_value_t = Count(65_536), requires = "trace",
        value_parser = records)]
    trace_records: Count,
    /// How much is logged: off, error, warn, info, debug or trace [default: RUST_LOG, or info].
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    pub(crate) log_level: Option<LevelFilter>,
}

fn records(text: &str) -> Result<Count, String> {
    match text.parse()? {
        Count(count) if count > 1 << 30 => Err("it must be at most 2^30".into()),
        count => Ok(count),
    }
}

fn level(text: &str) -> Result<LevelFilter, String> {
    text.parse().map_err(|_| "write off, error, warn, info, debug or trace".into())
}

impl ServeArgs {
    /// How many connections were asked for, if that was said.
    pub(crate) fn max_connections(&self) -> Option<u32> {
        self.limits.max_connections.map(|Count(count)| count)
    }

    /// Those who say who their clients are, and in how many bytes; `None` if nobody is in front.
    pub(crate) fn proxies(&self) -> Result<Option<(TrustedProxies, usize)>, String> {
        let Proxies { proxy_protocol, proxy_from, proxy_header_max } = &self.proxies;
        match (proxy_protocol, proxy_from.is_empty()) {
            (false, _) => Ok(None),
            (true, true) => {
                Err("--proxy-protocol needs --proxy-from: say whose headers are to be \
                                 believed, as in --proxy-from 10.0.0.0/8"
                    .into())
            }
            (true, false) => {
                let trusted = proxy_from.iter().cloned().collect();
                Ok(Some((trusted, proxy_header_max.0)))
            }
        }
    }

    /// The limits that were asked for; but `conns_max`, which depends on the system, is the usual.
    pub(crate) fn config(&self) -> Config {
        let Self { limits, turn, buffers, udp, deadlines, sockets, reports, .. } = self;
        let when = |maybe: Maybe<Span>| maybe.0.map(|Span(span)| span);
        Config {
            conns_max: usual().conns_max,
            conns_per_ip: limits.max_per_ip.0.map(|Count(count)| count),
            when_full: match limits.when_full {
                Full::Wait => WhenFull::Wait,
                Full::Refuse => WhenFull::Refuse,
            },
            accepts_max: turn.accepts_per_turn.0,
            connects_max: turn.connects_per_turn.0,
            handshakes_max: turn.handshakes_per_turn.0,
            read_max: turn.read_per_turn.0,
            write_max: turn.write_per_turn.0,
            frames_max: turn.frames_per_turn.0,
            jobs_max: turn.jobs_per_turn.0,
            timers_max: turn.timers_per_turn.0,
            input_max: buffers.input_max.0,
            output_max: buffers.output_max.0,
            output_high: buffers.output_high.0,
            output_low: buffers.output_low.0,
            memory_max: limits.memory_max.0,
            datagrams_max: turn.datagrams_per_turn.0,
            datagram_size: udp.datagram_size.0,
            datagrams_out_max: udp.datagrams_out_max.0,
            datagrams_out_bytes: udp.datagrams_out_bytes.0,
            replies_per_ip: udp.replies_per_ip.0.map(|Count(count)| count),
            idle: when(deadlines.idle),
            first_byte: when(deadlines.first_byte),
            write_stall: when(deadlines.write_stall),
            lifetime: when(deadlines.lifetime),
            connect: when(deadlines.connect_timeout),
            handshake: when(deadlines.handshake_timeout),
            linger: deadlines.linger.0,
            linger_bytes: u32::try_from(deadlines.linger_bytes.0).unwrap_or(u32::MAX),
            grace: deadlines.grace.0,
            slow_turn: reports.slow_turn.0,
            trace: reports.trace.as_ref().map_or(0, |_| reports.trace_records.0 as usize),
            sockets: SocketOptions {
                backlog: sockets.backlog.0,
                reuse_port: sockets.reuse_port,
                only_v6: sockets.only_v6,
                unix_mode: sockets.unix_mode,
                nodelay: sockets.no_delay,
                keepalive: when(sockets.keepalive),
                recv_buffer: sockets.recv_buffer.map(|Size(size)| size),
                send_buffer: sockets.send_buffer.map(|Size(size)| size),
                unsent_max: sockets.unsent_max.0.map(|Size(size)| size),
            },
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
What comes back is shown as text, an answer to a MESSAGE after `Received from server: `; control
characters are escaped, unless --raw is given. The exit code is 1 if anything went wrong.

Examples:
  charkh send \"Hello Server!\"                       to localhost:12345
  charkh send --to localhost:7000                   talk, line by line; Ctrl-D ends it
  charkh send --to 7000 --raw < file > copy         through an echo server and back
  charkh send --proxy-header v1 --proxy-client 192.0.2.7:5000 \"Hello Server!\"
                                                    as a balancer would for that client
  charkh send --to tls:example.org:7443 \"Hello!\"   encrypted, to nobody else
  charkh send --to unix:/run/greet.sock hello       to a server of this machine
  charkh send --udp \"Hello Server!\"                 by UDP: one datagram, one answer")]
pub(crate) struct SendArgs {
    /// What to send; without it, standard input.
    pub(crate) message: Option<OsString>,
    /// The server: host:port, [v6]:port, a port of localhost, or unix:path; with tls: in front of
    /// it for TLS, or udp: for UDP.
    #[arg(long, short = 'a', value_name = "ADDRESS", default_value = address::DEFAULT)]
    pub(crate) to: String,
    /// Send datagrams: MESSAGE, or each line of standard input, is one, and one that answers it is
    /// waited for.
    #[arg(long)]
    pub(crate) udp: bool,
    /// Write exactly the bytes that come, and nothing else.
    #[arg(long)]
    pub(crate) raw: bool,
    /// How long to wait for a connection, and for the handshake of TLS.
    #[arg(long, value_name = "TIME|off", default_value_t = maybe(Timeouts::default().connect))]
    connect_timeout: Maybe<Span>,
    /// How long the server may be silent once all is sent, or take nothing while there is more.
    #[arg(long, value_name = "TIME|off", default_value_t = maybe(Timeouts::default().silence))]
    timeout: Maybe<Span>,
    /// Send a header of the PROXY protocol first, in this version: to a server that stands behind a
    /// balancer.
    #[arg(long, value_enum, value_name = "v1|v2")]
    proxy_header: Option<HeaderVersion>,
    /// Whom the header names, as address:port [default: this end of the connection].
    #[arg(long, value_name = "CLIENT", requires = "proxy_header")]
    pub(crate) proxy_client: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) tls: ClientTls,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HeaderVersion {
    V1,
    V2,
}

impl SendArgs {
    pub(crate) fn timeouts(&self) -> Timeouts {
        let when = |maybe: Maybe<Span>| maybe.0.map(|Span(span)| span);
        Timeouts { connect: when(self.connect_timeout), silence: when(self.timeout) }
    }

    pub(crate) fn proxy_header(&self) -> Option<Version> {
        self.proxy_header.map(|version| match version {
            HeaderVersion::V1 => Version::V1,
            HeaderVersion::V2 => Version::V2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn serve(args: &[&str]) -> Config {
        match Args::parse_from([&["charkh", "serve"], args].concat()).command {
            Command::Serve(args) => args.config(),
            _ => panic!("that was serve"),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn without_options_the_limits_are_those_of_the_library() {
        assert_eq!(format!("{:?}", serve(&[])), format!("{:?}", Config::default()));
    }

    #[test]
    fn every_limit_has_its_option() {
        let config = serve(
            &"--max-per-ip 1 --when-full refuse --accepts-per-turn 2 --connects-per-turn 3 \
              --handshakes-per-turn 27 --handshake-timeout 28s \
              --read-per-turn 4 --write-per-turn 5 --frames-per-turn 6 --jobs-per-turn 7 \
              --timers-per-turn 8 --input-max 9 --output-max 12 --output-high 11 --output-low 10 \
              --memory-max 13 --idle 14s --first-byte 15s --write-stall off --lifetime 16s \
              --connect-timeout off --linger 17s --linger-bytes 18 --grace 19s --slow-turn 20s \
              --backlog 21 --reuse-port --only-v6 --unix-mode 600 --no-delay false --keepalive 22s \
              --recv-buffer 23 --send-buffer 24 --unsent-max 25 --trace file --trace-records 26 \
              --datagrams-per-turn 29 --datagram-size 30 --datagrams-out-max 31 \
              --datagrams-out-bytes 32 --replies-per-ip 33"
                .split_whitespace()
                .collect::<Vec<_>>(),
        );
        let text = format!("{config:?}");
        // Every default is gone but the one that depends on the system.
        let other = Config { conns_max: config.conns_max, ..Config::default() };
        let (mine, theirs) = (text.split(", "), format!("{other:?}"));
        let same: Vec<&str> =
            mine.zip(theirs.split(", ")).filter(|(a, b)| a == b).map(|(a, _)| a).collect();
        assert_eq!(same, ["Config { conns_max: 1000000"]);
    }
}
