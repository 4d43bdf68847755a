//! What a run came to: what `--json` writes and `charkh load merge` adds up, and what every other
//! report is made of. `docs/load-json.md` says what each field means; a field may be added, but
//! none changes its meaning without another [`VERSION`].
use std::collections::BTreeMap;

use charkh::tls::Tls;
use serde::{Deserialize, Serialize};

use super::{distribution::Distribution, search::Search};

/// Of the format.
pub(crate) const VERSION: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) version: u32,
    /// What wrote this: `charkh 0.1.0`.
    pub(crate) program: String,
    /// The command line; of merged results, all of them.
    pub(crate) commands: Vec<String>,
    pub(crate) target: String,
    /// When it began: seconds since 1970, UTC.
    pub(crate) began_unix: f64,
    /// Processes that made the load: more than one only when merged.
    pub(crate) generators: u32,
    pub(crate) threads: u32,
    /// Since the beginning: when measuring began, and how long it went on.
    pub(crate) measured_from_s: f64,
    pub(crate) measured_s: f64,
    /// What was planned in an open loop, a second; none in a closed one.
    pub(crate) planned_rate: Option<f64>,
    pub(crate) connections: Connections,
    /// While measuring: requests that were answered, whole and right, and the bytes of them and
    /// of everything else that crossed the wire.
    pub(crate) requests: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Planned, but never sent, because no connection was free or the generator was late.
    pub(crate) unsent: u64,
    /// From the planned time to the last byte of the reply; in a closed loop, from the sending.
    pub(crate) latency: Distribution,
    /// From the sending to the last byte.
    pub(crate) service: Distribution,
    /// From the sending to the first byte of the reply.
    pub(crate) first_byte: Distribution,
    /// From asking for a connection until it was there, over the whole run.
    pub(crate) connect: Distribution,
    /// From then on until the handshake was over, if there was one.
    #[serde(default, skip_serializing_if = "Distribution::is_empty")]
    pub(crate) handshake: Distribution,
    #[serde(default, skip_serializing_if = "Secured::is_empty")]
    pub(crate) tls: Secured,
    /// What went wrong, over the whole run, by kind.
    pub(crate) errors: BTreeMap<String, u64>,
    /// The first error of each kind, in words: which byte was wrong, what the system said.
    pub(crate) examples: BTreeMap<String, String>,
    pub(crate) series: Series,
    pub(crate) fairness: Fairness,
    pub(crate) testimony: Testimony,
    pub(crate) verdict: Verdict,
    /// Of `--find-max`; the rest is of its last trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) search: Option<Search>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Connections {
    pub(crate) asked: u64,
    /// Most at once.
    pub(crate) up_max: u64,
    /// That came up, those that came up again included.
    pub(crate) opened: u64,
    /// From the first call until the last of them was up or had failed.
    pub(crate) connecting_s: f64,
}

/// The handshakes of TLS, over the whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Secured {
    /// How many came to agree on which version and cipher suite.
    pub(crate) agreed: BTreeMap<String, u64>,
    /// That took an earlier session up again, and were shorter.
    pub(crate) resumed: u64,
}

impl Secured {
    pub(crate) fn note(&mut self, tls: &Tls) {
        let (version, suite) = (tls.version(), tls.cipher_suite());
        let agreed = format!("{} {}", version.unwrap_or("TLS"), suite.unwrap_or("unknown"));
        *self.agreed.entry(agreed).or_default() += 1;
        self.resumed += u64::from(tls.was_resumed());
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (agreed, count) in &other.agreed {
            *self.agreed.entry(agreed.clone()).or_default() += count;
        }
        self.resumed += other.resumed;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.agreed.is_empty()
    }
}

/// The whole run, in slices of time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) slice_ms: u64,
    pub(crate) slices: Vec<Slice>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Slice {
    pub(crate) requests: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) errors: u64,
    /// Connections that were up when it ended.
    pub(crate) up: u64,
    /// Latencies: how many in which band ([`bands`](super::bands)), bands without any left out.
    pub(crate) latency: BTreeMap<u8, u64>,
}

/// How evenly the connections were served while measuring. The sums are what can be added.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Fairness {
    /// (sum of x)^2 / (n * sum of x^2), x the requests of each connection: 1 if all had the same,
    /// 1/n if one had all.
    pub(crate) jain: f64,
    pub(crate) connections: u64,
    pub(crate) sum: u64,
    pub(crate) sum_of_squares: f64,
    /// Longest time that a connection with a request under way went without a reply.
    pub(crate) longest_gap_ms: f64,
    /// Which had the least, and how many: its number, counted from 0 by each generator.
    pub(crate) most_starved: u64,
    pub(crate) most_starved_requests: u64,
}

/// What the generator says of itself, while measuring.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Testimony {
    /// How late each send was against its plan though a connection was free.
    pub(crate) lateness: Distribution,
    /// How long each reply waited, at most, between the kernel's word and its turn here.
    pub(crate) handling: Distribution,
    /// The longest turn of a loop, and the bound that 99 of 100 kept.
    pub(crate) longest_turn_ms: f64,
    pub(crate) turn_p99_ms: f64,
    /// Of all threads: time on a processor, time they waited for one, and the time there was.
    pub(crate) cpu_s: f64,
    pub(crate) waited_s: Option<f64>,
    pub(crate) wall_s: f64,
    /// The busiest thread: its share of a processor.
    pub(crate) busiest: f64,
    /// Of the machine's processor time, what its host gave to others.
    pub(crate) steal: Option<f64>,
    /// Limits of this machine that were met: how often, by name.
    pub(crate) limits: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Trust {
    Valid,
    Suspect,
    Invalid,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) trust: Trust,
    /// Why not [`Trust::Valid`], in sentences.
    pub(crate) reasons: Vec<String>,
}

impl Verdict {
    /// Not better than [`Trust::Suspect`], for this reason too.
    pub(crate) fn doubt(&mut self, reason: String) {
        self.trust = self.trust.max(Trust::Suspect);
        self.reasons.push(reason);
    }
}
