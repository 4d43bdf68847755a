//! Until when a certificate is valid, read from its DER.
use std::time::SystemTime;

/// Kinds of elements.
const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version of a certificate, which the first has not.
const VERSION: u8 = 0xa0;

/// `None` if it cannot be read.
pub(super) fn valid_until(certificate: &[u8]) -> Option<SystemTime> {
    let (signed, _) = the(SEQUENCE, certificate)?;
    let (fields, _) = the(SEQUENCE, signed)?;
    let fields = the(VERSION, fields).map_or(fields, |(_, rest)| rest);
    let (_, fields) = the(INTEGER, fields)?; // serial number
    let (_, fields) = the(SEQUENCE, fields)?; // algorithm
    let (_, fields) = the(SEQUENCE, fields)?; // issuer
    let (validity, _) = the(SEQUENCE, fields)?;
    let (_, _, until) = element(validity)?;
    match element(until)? {
        (UTC_TIME, time, _) => {
            // Two digits of the year, which count from 1950.
            let century = if time.first()? < &b'5' { "20" } else { "19" };
            moment(&format!("{century}{}", str::from_utf8(time).ok()?))
        }
        (GENERALIZED_TIME, time, _) => moment(str::from_utf8(time).ok()?),
        _ => None,
    }
}

/// `20271231235959Z`
fn moment(text: &str) -> Option<SystemTime> {
    if text.len() != 15 || !text.is_ascii() {
        return None;
    }
    let ([year, month, day], [hour, minute, second]) =
        ([&text[..4], &text[4..6], &text[6..8]], [&text[8..10], &text[10..12], &text[12..14]]);
    let zone = &text[14..];
    let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}{zone}");
    humantime::parse_rfc3339(&text).ok()
}

/// The contents of the element that these begin with, if it is of that kind, and what follows it.
fn the(kind: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, contents, rest) = element(bytes)?;
    (found == kind).then_some((contents, rest))
}

fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[kind, first], mut rest) = bytes.split_first_chunk()?;
    let mut size = usize::from(first);
    if size >= 0x80 {
        let (digits, after) = rest.split_at_checked(size - 0x80)?;
        size = digits
            .iter()
            .try_fold(0_usize, |size, &digit| size.checked_mul(256)?.checked_add(digit.into()))?;
        rest = after;
    }
    let (contents, rest) = rest.split_at_checked(size)?;
    Some((kind, contents, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    /// As much of a certificate as is read.
    fn certificate(until: &[u8]) -> Vec<u8> {
        fn element(kind: u8, contents: &[&[u8]]) -> Vec<u8> {
            let contents = contents.concat();
            let size = u16::try_from(contents.len()).unwrap().to_be_bytes();
            [&[kind, 0x82][..], &size, &contents].concat()
        }
        let kind = if until.len() == 13 { UTC_TIME } else { GENERALIZED_TIME };
        let from = element(UTC_TIME, &[b"250101000000Z"]);
        let validity = element(SEQUENCE, &[&from, &element(kind, &[until])]);
        let fields = [
            &element(VERSION, &[&[2, 1, 2]])[..],
            &element(INTEGER, &[&[7; 20]]),
            &element(SEQUENCE, &[&[0; 200]]),
            &element(SEQUENCE, &[]),
            &validity,
        ];
        element(SEQUENCE, &[&element(SEQUENCE, &fields), &[1, 2, 3]])
    }

    fn at(secs: u64) -> Option<SystemTime> {
        Some(UNIX_EPOCH + Duration::from_secs(secs))
    }

    #[test]
    fn the_end_is_read_in_both_of_its_forms() {
        assert_eq!(valid_until(&certificate(b"700101000001Z")), at(1));
        assert_eq!(valid_until(&certificate(b"491231235959Z")), at(2_524_607_999));
        assert_eq!(valid_until(&certificate(b"20500101000000Z")), at(2_524_608_000));
        assert_eq!(valid_until(&certificate(b"500101000000Z")), None); // before 1970
        for wrong in [&b"991399999999Z"[..], b"9913999999999", b"\xff\xff\xff\xff\xff\xff\xffZ"] {
            assert_eq!(valid_until(&certificate(wrong)), None, "{wrong:?}");
        }
    }

    #[test]
    fn whatever_the_bytes_it_returns() {
        let whole = certificate(b"301231235959Z");
        assert!(valid_until(&whole).is_some());
        for at in 0..whole.len() {
            assert_eq!(valid_until(&whole[..at]), None, "cut at {at}");
            for byte in [0, 0x80, 0x84, 0x88, 0x89, 0xff] {
                let mut bent = whole.clone();
                bent[at] = byte;
                let _ = valid_until(&bent);
            }
        }
    }
}
