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

/// Connections for which room is made although nobody has asked for so many. The kernel's table of
/// descriptors has some ten bytes for each.
const AHEAD: usize = 65_536;

/// Have the kernel make its table of descriptors large enough. To be called while there is one
/// thread: where several share the table, each doubling waits until all processors have let go of
/// the old one, some ten milliseconds, in which nobody is served.
///
/// A table that is not made now grows later. That is slow, and no error.
#[cfg(target_os = "linux")]
pub(crate) fn make_room(asked: Option<u32>, conns_max: usize, own: u64) {
    let ahead = asked.map_or(AHEAD, |asked| asked as usize).min(conns_max);
    let last = i32::try_from(ahead as u64 + own - 1).unwrap_or(i32::MAX);
    drop(rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), last));
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn make_room(_: Option<u32>, _: usize, _: u64) {}

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
