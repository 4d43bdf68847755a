//! What a service manager such as systemd wants to hear, if it has said where (NOTIFY_SOCKET): that
//! we are ready, load again, stop, and, if it asked for that (WATCHDOG_USEC), that the loop turns.
#[cfg(unix)]
pub(crate) use unix::Manager;

#[cfg(unix)]
mod unix {
    use std::{env, io, time::Duration};

    use log::warn;
    use sd_notify::NotifyState as State;

    use crate::cli::output::Writer;

    pub(crate) struct Manager {
        /// On a thread of its own: a manager that does not listen must not hold up the loop.
        writer: Option<Writer>,
        /// How often it wants to hear of the loop, and when next.
        watchdog: Option<Duration>,
        next: Duration,
        stopping: bool,
    }

    impl Manager {
        pub(crate) fn new() -> io::Result<Self> {
            let listens = env::var_os("NOTIFY_SOCKET").is_some_and(|path| !path.is_empty());
            let writer = listens.then(|| Writer::new("charkh-notify")).transpose()?;
            // At half of the time, as its manual asks. None at all would be no patience.
            let watchdog = sd_notify::watchdog_enabled().map(|patience| patience / 2);
            let watchdog = watchdog.filter(|every| listens && !every.is_zero());
            Ok(Self { writer, watchdog, next: Duration::ZERO, stopping: false })
        }

        /// Clients may come.
        pub(crate) fn ready(&self, status: &str) {
            self.tell(format!("{}\n{}", State::Ready, State::Status(status)));
        }

        /// What can be loaded is loaded again, until [`reloaded`](Manager::reloaded).
        pub(crate) fn reloading(&self) {
            if let Ok(now) = State::monotonic_usec_now() {
                self.tell(format!("{}\n{now}", State::Reloading));
            }
        }

        pub(crate) fn reloaded(&self) {
            self.tell(State::Ready.to_string());
        }

        /// No more clients: said once.
        pub(crate) fn stopping(&mut self, connections: usize) {
            if !std::mem::replace(&mut self.stopping, true) {
                let status = format!("stopping: connections that are open: {connections}");
                self.tell(format!("{}\n{}", State::Stopping, State::Status(&status)));
            }
        }

        /// How long until it must hear of the loop.
        pub(crate) fn left(&self, now: Duration) -> Duration {
            self.watchdog.map_or(Duration::MAX, |_| self.next.saturating_sub(now))
        }

        /// The loop turns.
        pub(crate) fn turned(&mut self, now: Duration) {
            if let Some(every) = self.watchdog.filter(|_| self.next <= now) {
                self.next = now + every;
                self.tell(State::Watchdog.to_string());
            }
        }

        pub(crate) fn flush(&self) {
            self.writer.iter().for_each(Writer::flush);
        }

        fn tell(&self, message: String) {
            if let Some(writer) = &self.writer {
                writer.run(move |_| {
                    if let Err(e) = sd_notify::notify(&[State::Custom(&message)]) {
                        warn!("cannot tell the service manager (NOTIFY_SOCKET): {e}");
                    }
                });
            }
        }
    }
}

#[cfg(not(unix))]
pub(crate) struct Manager;

#[cfg(not(unix))]
impl Manager {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    pub(crate) fn ready(&self, _: &str) {}

    pub(crate) fn reloading(&self) {}

    pub(crate) fn reloaded(&self) {}

    pub(crate) fn stopping(&mut self, _: usize) {}

    pub(crate) fn left(&self, _: std::time::Duration) -> std::time::Duration {
        std::time::Duration::MAX
    }

    pub(crate) fn turned(&mut self, _: std::time::Duration) {}

    pub(crate) fn flush(&self) {}
}
