//! The options of `charkh load`.
use std::{path::PathBuf, time::Duration};

use crate::cli::{
    tls::ClientTls,
    units::{Count, Size, Span, size_within, span_within},
};

use super::{promise::Promise, reply::Reply, sources::Sources};

const EXAMPLES: &str = "\
A closed loop sends the next request when a reply is there: it asks how fast the target can be.
An open loop (--rate) sends by the clock, and counts latency from the time that was planned: it
asks how long people wait who do not wait for each other.

One connection more is made and closed before all others, to see whether anybody is there.

The verdict is VALID, SUSPECT or INVALID: whether the figures tell of the target, or of this program
and its machine. Exit status: 0 valid; 1 wrong usage; 2 the target failed; 3 suspect; 4 invalid.

Examples:
  charkh load 7000                                         an echo server at localhost:7000
  charkh load 80 --reply http -c 50                        GET / over 50 connections
  charkh load 6379 --message 'PING\\r\\n' --reply resp --depth 16
  charkh load 7000 --rate 10000 -d 60s --html load.html    an open loop, and a page to look at
  charkh load 7000 --find-max 'p99<5ms'                    how much it can take and keep that
  charkh load 7000 -c 19000 --hold -d 1m                   connections, and nothing else
  charkh load tls:7443 --insecure --per-connection 1       a handshake for each request
  charkh load merge a.json b.json --html all.html          what several machines have measured";

#[derive(Debug, clap::Args)]
#[command(
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub(crate) struct LoadArgs {
    #[command(subcommand)]
    pub(crate) merge: Option<Merge>,
    /// The target: host:port, [v6]:port, a port of localhost, or unix:path; with tls: in front of
    /// it for TLS.
    #[arg(required = true)]
    pub(crate) address: Option<String>,
    #[command(flatten)]
    pub(crate) shape: Shape,
    #[command(flatten)]
    pub(crate) messages: Messages,
    #[command(flatten)]
    pub(crate) tls: ClientTls,
    #[command(flatten)]
    pub(crate) reports: LoadReports,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Merge {
    /// Add up what several runs have measured at the same time: the files that --json wrote.
    Merge {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        files_out: Files,
    },
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Shape of the load")]
pub(crate) struct Shape {
    /// Connections, of all threads together.
    #[arg(long, short, value_name = "N", default_value_t = Count(50))]
    pub(crate) connections: Count,
    /// Connects begun in a second [default: as fast as they are accepted].
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) ramp: Option<f64>,
    /// Connects under way at once.
    #[arg(long, value_name = "N", default_value_t = Count(128))]
    pub(crate) connecting: Count,
    /// Send nothing: only hold the connections.
    #[arg(long, conflicts_with_all = ["rate", "requests", "depth", "find_max"])]
    pub(crate) hold: bool,
    /// But a message on each so often, spread evenly.
    #[arg(long, value_name = "TIME", requires = "hold",
        value_parser = span_within(Duration::from_millis(1), Duration::from_secs(86_400)))]
    pub(crate) heartbeat: Option<Span>,
    /// How long to measure [default: 10s; with --requests, until they are done; with --find-max, 2s
    /// for each trial].
    #[arg(long, short, value_name = "TIME", value_parser = a_while())]
    pub(crate) duration: Option<Span>,
    /// Requests to measure, of all connections together. Without --duration, they are given up when
    /// there was no connection for a second longer than --timeout.
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: Option<u64>,
    /// Load before measuring, which is not counted [default: none; with --find-max, 500ms].
    #[arg(long, value_name = "TIME", value_parser = a_while())]
    pub(crate) warmup: Option<Span>,
    /// Messages under way on each connection.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=32_768))]
    pub(crate) depth: u16,
    /// Replies on each connection, which is then closed, and another opened [default: no end].
    #[arg(long, value_name = "N", conflicts_with = "hold")]
    pub(crate) per_connection: Option<Count>,
    /// With TLS, take earlier sessions up again, where the target lets us: such a handshake is
    /// shorter [default: each is a full one].
    #[arg(long)]
    pub(crate) resume: bool,
    /// An open loop: so many requests a second, of all connections together, each at its time.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Search for the highest rate that keeps a promise: 'p99<5ms', 'p50<800us', 'max<1s'.
    #[arg(long, value_name = "PROMISE", conflicts_with_all = ["rate", "requests"])]
    pub(crate) find_max: Option<Promise>,
    /// Threads, each with a loop of its own and its part of the connections.
    #[arg(long, short, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) threads: u32,
    /// Local addresses to connect from, in turn, each with its own range of ports:
    /// 127.0.0.2-127.0.0.20, or several with commas.
    #[arg(long, value_name = "RANGE")]
    pub(crate) source: Option<Sources>,
    /// How long a connect, a handshake, and a reply may take, each.
    #[arg(long, value_name = "TIME", default_value_t = Span(Duration::from_secs(10)),
        value_parser = span_within(Duration::from_millis(1), Duration::from_secs(3_600)))]
    pub(crate) timeout: Span,
    /// End connections with a reset: the target sees an error, and this machine keeps no port
    /// waiting.
    #[arg(long)]
    pub(crate) reset: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Messages")]
pub(crate) struct Messages {
    /// Bytes of a message: a pattern that is different each time, and checked when it comes back
    /// [default: 64].
    #[arg(long, value_name = "SIZE", value_parser = size_within(1, 1 << 30))]
    pub(crate) size: Option<Size>,
    /// The message, with \r \n \t \0 \\ \xHH and \u{..} as in Rust [default with --reply http: a
    /// GET of /; with --reply resp: PING].
    #[arg(long, value_name = "TEXT", conflicts_with = "size")]
    pub(crate) message: Option<String>,
    /// The message, as it stands in this file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["size", "message"])]
    pub(crate) message_file: Option<PathBuf>,
    /// What a reply is: echo (the same bytes, each checked), size:N, line, length:4be (a prefix of
    /// 1, 2, 4 or 8 bytes, be or le), until:HEX (up to and with these bytes), http, or resp
    /// (Redis).
    #[arg(long, value_name = "KIND", default_value = "echo")]
    pub(crate) reply: Reply,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Reports")]
pub(crate) struct LoadReports {
    /// How often a line tells how it goes, where standard output is no terminal.
    #[arg(long, value_name = "TIME", default_value_t = Span(Duration::from_secs(1)),
        value_parser = span_within(Duration::from_millis(100), Duration::from_secs(86_400)))]
    pub(crate) interval: Span,
    /// Nothing while it runs: only the results.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) files: Files,
}

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Files {
    /// Write the results here, as JSON (docs/load-json.md), for `charkh load merge` and for
    /// programs.
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub(crate) json: Option<PathBuf>,
    /// Write the percentiles of latency here, in milliseconds, as HdrHistogram's plotter reads
    /// them.
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub(crate) hdr: Option<PathBuf>,
    /// Write a page with charts here, which needs nothing else.
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub(crate) html: Option<PathBuf>,
}

impl Shape {
    pub(crate) fn warmup(&self) -> Duration {
        let usual = if self.find_max.is_some() { 500 } else { 0 };
        self.warmup.map_or(Duration::from_millis(usual), |Span(span)| span)
    }

    pub(crate) fn duration(&self) -> Option<Duration> {
        match (self.duration, self.requests, &self.find_max) {
            (Some(Span(span)), ..) => Some(span),
            (None, Some(_), _) => None,
            (None, None, Some(_)) => Some(Duration::from_secs(2)),
            (None, None, None) => Some(Duration::from_secs(10)),
        }
    }
}

fn a_while() -> impl Fn(&str) -> Result<Span, String> + Clone + Send + Sync {
    span_within(Duration::from_millis(10), Duration::from_secs(30 * 86_400))
}

/// So many a second: `10000`, `2.5k`, `1M`, `0.2`.
fn rate(text: &str) -> Result<f64, String> {
    let (digits, factor) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1e3),
        None => match text.strip_suffix('M') {
            Some(digits) => (digits, 1e6),
            None => (text, 1.0),
        },
    };
    match digits.parse::<f64>().map(|rate| rate * factor) {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(rate),
        Ok(_) => Err("it must be from 0.001 to 1000M a second".into()),
        Err(_) => Err("it is no rate: write 10000, 2.5k or 1M, a second".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_what_people_write() {
        for (text, wanted) in [("10000", 1e4), ("2.5k", 2500.0), ("1M", 1e6), ("0.2", 0.2)] {
            assert_eq!(rate(text), Ok(wanted));
        }
        for text in ["0", "-1", "inf", "nan", "1e12"] {
            assert!(rate(text).unwrap_err().contains("from 0.001"), "{text}");
        }
        assert!(rate("fast").unwrap_err().contains("write 10000"));
    }
}
