//! How many connections there are descriptors for.

/// Descriptors that the program opens for itself: the poll, what wakes it, signals, a spare one.
pub(crate) const RESERVE: u64 = 16;

/// Descriptors that are not for connections: those that are open, those that the program opens for
/// itself, and a listener for each address, which may be a name with two.
pub(crate) fn of_its_own(addresses: usize) -> u64 {
    open_now() + RESERVE + 2 * addresses as u64
}

/// Descriptors that are open.
pub(crate) fn open_now() -> u64 {
    // What cannot be counted is guessed: standard input and its like, and then some.
    std::fs::read_dir("/dev/fd").map_or(16, |open| open.count() as u64)
}

/// How many connections to hold: as many as were asked for, or as many as fit, up to `usual`.
pub(crate) fn max_connections(
    wanted: Option<u32>,
    usual: usize,
    own: u64,
) -> Result<usize, String> {
    fit(wanted, usual, own, descriptors()?)
}

/// How many this process may open, now that its own limit is as high as it can be.
#[cfg(unix)]
pub(crate) fn descriptors() -> Result<u64, String> {
    rlimit::increase_nofile_limit(u64::MAX)
        .map_err(|e| format!("cannot read how many descriptors this process may open: {e}"))
}

#[cfg(not(unix))]
pub(crate) fn descriptors() -> Result<u64, String> {
    Ok(u64::MAX)
}

fn fit(wanted: Option<u32>, usual: usize, own: u64, descriptors: u64) -> Result<usize, String> {
    let fits = descriptors.saturating_sub(own);
    let limit = format!("{descriptors} descriptors (RLIMIT_NOFILE hard limit)");
    match wanted {
        Some(wanted) if u64::from(wanted) > fits => Err(format!(
            "cannot hold {wanted} connections: this process may open {limit} and needs {own} \
             for itself; lower --max-connections or raise the limit"
        )),
        Some(wanted) => Ok(wanted as usize),
        None if fits == 0 => Err(format!(
            "cannot hold any connection: this process may open {limit} and needs {own} for \
             itself; raise the limit"
        )),
        None => Ok(usize::try_from(fits).unwrap_or(usize::MAX).min(usual)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_014_what_cannot_be_held_is_refused_and_what_was_not_asked_for_is_fitted() {
        assert_eq!(fit(Some(68), 1000, 32, 100), Ok(68));
        let says = fit(Some(69), 1000, 32, 100).unwrap_err();
        assert!(says.contains("69 connections") && says.contains("100 descriptors"), "{says}");
        assert_eq!(fit(None, 1000, 32, 100), Ok(68));
        assert_eq!(fit(None, 1000, 32, u64::MAX), Ok(1000));
        assert!(fit(None, 1000, 32, 32).is_err());
    }
}
