//! What CONFIG GET and CONFIG SET know, and the words behind the address at the start.
use super::reply::{Error, Reply, Result};

/// Settings that change something here. All others that clients ask for are fixed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of memory that keys may take, about; 0: no limit. When there are more, commands that
    /// could take more are refused. Default 1 GiB.
    pub maxmemory: usize,
    /// Bytes that a subscriber may have unsent; 0: no limit. One that has more is cut off. Default
    /// 32 MiB.
    pub subscriber_max: usize,
    /// Bytes of one answer, or of all that EXEC answers; 0: [`Reply::MAX`]. Who asks for more is
    /// told so and closed. At least [`Reply::KEEP_MAX`]. Default 0.
    pub answer_max: usize,
    /// Bytes of memory that all clients together may have unread and unsent; 0: no limit. When
    /// there are more, the heaviest client goes. Only at the start. Default 2 GiB.
    pub clients_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let (subscriber_max, clients_max) = (32 << 20, 2 << 30);
        Self { maxmemory: 1 << 30, subscriber_max, answer_max: 0, clients_max }
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
const CLIENTS: &str = "maxmemory-clients";

impl Settings {
    pub fn all(&self) -> Vec<(&'static str, String)> {
        let fixed = FIXED.iter().map(|(name, value)| (*name, value.to_string()));
        let (normal, pubsub) = (self.answer_max, self.subscriber_max);
        let limits = format!("normal {normal} 0 0 slave 0 0 0 pubsub {pubsub} 0 0");
        let own = [
            ("maxmemory", self.maxmemory.to_string()),
            (CLIENTS, self.clients_max.to_string()),
            (LIMITS, limits),
        ];
        fixed.chain(own).collect()
    }

    pub fn has(&self, name: &[u8]) -> bool {
        self.all().iter().any(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))
    }

    /// Before anybody is served more can be set than later.
    pub fn set_at_start(&mut self, name: &[u8], value: &[u8]) -> Result {
        match name.eq_ignore_ascii_case(CLIENTS.as_bytes()) {
            true => {
                let wrong = "argument must be a memory value";
                self.clients_max = memory(value).ok_or_else(|| failed(name, wrong))?;
                Ok(())
            }
            false => self.set(name, value),
        }
    }

    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result {
        let lower = name.to_ascii_lowercase();
        match &lower[..] {
            b"maxmemory" => {
                let wrong = "argument must be a memory value";
                self.maxmemory = memory(value).ok_or_else(|| failed(name, wrong))?;
            }
            other if other == LIMITS.as_bytes() => {
                let words = value.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
                if !words.count().is_multiple_of(4) {
                    let wrong = "Wrong number of arguments in buffer limit configuration.";
                    return Err(failed(name, wrong));
                }
                let wrong = "Invalid client class specified in buffer limit configuration.";
                self.set_limits(value).ok_or_else(|| failed(name, wrong))?;
            }
            other if other == CLIENTS.as_bytes() => {
                return Err(failed(name, "can't set immutable config"));
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

    /// `CLASS HARD SOFT SECONDS`, once or more; only hard limits are kept. A class that is not
    /// named keeps its own.
    fn set_limits(&mut self, text: &[u8]) -> Option<()> {
        let words: Vec<&[u8]> =
            text.split(|&byte| byte == b' ').filter(|w| !w.is_empty()).collect();
        for class in words.chunks(4) {
            let (hard, _, _) = (memory(class[1])?, memory(class[2])?, memory(class[3])?);
            match &class[0].to_ascii_lowercase()[..] {
                b"pubsub" => self.subscriber_max = hard,
                b"normal" => self.answer_max = hard,
                b"slave" | b"replica" => {}
                _ => return None,
            }
        }
        Some(())
    }

    /// Bytes that one answer may have.
    pub fn reply_max(&self) -> usize {
        let max = if self.answer_max == 0 { Reply::MAX } else { self.answer_max };
        max.clamp(Reply::KEEP_MAX, Reply::MAX)
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
