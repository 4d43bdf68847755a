//! `--source`: the addresses that connections are made from, each with ports of its own.
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// More are a mistake sooner than a wish.
const MAX: u64 = 65_536;

/// Addresses of one family, each once; at least one, at most 65 536.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sources {
    is_v4: bool,
    /// As numbers, both ends included, in the order in which they were given.
    ranges: Vec<(u128, u128)>,
}

impl Sources {
    pub(crate) fn len(&self) -> u64 {
        self.ranges.iter().map(|&(first, last)| (last - first) as u64 + 1).sum()
    }

    /// The one for connection `n`: they take turns.
    pub(crate) fn get(&self, n: u64) -> IpAddr {
        let mut left = u128::from(n % self.len());
        for &(first, last) in &self.ranges {
            if left <= last - first {
                return self.address(first + left);
            }
            left -= last - first + 1;
        }
        unreachable!("all ranges together are as long as their sum");
    }

    /// Whether these can connect to that address.
    pub(crate) fn check(&self, target: IpAddr) -> Result<(), String> {
        if self.is_v4 == target.is_ipv4() {
            return Ok(());
        }
        let family = |is_v4| if is_v4 { "IPv4" } else { "IPv6" };
        Err(format!(
            "--source {self} is {}, and the target {target} is {}: both must be of one family",
            family(self.is_v4),
            family(target.is_ipv4())
        ))
    }

    fn address(&self, number: u128) -> IpAddr {
        match self.is_v4 {
            true => Ipv4Addr::from_bits(number as u32).into(),
            false => Ipv6Addr::from_bits(number).into(),
        }
    }

    fn twice(&self) -> Option<IpAddr> {
        let mut sorted = self.ranges.clone();
        sorted.sort_unstable();
        let overlap = sorted.windows(2).find(|pair| pair[1].0 <= pair[0].1)?;
        Some(self.address(overlap[1].0))
    }
}

impl FromStr for Sources {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut family: Option<IpAddr> = None;
        let mut ranges = Vec::new();
        let mut all = 0;
        for part in text.split(',') {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (parse(from)?, parse(to)?);
            let known = *family.get_or_insert(first);
            if let Some(other) = [first, last].iter().find(|ip| ip.is_ipv4() != known.is_ipv4()) {
                return Err(format!("{known} and {other} are of two families: give one of them"));
            }
            let (first, last) = (number(first), number(last));
            if first > last {
                return Err(format!("{part} goes backwards: write {to}-{from}"));
            }
            // Saturates: a range of IPv6 may be longer than any number here.
            all = u64::try_from(last - first).unwrap_or(u64::MAX).saturating_add(1 + all);
            if all > MAX {
                return Err(format!("it has more than {MAX} addresses: give fewer"));
            }
            ranges.push((first, last));
        }
        let is_v4 = family.is_some_and(|family| family.is_ipv4());
        let sources = Self { is_v4, ranges };
        match sources.twice() {
            // It would pass for two, with twice the ports.
            Some(twice) => Err(format!("{twice} is in it twice: give each address once")),
            None => Ok(sources),
        }
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, &(first, last)) in self.ranges.iter().enumerate() {
            if n > 0 {
                f.write_str(",")?;
            }
            write!(f, "{}", self.address(first))?;
            if first < last {
                write!(f, "-{}", self.address(last))?;
            }
        }
        Ok(())
    }
}

fn parse(text: &str) -> Result<IpAddr, String> {
    let wrong = "is no address: write 127.0.0.2, 127.0.0.2-127.0.0.20 or ::1, several with commas";
    text.parse().map_err(|_| format!("{text:?} {wrong}"))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Sources {
        text.parse().unwrap()
    }

    #[test]
    fn what_people_write_is_counted_and_shown_as_it_was_written() {
        for (text, len) in [
            ("127.0.0.1", 1),
            ("127.0.0.2-127.0.0.20", 19),
            ("127.0.0.9,127.0.0.2-127.0.0.3,10.0.0.1", 4),
            ("127.0.0.250-127.0.1.5", 12),
            ("255.255.255.254-255.255.255.255", 2),
            ("10.0.0.0-10.0.255.255", 65_536),
            ("::1", 1),
            ("2001:db8::fffe-2001:db8::1:1", 4),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 2),
        ] {
            assert_eq!((sources(text).len(), sources(text).to_string()), (len, text.to_string()));
        }
        assert_eq!(sources("127.0.0.2-127.0.0.2").to_string(), "127.0.0.2");
    }

    #[test]
    fn connections_take_turns() {
        let all = sources("127.0.0.255-127.0.1.0,10.0.0.1");
        let got: Vec<String> = (0..5).map(|n| all.get(n).to_string()).collect();
        assert_eq!(got, ["127.0.0.255", "127.0.1.0", "10.0.0.1", "127.0.0.255", "127.0.1.0"]);
        assert_eq!(all.get(u64::MAX), all.get(0)); // u64::MAX is three times something
        let last = sources("::ffff-::1:0").get(1);
        assert_eq!(last, "::1:0".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn what_is_wrong_is_named_in_one_sentence() {
        for (text, says) in [
            ("", "\"\" is no address: write 127.0.0.2"),
            ("localhost", "\"localhost\" is no address"),
            ("127.0.0.1,", "\"\" is no address"),
            ("127.0.0.1-", "\"\" is no address"),
            ("127.0.0.1-20", "\"20\" is no address"),
            ("127.0.0.1 ,::1", "\"127.0.0.1 \" is no address"),
            ("127.0.0.1-127.0.0.2-127.0.0.3", "\"127.0.0.2-127.0.0.3\" is no address"),
            ("127.0.0.9-127.0.0.2", "goes backwards: write 127.0.0.2-127.0.0.9"),
            ("127.0.0.9-::1", "127.0.0.9 and ::1 are of two families"),
            ("::1,127.0.0.9", "::1 and 127.0.0.9 are of two families"),
            ("10.0.0.0-10.1.0.0", "more than 65536 addresses"),
            ("10.0.0.0-10.0.255.255,127.0.0.1", "more than 65536 addresses"),
            ("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "more than 65536 addresses"),
            ("127.0.0.2-127.0.0.9,127.0.0.1,127.0.0.9", "127.0.0.9 is in it twice"),
            ("127.0.0.9,127.0.0.2-127.0.0.20", "127.0.0.9 is in it twice"),
        ] {
            let error = text.parse::<Sources>().unwrap_err();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    #[test]
    fn they_reach_targets_of_their_family_alone() {
        let (v4, v6) = ([127, 0, 0, 1].into(), IpAddr::V6(Ipv6Addr::LOCALHOST));
        assert_eq!(sources("127.0.0.2").check(v4), Ok(()));
        assert_eq!(sources("::1").check(v6), Ok(()));
        let error = sources("127.0.0.2-127.0.0.3").check(v6).unwrap_err();
        assert!(error.starts_with("--source 127.0.0.2-127.0.0.3 is IPv4, and the target ::1 is"));
        assert!(sources("::1").check(v4).is_err());
    }
}
