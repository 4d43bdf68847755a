//! What a run will open, against what this machine allows: said before anything is opened, and
//! refused if it cannot work.
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use super::{
    super::{limits, units::Span},
    figures::{bytes, counted, grouped, roughly},
    machine::{Conntrack, Machine},
};

/// What the kernel keeps for one end of an idle TCP connection. Measured on Linux 6.18, x86-64:
/// `Slab` of `/proc/meminfo` before and after 5 000 connections over loopback, both ends in one
/// process and in one epoll set. It grew by 8 205 to 8 223 bytes for each (7 410 the first time,
/// into slabs that had room), the same after 64 bytes had gone there and back. By `/proc/slabinfo`
/// the half of it is a TCP socket (2 360), its inode (825), its place in epoll (255), a directory
/// entry and a file (190 each), and small things.
const KERNEL_BYTES: u64 = 4_110;

/// The same of a unix socket: 4 850 to 5 000 bytes for both ends.
const KERNEL_BYTES_UNIX: u64 = 2_500;

/// What the program itself keeps for one that has nothing under way.
const USER_BYTES: u64 = 150;

/// And for each request that may be under way on it.
const FLIGHT_BYTES: u64 = 16;

/// And for one that is encrypted: what rustls keeps. Measured with 4 000 idle connections of TLS
/// 1.3 to `charkh serve`, which kept 3 551 bytes for each, where this program kept 4 147 in all.
const TLS_BYTES: u64 = 4_000;

/// Descriptors for each thread: its poll, what wakes it, a timer, and what tells how it fares.
const THREAD_DESCRIPTORS: u64 = 4;

#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// `None`: a unix socket.
    pub(crate) target: Option<IpAddr>,
    /// The server's half of each connection lives on this machine too.
    pub(crate) target_is_local: bool,
    /// Connections are encrypted.
    pub(crate) secured: bool,
    pub(crate) connections: u64,
    /// Addresses to connect from; 1 if none was given.
    pub(crate) sources: u64,
    pub(crate) threads: u64,
    /// Most that are being connected at once.
    pub(crate) connecting: u64,
    pub(crate) pace: Pace,
    /// What goes back and forth: `64 B messages`.
    pub(crate) messages: String,
    /// Bytes of one.
    pub(crate) size: u64,
    /// How long, or how much, in words: `10s`, `until 500 requests are done`.
    pub(crate) lasts: String,
    pub(crate) warm_up: Duration,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Pace {
    /// Connections are held, nothing is sent.
    Hold,
    /// As fast as replies come: so many requests under way on each connection.
    Closed { depth: u64 },
    /// So many requests a second by all together, whatever comes back; no more than `depth` under
    /// way on each connection.
    Open { rate: f64, depth: u64 },
}

/// What will be done, as lines: the plan, the walls, and what to beware of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    summary: String,
    walls: String,
    warnings: Vec<String>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plan: {}\nwalls: {}", self.summary, self.walls)?;
        self.warnings.iter().try_for_each(|warning| write!(f, "\nbeware: {warning}"))
    }
}

/// Fails in one sentence if so many connections cannot be had here.
pub(crate) fn plan(wanted: &Wanted, machine: &Machine) -> Result<Plan, String> {
    let walls = walls(wanted, machine);
    let first = walls.iter().min_by_key(|wall| wall.room);
    if let Some(wall) = first.filter(|wall| wall.room < wanted.connections) {
        return Err((wall.refusal)(wanted, machine, wall.room));
    }
    Ok(Plan {
        summary: summary(wanted),
        walls: match first {
            Some(first) => {
                let all: Vec<&str> = walls.iter().map(|wall| wall.says.as_str()).collect();
                format!(
                    "{}; the first is {} at {}",
                    all.join(", "),
                    first.name,
                    grouped(first.room)
                )
            }
            None => "none that this system tells of".into(),
        },
        warnings: warnings(wanted, machine),
    })
}

/// Something of which there is only so much.
struct Wall {
    name: &'static str,
    /// So many connections fit before it.
    room: u64,
    says: String,
    /// For more than fit.
    refusal: fn(&Wanted, &Machine, u64) -> String,
}

fn walls(wanted: &Wanted, machine: &Machine) -> Vec<Wall> {
    let mut walls = Vec::new();
    if machine.descriptors < u64::MAX {
        let room = machine.descriptors.saturating_sub(own(wanted, machine));
        let says = format!("{} (room for {})", grouped(machine.descriptors), grouped(room));
        walls.push(Wall { name: "descriptors", room, says, refusal: few_descriptors });
    }
    if let Some(ports) = machine.ports.filter(|_| wanted.target.is_some()) {
        let room = ports.count().saturating_mul(wanted.sources);
        let sources = counted(wanted.sources, "address", "addresses");
        let says = format!("{} ({sources})", grouped(room));
        walls.push(Wall { name: "ports", room, says, refusal: few_ports });
    }
    if let Some(memory) = machine.memory_available {
        let room = memory / bytes_each(wanted);
        let both = if wanted.target_is_local { ", the server's half included" } else { "" };
        let says = format!(
            "{} (room for some {} at {} each{both})",
            bytes(memory),
            roughly(room),
            bytes(bytes_each(wanted))
        );
        walls.push(Wall { name: "memory", room, says, refusal: little_memory });
    }
    if let Some(table) = tracked(wanted, machine).filter(|table| table.used > 0) {
        let room = table.max.saturating_sub(table.used);
        let says = format!("{} (room for {})", grouped(table.max), grouped(room));
        walls.push(Wall { name: "conntrack", room, says, refusal: small_table });
    }
    for wall in &mut walls {
        wall.says = format!("{} {}", wall.name, wall.says);
    }
    walls
}

/// The firewall's table, if it would keep track of these.
fn tracked(wanted: &Wanted, machine: &Machine) -> Option<Conntrack> {
    machine.conntrack.filter(|_| wanted.target.is_some())
}

/// Descriptors that are not for connections.
fn own(wanted: &Wanted, machine: &Machine) -> u64 {
    machine.open_now + limits::RESERVE + wanted.threads.saturating_mul(THREAD_DESCRIPTORS)
}

/// What a connection takes of this machine's memory: idle, and for the requests that may be under
/// way, which wait somewhere, here or there.
fn bytes_each(wanted: &Wanted) -> u64 {
    let depth = match wanted.pace {
        Pace::Hold => 0,
        Pace::Closed { depth } | Pace::Open { depth, .. } => depth,
    };
    let under_way = depth.saturating_mul(FLIGHT_BYTES + wanted.size);
    // What a server keeps of its own is not known; ours is as good a guess as any.
    let ends = if wanted.target_is_local { 2 } else { 1 };
    let kernel = if wanted.target.is_some() { KERNEL_BYTES } else { KERNEL_BYTES_UNIX };
    let secured = if wanted.secured { TLS_BYTES } else { 0 };
    ((kernel + USER_BYTES + secured) * ends).saturating_add(under_way)
}

fn few_descriptors(wanted: &Wanted, machine: &Machine, room: u64) -> String {
    // Other processes of this machine have descriptors of their own, but neither ports nor memory.
    let short = |wall: &Wall| wall.room < wanted.connections;
    let others: Vec<&str> =
        walls(wanted, machine).iter().filter(|wall| short(wall)).map(|wall| wall.name).collect();
    let from = if others.contains(&"ports") { " from a --source of its own" } else { "" };
    let mut split = String::new();
    if room > 0 && !others.contains(&"memory") && !others.contains(&"conntrack") {
        let runs = wanted.connections.div_ceil(room);
        split = format!(
            "run {}, each with {}{from}, and add their results with `charkh load merge`, or ",
            grouped(runs),
            grouped(wanted.connections.div_ceil(runs))
        );
    }
    format!(
        "{} need as many descriptors, and this process may open {} and needs {} for itself: \
         {split}raise the limit (RLIMIT_NOFILE hard limit)",
        counted(wanted.connections, "connection", "connections"),
        grouped(machine.descriptors),
        grouped(own(wanted, machine))
    )
}

fn few_ports(wanted: &Wanted, machine: &Machine, room: u64) -> String {
    let has = if wanted.sources == 1 { "has" } else { "have" };
    let each = machine.ports.map_or(0, |ports| ports.count());
    let advice = match each {
        0 => String::new(),
        each => format!("give --source {}, or ", enough_sources(wanted, each)),
    };
    format!(
        "{} need as many ports to this target, and {} {has} {}: {advice}widen \
         net.ipv4.ip_local_port_range",
        counted(wanted.connections, "connection", "connections"),
        counted(wanted.sources, "address", "addresses"),
        grouped(room)
    )
}

/// What to write after `--source`.
fn enough_sources(wanted: &Wanted, each: u64) -> String {
    let count = wanted.connections.div_ceil(each);
    // Of loopback addresses, IPv4 has a whole network that nobody has to set up; 127.0.0.1 is
    // left to those who take no address of their own.
    let first = Ipv4Addr::new(127, 0, 0, 2);
    let last = u32::try_from(count).ok().and_then(|count| first.to_bits().checked_add(count - 1));
    let last = last.map(Ipv4Addr::from_bits).filter(|last| last.is_loopback());
    match last {
        Some(last) if wanted.target.is_some_and(|ip| ip.is_ipv4() && ip.is_loopback()) => {
            match last {
                last if last == first => first.to_string(),
                last => format!("{first}-{last}"),
            }
        }
        _ => format!("{} of this machine", counted(count, "address", "addresses")),
    }
}

fn little_memory(wanted: &Wanted, machine: &Machine, room: u64) -> String {
    let (half, elsewhere) = match wanted.target_is_local {
        true if wanted.target.is_none() => (", the server's half included", ""),
        true => (", the server's half included", ", or run one of both on another machine"),
        false => ("", ", or share the load with other machines (`charkh load merge`)"),
    };
    format!(
        "{} need {} of memory ({} each{half}), and {} can be had: ask for at most {}{elsewhere}",
        counted(wanted.connections, "connection", "connections"),
        bytes(wanted.connections.saturating_mul(bytes_each(wanted))),
        bytes(bytes_each(wanted)),
        bytes(machine.memory_available.unwrap_or(0)),
        roughly(room)
    )
}

fn small_table(wanted: &Wanted, machine: &Machine, room: u64) -> String {
    let (used, max) = machine.conntrack.map_or((0, 0), |table| (table.used, table.max));
    format!(
        "{} would fill the firewall's table of connections, which holds {} and has {} in it: \
         raise net.netfilter.nf_conntrack_max, or ask for at most {}",
        counted(wanted.connections, "connection", "connections"),
        grouped(max),
        grouped(used),
        grouped(room)
    )
}

fn summary(wanted: &Wanted) -> String {
    let messages = &wanted.messages;
    let deep = |depth: u64| match depth {
        1 => "1 request".into(),
        depth => format!("{} requests", grouped(depth)),
    };
    let pace = match wanted.pace {
        Pace::Hold => "held idle".into(),
        Pace::Closed { depth } => {
            format!("closed loop of depth {}, {messages}", grouped(depth))
        }
        Pace::Open { rate, depth } => {
            let rate = match rate.fract() == 0.0 {
                true => grouped(rate as u64),
                false => rate.to_string(),
            };
            format!(
                "open loop of {rate} requests a second, at most {} under way on each, {messages}",
                deep(depth)
            )
        }
    };
    let warm_up = match wanted.warm_up {
        Duration::ZERO => String::new(),
        warm_up => format!(" after {} of warm-up", Span(warm_up)),
    };
    let from = match wanted.target {
        Some(_) => format!(" from {}", counted(wanted.sources, "address", "addresses")),
        None => String::new(),
    };
    format!(
        "{}{from}, {}, {pace}, {}{warm_up}",
        counted(wanted.connections, "connection", "connections"),
        counted(wanted.threads, "thread", "threads"),
        wanted.lasts
    )
}

/// What works, but not as somebody might think.
fn warnings(wanted: &Wanted, machine: &Machine) -> Vec<String> {
    let mut warnings = Vec::new();
    let cores = machine.cores as u64;
    let connecting = wanted.connecting.min(wanted.connections);
    if let Some(somaxconn) =
        machine.somaxconn.filter(|&max| wanted.target_is_local && max < connecting)
    {
        let late = match wanted.target {
            Some(_) => "some wait a second or more and try again",
            None => "some are refused",
        };
        warnings.push(format!(
            "{} are connected at once, and a server here has a backlog of at most {} \
             (net.core.somaxconn): if it is slow to accept, {late}",
            grouped(connecting),
            grouped(somaxconn)
        ));
    }
    // A table with nothing in it is mostly one that no rule uses, which is no reason to refuse.
    let unused = tracked(wanted, machine).filter(|table| table.used == 0);
    if let Some(table) = unused.filter(|table| table.max < wanted.connections) {
        warnings.push(format!(
            "if this machine's firewall keeps track of connections, its table is full at {} \
             (net.netfilter.nf_conntrack_max)",
            grouped(table.max)
        ));
    }
    if wanted.threads > cores {
        warnings.push(format!(
            "{} share {}: they will wait for each other",
            counted(wanted.threads, "thread", "threads"),
            counted(cores, "processor", "processors")
        ));
    } else if wanted.target_is_local && wanted.threads == cores && wanted.pace != Pace::Hold {
        warnings.push(format!(
            "the server runs on this machine, and {} of load for {} {} none for it alone",
            counted(wanted.threads, "thread", "threads"),
            counted(cores, "processor", "processors"),
            if wanted.threads == 1 { "leaves" } else { "leave" }
        ));
    }
    if wanted.threads > wanted.connections {
        warnings.push(format!(
            "{} for {}: some have nothing to do",
            counted(wanted.threads, "thread", "threads"),
            counted(wanted.connections, "connection", "connections")
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::{super::machine::Ports, *};

    fn machine() -> Machine {
        Machine {
            descriptors: 20_000,
            open_now: 4,
            ports: Some(Ports { first: 32_768, last: 60_999, reserved: 0 }),
            somaxconn: Some(4_096),
            memory_available: Some(22 << 30),
            conntrack: None,
            cores: 4,
        }
    }

    fn wanted(connections: u64) -> Wanted {
        Wanted {
            target: Some([127, 0, 0, 1].into()),
            target_is_local: false,
            connections,
            sources: 1,
            threads: 1,
            connecting: 512,
            secured: false,
            pace: Pace::Closed { depth: 1 },
            messages: "64 B messages".into(),
            size: 64,
            lasts: "10s".into(),
            warm_up: Duration::from_secs(1),
        }
    }

    fn refusal(wanted: &Wanted, machine: &Machine) -> String {
        plan(wanted, machine).unwrap_err()
    }

    #[test]
    fn a_plan_is_what_will_be_opened_and_which_wall_comes_first() {
        assert_eq!(
            plan(&wanted(50), &machine()).unwrap().to_string(),
            "plan: 50 connections from 1 address, 1 thread, closed loop of depth 1, 64 B \
             messages, 10s after 1s of warm-up\n\
             walls: descriptors 20 000 (room for 19 976), ports 28 232 (1 address), memory 22 GiB \
             (room for some 5 400 000 at 4.2 KiB each); the first is descriptors at 19 976"
        );
        let local = Wanted { target_is_local: true, sources: 2, ..wanted(1) };
        let table = Conntrack { used: 100, max: 1_000 };
        let machine = Machine { conntrack: Some(table), ..machine() };
        let text = plan(&local, &machine).unwrap().to_string();
        for part in [
            "plan: 1 connection from 2 addresses, ",
            "ports 56 464 (2 addresses), ",
            "some 2 700 000 at 8.4 KiB each, the server's half included), ",
            "conntrack 1 000 (room for 900); the first is conntrack at 900",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn paces_are_told_apart() {
        let says = |pace, ms| {
            let warm_up = Duration::from_millis(ms);
            summary(&Wanted { pace, warm_up, threads: 2, ..wanted(2_000) })
        };
        let begin = "2 000 connections from 1 address, 2 threads, ";
        assert_eq!(says(Pace::Hold, 0), format!("{begin}held idle, 10s"));
        assert_eq!(
            says(Pace::Open { rate: 20_000.0, depth: 16 }, 500),
            format!(
                "{begin}open loop of 20 000 requests a second, at most 16 requests under way on \
                 each, 64 B messages, 10s after 500ms of warm-up"
            )
        );
        let says = says(Pace::Open { rate: 0.5, depth: 1 }, 0);
        assert!(says.contains("of 0.5 requests a second, at most 1 request under"), "{says}");
    }

    #[test]
    fn what_this_process_cannot_open_is_refused_from_the_first_on() {
        assert!(plan(&wanted(19_976), &machine()).is_ok());
        assert_eq!(
            refusal(&wanted(19_977), &machine()),
            "19 977 connections need as many descriptors, and this process may open 20 000 and \
             needs 24 for itself: run 2, each with 9 989, and add their results with `charkh load \
             merge`, or raise the limit (RLIMIT_NOFILE hard limit)"
        );
        let says = refusal(&wanted(30_000), &machine());
        assert!(says.contains("run 2, each with 15 000 from a --source of its own, and"), "{says}");
        let small = Machine { memory_available: Some(80_000_000), ..machine() };
        let says = refusal(&wanted(19_977), &Machine { descriptors: 1_000, ..small });
        assert!(says.contains("needs 24 for itself: raise the limit"), "{says}");
        let threads = Wanted { threads: 2, ..wanted(19_973) };
        assert!(refusal(&threads, &machine()).contains("needs 28 for itself"));
        let none = Machine { descriptors: 24, ..machine() };
        let says = refusal(&wanted(1), &none);
        assert!(says.ends_with("needs 24 for itself: raise the limit (RLIMIT_NOFILE hard limit)"));
    }

    #[test]
    fn more_than_there_are_ports_for_is_refused_with_the_addresses_that_would_do() {
        let machine = Machine { descriptors: u64::MAX, ..machine() };
        assert!(plan(&wanted(28_232), &machine).is_ok());
        assert_eq!(
            refusal(&wanted(28_233), &machine),
            "28 233 connections need as many ports to this target, and 1 address has 28 232: give \
             --source 127.0.0.2-127.0.0.3, or widen net.ipv4.ip_local_port_range"
        );
        let two = Wanted { sources: 2, ..wanted(60_000) };
        let says = refusal(&two, &machine);
        assert!(says.contains("2 addresses have 56 464: give --source 127.0.0.2-127.0.0.4,"));
        assert!(plan(&Wanted { sources: 3, ..two }, &machine).is_ok());
        for target in [[10, 0, 0, 7].into(), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)] {
            let target = Some(target);
            let says = refusal(&Wanted { target, ..wanted(30_000) }, &machine);
            assert!(says.contains("give --source 2 addresses of this machine, or"), "{says}");
        }
        let taken = Ports { first: 5_000, last: 5_009, reserved: 10 };
        let says = refusal(&wanted(1), &Machine { ports: Some(taken), ..machine });
        assert!(says.ends_with("1 address has 0: widen net.ipv4.ip_local_port_range"), "{says}");
    }

    #[test]
    fn more_than_memory_holds_is_refused_and_a_local_server_takes_its_half() {
        let machine = Machine {
            descriptors: u64::MAX,
            ports: None,
            memory_available: Some(4_260_000),
            ..machine()
        };
        let idle = |connections| Wanted { pace: Pace::Hold, ..wanted(connections) };
        assert!(plan(&idle(1_000), &machine).is_ok());
        let pace = Pace::Closed { depth: 1_000_000 };
        assert!(plan(&Wanted { pace, ..wanted(1) }, &machine).is_err(), "so much under way");
        assert_eq!(
            refusal(&idle(1_001), &machine),
            "1 001 connections need 4.1 MiB of memory (4.2 KiB each), and 4.1 MiB can be had: ask \
             for at most 1 000, or share the load with other machines (`charkh load merge`)"
        );
        let local = |connections| Wanted { target_is_local: true, ..idle(connections) };
        assert!(plan(&local(500), &machine).is_ok());
        let says = refusal(&local(501), &machine);
        assert!(says.contains("(8.3 KiB each, the server's half included)"), "{says}");
        assert!(says.ends_with("at most 500, or run one of both on another machine"), "{says}");
    }

    #[test]
    fn what_would_fill_the_firewall_s_table_is_refused() {
        let table = Conntrack { used: 40, max: 100 };
        let machine = Machine { conntrack: Some(table), ..machine() };
        assert!(plan(&wanted(60), &machine).is_ok());
        assert_eq!(
            refusal(&wanted(61), &machine),
            "61 connections would fill the firewall's table of connections, which holds 100 and \
             has 40 in it: raise net.netfilter.nf_conntrack_max, or ask for at most 60"
        );
        let full = Conntrack { used: 101, max: 100 };
        assert!(plan(&wanted(1), &Machine { conntrack: Some(full), ..machine.clone() }).is_err());
        let unused = Machine { conntrack: Some(Conntrack { used: 0, max: 100 }), ..machine };
        assert_eq!(warnings(&wanted(100), &unused), [""; 0]);
        assert!(
            plan(&wanted(101), &unused).unwrap().to_string().contains("its table is full at 100")
        );
    }

    #[test]
    fn a_unix_socket_has_no_ports_and_no_firewall_and_is_always_here() {
        let table = Conntrack { used: 1, max: 2 };
        let machine = Machine { conntrack: Some(table), descriptors: 100_000, ..machine() };
        let unix = Wanted { target: None, target_is_local: true, ..wanted(40_000) };
        assert_eq!(
            plan(&unix, &machine).unwrap().to_string(),
            "plan: 40 000 connections, 1 thread, closed loop of depth 1, 64 B messages, 10s after \
             1s of warm-up\n\
             walls: descriptors 100 000 (room for 99 976), memory 22 GiB (room for some 4 300 000 \
             at 5.3 KiB each, the server's half included); the first is descriptors at 99 976"
        );
        let small = Machine { memory_available: Some(1_000_000), ..machine };
        let says = refusal(&unix, &small);
        assert!(says.ends_with(" can be had: ask for at most 180"), "{says}");
        let slow = Wanted { connecting: 4_097, ..unix };
        assert!(warnings(&slow, &small)[0].ends_with("some are refused"));
    }

    #[test]
    fn of_several_walls_the_first_is_named() {
        let says = refusal(&wanted(1_000_000_000), &machine());
        assert!(says.contains("as many descriptors"), "{says}");
        let fewer = Machine { ports: Some(Ports { first: 1, last: 9, reserved: 0 }), ..machine() };
        let says = refusal(&wanted(1_000_000_000), &fewer);
        assert!(says.contains("as many ports"), "{says}");
        let silent =
            Machine { descriptors: u64::MAX, ports: None, memory_available: None, ..machine() };
        let says = plan(&wanted(u64::MAX), &silent).unwrap().to_string();
        assert!(says.ends_with("walls: none that this system tells of"), "{says}");
    }

    #[test]
    fn what_works_otherwise_than_one_might_think_is_said() {
        let says = |wanted: &Wanted| warnings(wanted, &machine()).join("\n");
        let local = Wanted { target_is_local: true, ..wanted(10_000) };
        let quiet = [
            Wanted { connecting: 4_096, ..local.clone() },
            Wanted { connecting: 4_097, ..wanted(10_000) },
            Wanted { connecting: 10_000, connections: 4_096, ..local.clone() },
            Wanted { threads: 3, ..local.clone() },
            Wanted { threads: 4, pace: Pace::Hold, ..local.clone() },
            Wanted { threads: 4, ..wanted(4) },
        ];
        for wanted in &quiet {
            assert_eq!(says(wanted), "", "{wanted:?}");
        }
        for (wanted, part) in [
            (Wanted { connecting: 4_097, ..local.clone() }, "4 097 are connected at once, and"),
            (Wanted { threads: 4, ..local }, "4 threads of load for 4 processors leave none"),
            (Wanted { threads: 5, ..wanted(5) }, "5 threads share 4 processors"),
            (Wanted { threads: 2, ..wanted(1) }, "2 threads for 1 connection: some have nothing"),
        ] {
            assert!(says(&wanted).contains(part), "{wanted:?}");
            let plan = plan(&wanted, &machine()).unwrap().to_string();
            assert_eq!(plan.matches("\nbeware: ").count(), 1, "{plan}");
        }
    }
}
