//! SCAN, HSCAN and SSCAN: a part of many elements at a time, with a cursor that is a number and
//! nothing that the server has to remember.
//!
//! The elements lie in a row. The first page is its end, and the cursor says how many are still
//! before it. When one goes, the last of the row takes its place, so an element can move only
//! towards the beginning, to where the scan has not been; and what is new comes behind. So whatever
//! was there from the first page to the last one is seen; some are seen twice.
use std::ops::Range;

use super::super::{
    glob,
    reply::{Error, Result},
    request::Args,
};
use super::strings::int;

/// Elements looked at in one page, unless COUNT says another number.
const COUNT: usize = 10;

#[derive(Debug)]
pub struct Options<'a> {
    pub count: usize,
    pattern: Option<&'a [u8]>,
    type_name: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// From the `n`th argument on.
    pub fn read(args: Args<'a>, n: usize, has_type: bool) -> Result<Self> {
        let mut options = Self { count: COUNT, pattern: None, type_name: None };
        let mut words = args.from(n);
        while let Some(word) = words.next() {
            let value = words.next().ok_or(Error::SYNTAX)?;
            match &word.to_ascii_uppercase()[..] {
                b"COUNT" => {
                    let count = usize::try_from(int(value)?).unwrap_or(0);
                    options.count = if count > 0 { count } else { return Err(Error::SYNTAX) };
                }
                b"MATCH" => options.pattern = Some(value).filter(|pattern| pattern != b"*"),
                b"TYPE" if has_type => options.type_name = Some(value),
                _ => return Err(Error::SYNTAX),
            }
        }
        Ok(options)
    }

    pub fn wants(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }

    pub fn wants_type(&self, name: &str) -> bool {
        self.type_name.is_none_or(|wanted| wanted.eq_ignore_ascii_case(name.as_bytes()))
    }
}

pub fn cursor(text: &[u8]) -> Result<usize> {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok()).ok_or(Error::new("ERR invalid cursor"))
}

/// The places of one page among `len` elements, and the cursor of the next; 0 is the beginning,
/// and the end.
pub fn page(cursor: usize, len: usize, count: usize) -> (Range<usize>, usize) {
    let end = if cursor == 0 { len } else { cursor.min(len) };
    let start = end.saturating_sub(count);
    (start..end, start)
}
