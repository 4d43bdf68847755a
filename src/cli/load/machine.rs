//! What this machine allows: how many connections can be opened here, and what stands in the way.
//! What a system does not tell is `None`; reading it never fails.
use std::{
    fs,
    net::{IpAddr, UdpSocket},
    path::Path,
};

use super::super::limits;

#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// How many this process may open; `u64::MAX` where nothing says so.
    pub(crate) descriptors: u64,
    /// How many it has opened.
    pub(crate) open_now: u64,
    pub(crate) ports: Option<Ports>,
    /// What a listener's backlog is cut to.
    pub(crate) somaxconn: Option<u64>,
    /// Bytes that can still be had, of the machine or of what this control group may use of it,
    /// whichever is less.
    pub(crate) memory_available: Option<u64>,
    /// Connections that the firewall keeps track of, if it does.
    pub(crate) conntrack: Option<Conntrack>,
    /// Processors that this process may use; at least one.
    pub(crate) cores: usize,
}

/// Where the system takes the port of a connection from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ports {
    pub(crate) first: u16,
    pub(crate) last: u16,
    /// Those between them that are kept for others.
    pub(crate) reserved: u16,
}

impl Ports {
    /// From one address, to one target.
    pub(crate) fn count(self) -> u64 {
        u64::from(self.last - self.first) + 1 - u64::from(self.reserved)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Conntrack {
    pub(crate) used: u64,
    pub(crate) max: u64,
}

impl Machine {
    /// Also raises the process's own limit of descriptors as far as it goes.
    pub(crate) fn read() -> Self {
        let memory = text("/proc/meminfo").and_then(|text| memory_available(&text));
        Self {
            descriptors: limits::descriptors().unwrap_or(u64::MAX),
            open_now: limits::open_now(),
            ports: text("/proc/sys/net/ipv4/ip_local_port_range").and_then(|range| {
                let reserved = text("/proc/sys/net/ipv4/ip_local_reserved_ports");
                ports(&range, &reserved.unwrap_or_default())
            }),
            somaxconn: number("/proc/sys/net/core/somaxconn"),
            memory_available: [memory, group_room()].into_iter().flatten().min(),
            conntrack: number("/proc/sys/net/netfilter/nf_conntrack_count")
                .zip(number("/proc/sys/net/netfilter/nf_conntrack_max"))
                .map(|(used, max)| Conntrack { used, max }),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Whether this address is one of this machine's own, so that both halves of a connection to it
/// live here.
pub(crate) fn is_local(address: IpAddr) -> bool {
    // Nobody else's can be bound to; a datagram socket disturbs no server.
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn number(path: impl AsRef<Path>) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

/// From the two of `/proc/sys/net/ipv4`: `32768 60999` and `8080,9000-9100`, which may be empty.
fn ports(range: &str, reserved: &str) -> Option<Ports> {
    let mut ends = range.split_whitespace().map(str::parse::<u16>);
    let (Some(Ok(first)), Some(Ok(last)), None) = (ends.next(), ends.next(), ends.next()) else {
        return None;
    };
    if first > last {
        return None;
    }
    let is_reserved = |port: &u16| {
        reserved.trim().split(',').any(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            matches!((from.parse(), to.parse()), (Ok(from), Ok(to)) if (from..=to).contains(port))
        })
    };
    // One by one: what is kept may overlap, and reach beyond the range.
    let count = match reserved.trim() {
        "" => 0,
        _ => (first..=last).filter(is_reserved).count().min(u16::MAX.into()),
    };
    Some(Ports { first, last, reserved: count as u16 })
}

/// From `/proc/meminfo`.
fn memory_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What this process's control group (version 2) and those around it leave, if any of them has a
/// limit.
fn group_room() -> Option<u64> {
    let own = text("/proc/self/cgroup")?;
    let root = Path::new("/sys/fs/cgroup");
    let groups = root.join(group(&own)?.trim_start_matches('/'));
    let rooms = groups.ancestors().take_while(|group| group.starts_with(root)).filter_map(|at| {
        let stat = text(at.join("memory.stat")).unwrap_or_default();
        room(&text(at.join("memory.max"))?, &text(at.join("memory.current"))?, &stat)
    });
    rooms.min()
}

/// From `/proc/self/cgroup`: the line of version 2.
fn group(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

/// From a group's `memory.max`, `memory.current` and `memory.stat`; `None` without a limit.
fn room(max: &str, current: &str, stat: &str) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    // Pages of files that nobody has used lately are given up for whoever needs memory.
    let files = stat.lines().find_map(|line| line.strip_prefix("inactive_file "));
    let files: u64 = files.and_then(|files| files.trim().parse().ok()).unwrap_or(0);
    Some(max.saturating_sub(current.saturating_sub(files)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_counted_without_those_that_are_kept_for_others() {
        let count = |range, reserved| ports(range, reserved).map(Ports::count);
        assert_eq!(count("32768\t60999\n", "\n"), Some(28_232));
        assert_eq!(count("32768 60999", "8080,35000,40000-40009,60990-65535\n"), Some(28_211));
        assert_eq!(count("32768 60999", "40000-40009,40005-40014"), Some(28_217));
        assert_eq!(count("1024 65535", ""), Some(64_512));
        assert_eq!(count("0 65535", "0-65535"), Some(1)); // one more than can be said
        assert_eq!(count("5000 5000", "5000"), Some(0));
        assert_eq!(count("1024 65535", "one,2-,-3,9-8,,1025"), Some(64_511));
        for garbage in ["", "32768", "60999 32768", "32768 99999", "a b", "1 2 3"] {
            assert_eq!(count(garbage, ""), None, "{garbage:?}");
        }
    }

    #[test]
    fn memory_is_what_can_be_had() {
        let meminfo = "MemTotal:       24684084 kB\nMemFree:        20520988 kB\n\
                       MemAvailable:   23920464 kB\nBuffers:          200000 kB\n";
        assert_eq!(memory_available(meminfo), Some(23_920_464 << 10));
        for garbage in [
            "",
            "MemFree: 1 kB",
            "MemAvailable: 12",
            "MemAvailable: x kB",
            "MemAvailable:  kB",
            "MemAvailable: 18446744073709551615 kB",
        ] {
            assert_eq!(memory_available(garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn a_control_group_leaves_its_limit_less_what_is_used_and_not_given_back() {
        let stat = "anon 4096\nfile 900\ninactive_file 300\nactive_file 600\n";
        assert_eq!(room("1000\n", "700\n", stat), Some(600));
        assert_eq!(room("1000\n", "700\n", ""), Some(300));
        assert_eq!(room("1000\n", "1700\n", ""), Some(0));
        assert_eq!(room("1000", "200", stat), Some(1000));
        assert_eq!(room("max\n", "700\n", stat), None);
        assert_eq!(room("", "", "inactive_file x"), None);
        let both = "4:memory:/old\n0::/user.slice/user-1000.slice\n";
        assert_eq!(group(both), Some("/user.slice/user-1000.slice"));
        assert_eq!(group("4:memory:/old\n"), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        let machine = Machine::read();
        assert!(machine.cores > 0 && machine.open_now > 0, "{machine:?}");
        assert!(machine.descriptors > machine.open_now, "{machine:?}");
        if cfg!(target_os = "linux") {
            assert!(machine.ports.is_some(), "{machine:?}");
        }
    }

    #[test]
    fn loopback_is_local_and_an_address_for_documents_is_not() {
        assert!(is_local([127, 0, 0, 1].into()) && is_local([127, 9, 9, 9].into()));
        assert!(is_local(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)));
        assert!(!is_local([192, 0, 2, 1].into()));
    }
}
