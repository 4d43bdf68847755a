//! Signals as events of the loop.
#[cfg(unix)]
pub(crate) use unix::Signals;

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(unix), allow(dead_code))]
pub(crate) enum Wish {
    /// SIGTERM, SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
    /// SIGUSR1.
    Report,
    /// SIGUSR2.
    Trace,
}

#[cfg(unix)]
mod unix {
    use std::{
        io,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };

    use charkh::net::Os;
    use signal_hook::{
        consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2},
        flag,
    };

    use super::Wish;

    const WATCHED: [(i32, Wish); 5] = [
        (SIGTERM, Wish::Stop),
        (SIGINT, Wish::Stop),
        (SIGHUP, Wish::Reload),
        (SIGUSR1, Wish::Report),
        (SIGUSR2, Wish::Trace),
    ];

    /// The exit code of somebody who was asked twice.
    const AT_ONCE: i32 = 130;

    pub(crate) struct Signals {
        /// Which came. Asking the kernel instead would cost a system call in every turn.
        came: [Arc<AtomicBool>; WATCHED.len()],
    }

    impl Signals {
        pub(crate) fn watch(net: &mut Os) -> io::Result<Self> {
            let came: [Arc<AtomicBool>; WATCHED.len()] = Default::default();
            let stopping = Arc::new(AtomicBool::new(false));
            for ((signal, wish), came) in WATCHED.into_iter().zip(&came) {
                if wish == Wish::Stop {
                    // In this order: the first signal arms what the second one fires, even if the
                    // loop is stuck.
                    flag::register_conditional_shutdown(signal, AT_ONCE, stopping.clone())?;
                    flag::register(signal, stopping.clone())?;
                }
                flag::register(signal, came.clone())?;
            }
            // Last, for the loop must find the flag when it wakes.
            net.watch_signals(&WATCHED.map(|(signal, _)| signal))?;
            Ok(Self { came })
        }

        pub(crate) fn take(&self, net: &mut Os) -> Vec<Wish> {
            let mut wishes = Vec::new();
            for ((_, wish), came) in WATCHED.into_iter().zip(&self.came) {
                if came.load(Ordering::Relaxed) && came.swap(false, Ordering::AcqRel) {
                    wishes.push(wish);
                }
            }
            if !wishes.is_empty() {
                // Keeps the pipe that wakes the loop from filling.
                net.take_signals();
            }
            wishes
        }
    }
}

#[cfg(not(unix))]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn watch(_: &mut charkh::net::Os) -> std::io::Result<Self> {
        Ok(Self)
    }

    pub(crate) fn take(&self, _: &mut charkh::net::Os) -> Vec<Wish> {
        Vec::new()
    }
}
