//! What CONFIG GET and CONFIG SET know, and the words behind the address at the start.
use super::reply::{Error, Result};

/// Settings that change something here. All others that clients ask for are fixed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of memory that keys may take, about; 0: no limit. When there are more, commands that
    /// could take more are refused. Default 1 GiB.
    pub maxmemory: usize,
    /// Bytes that a subscriber may have unsent; 0: no limit. One that has more is cut off. Default
    /// 32 MiB.
    pub subscriber_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { maxmemory: 1 << 30, subscriber_max: 32 << 20 }
    }
}

/// What clients look at, and what it is here.
const FIXED: &[(&str, &str)] = &[
    ("appendonly", "no"),
    ("databases", "16"),
    ("hz", "10"),
    ("maxmemory-policy", "noeviction"),
    ("notify-keyspace-events", ""),
    ("proto-max-bulk-len", "536870912"),
    ("save", ""),
    ("timeout", "0"),
];

const LIMITS: &str = "client-output-buffer-limit";

impl Settings {
    pub fn all(&self) -> Vec<(&'static str, String)> {
        let fixed = FIXED.iter().map(|(name, value)| (*name, value.to_string()));
        let limits = format!("normal 0 0 0 slave 0 0 0 pubsub {} 0 0", self.subscriber_max);
        let own = [("maxmemory", self.maxmemory.to_string()), (LIMITS, limits)];
        fixed.chain(own).collect()
    }

    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result {
        let lower = name.to_ascii_lowercase();
        match &lower[..] {
            b"maxmemory" => {
                let wrong = "argument must be a memory value";
                self.maxmemory = memory(value).ok_or_else(|| failed(name, wrong))?;
            }
            other if other == LIMITS.as_bytes() => {
                let wrong = "Invalid client class specified in buffer limit configuration.";
                self.subscriber_max = limits(value).ok_or_else(|| failed(name, wrong))?;
            }
            other => match FIXED.iter().find(|(known, _)| known.as_bytes() == other) {
                None => {
                    let text = b"ERR Unknown option or number of arguments for CONFIG SET - '";
                    return Err(Error::built([&text[..], name, b"'"].concat()));
                }
                // Tools set what is so already.
                Some((_, fixed)) if fixed.as_bytes() == value => {}
                Some(_) => return Err(failed(name, "can't set immutable config")),
            },
        }
        Ok(())
    }
}

fn failed(name: &[u8], why: &str) -> Error {
    let text = b"ERR CONFIG SET failed (possibly related to argument '";
    Error::built([&text[..], name, b"') - ", why.as_bytes()].concat())
}

/// `100mb` is 100 times 2 to the 20th.
fn memory(text: &[u8]) -> Option<usize> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at(digits);
    let number: usize = std::str::from_utf8(number).ok()?.parse().ok()?;
    let unit: usize = match &unit.to_ascii_lowercase()[..] {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// `CLASS HARD SOFT SECONDS`, once or more; here the hard limit of `pubsub` is what counts.
fn limits(text: &[u8]) -> Option<usize> {
    let words: Vec<&[u8]> = text.split(|&byte| byte == b' ').filter(|w| !w.is_empty()).collect();
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return None;
    }
    let mut limit = None;
    for class in words.chunks(4) {
        let hard = memory(class[1])?;
        match class[0] {
            b"pubsub" => limit = Some(hard),
            b"normal" | b"slave" | b"replica" => {}
            _ => return None,
        }
    }
    limit
}
