//! Counts, sizes and durations as people type them, and system errors as people read them.
use std::{fmt, io, str::FromStr, time::Duration};

use bytesize::ByteSize;

/// How many; at least one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Count(pub(crate) u32);

/// Bytes: `65536`, `64KiB`, `100k`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Size(pub(crate) usize);

/// Time: `30s`, `500ms`, `1h30m`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span(pub(crate) Duration);

/// Something that may be `off`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Maybe<T>(pub(crate) Option<T>);

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(0) => Err("it must be at least 1".into()),
            Ok(count) => Ok(Self(count)),
            Err(_) => Err(format!("it must be a whole number from 1 to {}", u32::MAX)),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let no_size = |_| "it is no size: write 65536, 64KiB or 100k".to_string();
        let size: ByteSize = text.parse().map_err(no_size)?;
        usize::try_from(size.as_u64()).map(Self).map_err(|_| "it is more than fits".into())
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.parse::<f64>().is_ok() {
            return Err(format!("{text} what? write {text}s or {text}ms"));
        }
        let no_span = |_| "it is no duration: write 30s, 500ms, 2m or 1h30m".to_string();
        humantime::parse_duration(text).map(Self).map_err(no_span)
    }
}

impl<T: FromStr> FromStr for Maybe<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        match text {
            "off" => Ok(Self(None)),
            text => text.parse().map(|some| Self(Some(some))),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        let whole = |bits: u32| self.0 > 0 && self.0.trailing_zeros() >= bits;
        match units.into_iter().find(|&(bits, _)| whole(bits)) {
            Some((bits, unit)) => write!(f, "{}{unit}", self.0 >> bits),
            None => self.0.fmt(f),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&humantime::format_duration(self.0).to_string().replace(' ', ""))
    }
}

impl<T: fmt::Display> fmt::Display for Maybe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(some) => some.fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// A parser of sizes from `min` to `max`.
pub(crate) fn size_within(
    min: usize,
    max: usize,
) -> impl Fn(&str) -> Result<Size, String> + Clone + Send + Sync {
    move |text| match text.parse()? {
        Size(size) if size < min => Err(format!("it must be at least {}", Size(min))),
        Size(size) if size > max => Err(format!("it must be at most {}", Size(max))),
        size => Ok(size),
    }
}

/// A parser of durations from `min` to `max`.
pub(crate) fn span_within(
    min: Duration,
    max: Duration,
) -> impl Fn(&str) -> Result<Span, String> + Clone + Send + Sync {
    move |text| match text.parse()? {
        Span(span) if span < min => Err(format!("it must be at least {}", Span(min))),
        Span(span) if span > max => Err(format!("it must be at most {}", Span(max))),
        span => Ok(span),
    }
}

/// What a system error says, as part of a sentence.
pub(crate) fn reason(e: &io::Error) -> String {
    match e.kind() {
        _ if e.get_ref().is_some() => e.to_string(), // it is one already
        io::ErrorKind::ConnectionRefused => "connection refused (is the server running?)".into(),
        io::ErrorKind::ConnectionReset => "connection reset by the server".into(),
        io::ErrorKind::AddrInUse => "address already in use (is another server running?)".into(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".into(),
        io::ErrorKind::PermissionDenied => {
            "permission denied (ports below 1024 may be the superuser's: take a higher one)".into()
        }
        _ => words(e),
    }
}

/// The same of a unix socket.
#[cfg_attr(not(unix), allow(dead_code))]
pub(crate) fn unix_reason(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::NotFound if e.get_ref().is_none() => {
            "there is no such socket (is the server running?)".into()
        }
        io::ErrorKind::PermissionDenied => words(e),
        // EPROTOTYPE, which has no name of its own there.
        _ if words(e) == "Protocol wrong type for socket" => {
            "it is a socket for datagrams, not for connections".into()
        }
        _ => reason(e),
    }
}

/// The same in the system's own words: for what has nothing to do with a network.
pub(crate) fn words(e: &io::Error) -> String {
    let text = e.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(text, _)| text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, size) in [
            ("0", 0),
            ("65536", 65536),
            ("64KiB", 65536),
            ("64ki", 65536),
            ("100k", 100_000),
            ("1M", 1_000_000),
            ("1.5MiB", 3 << 19),
        ] {
            assert_eq!(text.parse(), Ok(Size(size)), "{text}");
        }
        for text in ["", "k", "-1", "1.5", "64KiBs", "sixty", "1e9", "99999999999999999999"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        let within = size_within(2, 4);
        assert!(within("1").is_err() && within("5").is_err() && within("4").is_ok());
    }

    #[test]
    fn durations() {
        for (text, ms) in [("30s", 30_000), ("500ms", 500), ("2m", 120_000), ("1h30m", 5_400_000)] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(ms))), "{text}");
        }
        let says = |text: &str| text.parse::<Span>().unwrap_err();
        assert_eq!(says("30"), "30 what? write 30s or 30ms");
        for text in ["", "s", "-3s", "soon", "30 parsecs", "99999999999999999999s"] {
            assert!(says(text).contains("write 30s"), "{text}");
        }
        assert_eq!("off".parse::<Maybe<Span>>(), Ok(Maybe(None)));
        assert!(says("1.5").contains("what?"));
    }

    #[test]
    fn what_is_shown_can_be_typed() {
        for size in [0, 1, 1023, 1024, 65536, 1 << 20, 3 << 30, 1_000_000] {
            assert_eq!(Size(size).to_string().parse(), Ok(Size(size)));
        }
        for ms in [0, 1, 999, 1000, 90_000, 5_400_123] {
            let span = Span(Duration::from_millis(ms));
            assert_eq!(span.to_string().parse(), Ok(span));
        }
        for maybe in [Maybe(None), Maybe(Some(Count(7)))] {
            assert_eq!(maybe.to_string().parse(), Ok(maybe));
        }
        assert_eq!(Size(64 << 10).to_string(), "64KiB");
        assert_eq!(Span(Duration::from_secs(5400)).to_string(), "1h30m");
    }

    #[test]
    fn a_system_error_is_part_of_a_sentence() {
        let says = |code| reason(&io::Error::from_raw_os_error(code));
        assert!(!says(9).contains("os error"));
    }
}
