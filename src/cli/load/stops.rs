//! Ctrl-C and SIGTERM: how often somebody has asked for the end.
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

#[derive(Clone, Default)]
pub(crate) struct Stops(Arc<AtomicUsize>);

impl Stops {
    /// From now on these signals are counted here, and end nothing by themselves.
    #[cfg(unix)]
    pub(crate) fn watch() -> std::io::Result<Self> {
        use signal_hook::{
            consts::{SIGINT, SIGTERM},
            iterator::Signals,
        };
        let stops = Self::default();
        let ours = stops.clone();
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let count = move || {
            for _ in signals.forever() {
                ours.0.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::Builder::new().name("charkh-signals".into()).spawn(count)?;
        Ok(stops)
    }

    #[cfg(not(unix))]
    pub(crate) fn watch() -> std::io::Result<Self> {
        Ok(Self::default())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
