//! Replies, written as RESP2 or RESP3. What was written for one read of requests leaves together.
use std::borrow::Cow;

use super::number::Digits;

/// What went wrong, with its code first: `ERR syntax error`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error(Cow<'static, [u8]>);

pub type Result<T = ()> = std::result::Result<T, Error>;

impl Error {
    pub const SYNTAX: Error = Error::new("ERR syntax error");
    pub const WRONG_TYPE: Error =
        Error::new("WRONGTYPE Operation against a key holding the wrong kind of value");
    pub const NOT_INT: Error = Error::new("ERR value is not an integer or out of range");
    pub const NOT_FLOAT: Error = Error::new("ERR value is not a valid float");
    pub const NO_KEY: Error = Error::new("ERR no such key");
    pub const OVERFLOW: Error = Error::new("ERR increment or decrement would overflow");
    pub const OOM: Error = Error::new("OOM command not allowed when used memory > 'maxmemory'.");

    pub const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }

    pub fn built(text: impl Into<Vec<u8>>) -> Self {
        Self(Cow::Owned(text.into()))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Writes what one client is answered.
#[derive(Debug)]
pub struct Reply {
    pub bytes: Vec<u8>,
    /// RESP3 has more types than RESP2; each says how it is written there.
    pub resp3: bool,
    /// No more bytes than that are gathered.
    pub max: usize,
    /// What was to be written did not fit, and was left out: this is no answer any more.
    pub is_over: bool,
}

impl Default for Reply {
    fn default() -> Self {
        Self { bytes: Vec::new(), resp3: false, max: Self::MAX, is_over: false }
    }
}

impl Reply {
    /// One huge reply must not keep its memory for ever.
    pub const KEEP_MAX: usize = 256 << 10;

    /// The longest string, with some room beside it. A few bytes can ask for any number of copies
    /// of what is kept (MGET k k k..., SRANDMEMBER s -1000000, a transaction of GETs).
    pub const MAX: usize = (512 << 20) + (1 << 20);

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        if self.bytes.len() + bytes.len() > self.max {
            self.is_over = true;
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn head(&mut self, sign: u8, number: i64) {
        if let 0..=9 = number {
            return self.put(&[sign, b'0' + number as u8, b'\r', b'\n']);
        }
        self.put(&[sign]);
        self.put(Digits::new(number).as_bytes());
        self.put(b"\r\n");
    }

    pub fn ok(&mut self) {
        self.put(b"+OK\r\n");
    }

    /// A text of one line.
    pub fn status(&mut self, text: &str) {
        self.put(b"+");
        self.put(text.as_bytes());
        self.put(b"\r\n");
    }

    /// Ends of lines in it are blanks.
    pub fn error(&mut self, error: &Error) {
        self.put(b"-");
        for (n, line) in error.bytes().split(|byte| matches!(byte, b'\r' | b'\n')).enumerate() {
            self.put(if n == 0 { b"" } else { b" " });
            self.put(line);
        }
        self.put(b"\r\n");
    }

    pub fn int(&mut self, number: i64) {
        self.head(b':', number);
    }

    pub fn len(&mut self, number: usize) {
        self.int(number as i64);
    }

    /// As 1 or 0.
    pub fn flag(&mut self, flag: bool) {
        self.put(if flag { b":1\r\n" } else { b":0\r\n" });
    }

    pub fn bulk(&mut self, bytes: &[u8]) {
        self.head(b'$', bytes.len() as i64);
        self.put(bytes);
        self.put(b"\r\n");
    }

    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    pub fn bulk_int(&mut self, number: i64) {
        self.bulk(Digits::new(number).as_bytes());
    }

    /// Text for people, which clients of RESP3 show as it is.
    pub fn verbatim(&mut self, text: &str) {
        if !self.resp3 {
            return self.bulk(text.as_bytes());
        }
        self.head(b'=', text.len() as i64 + 4);
        self.put(b"txt:");
        self.put(text.as_bytes());
        self.put(b"\r\n");
    }

    pub fn null(&mut self) {
        self.put(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    pub fn null_array(&mut self) {
        self.put(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    pub fn array(&mut self, len: usize) {
        self.head(b'*', len as i64);
    }

    /// So many pairs.
    pub fn map(&mut self, pairs: usize) {
        match self.resp3 {
            true => self.head(b'%', pairs as i64),
            false => self.array(2 * pairs),
        }
    }

    pub fn set(&mut self, len: usize) {
        self.head(if self.resp3 { b'~' } else { b'*' }, len as i64);
    }

    /// What nobody asked for.
    pub fn push(&mut self, len: usize) {
        self.head(if self.resp3 { b'>' } else { b'*' }, len as i64);
    }
}
