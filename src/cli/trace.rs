//! `--trace`: what the flight recorder remembers, written to a file.
//!
//! On SIGUSR2 the loop copies the ring and goes on; a thread makes a file of it, one after the
//! other, and says who delayed the others most. At the end nobody waits, and the program does it
//! itself.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter},
    path::{Path, PathBuf},
    process,
    sync::mpsc::{self, SyncSender, TrySendError},
    thread::{self, JoinHandle},
};

use charkh::{
    Addr, ConnId, Hub,
    trace::{Delay, Trace, Who},
};
use log::{error, info, warn};

use super::units::words;

/// Lines of those that delayed the others most.
const DELAYS_SHOWN: usize = 3;

pub(crate) struct TraceFile {
    target: Target,
    /// Room for one that waits while another is written.
    copies: SyncSender<Copied>,
    thread: JoinHandle<()>,
}

impl TraceFile {
    /// Only if it can be written, as far as can be told.
    pub(crate) fn new(path: &Path) -> Result<Self, String> {
        let target = Target { path: path.into() };
        target.try_out().map_err(|e| target.failed(&e))?;
        let (copies, queue) = mpsc::sync_channel::<Copied>(1);
        let ours = target.clone();
        let run = move || {
            for Copied { trace, open } in queue {
                if let Err(e) = ours.write(&trace, &open) {
                    error!("{}", ours.failed(&e));
                }
            }
        };
        let thread = thread::Builder::new().name("charkh-trace".into()).spawn(run);
        let thread = thread.map_err(|e| target.failed(&e))?;
        Ok(Self { target, copies, thread })
    }

    /// As it is now, soon.
    pub(crate) fn save(&self, hub: &mut Hub) {
        let copied = Copied { trace: hub.trace().clone(), open: addresses(hub) };
        match self.copies.try_send(copied) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => warn!("SIGUSR2: two traces are still being written"),
            Err(TrySendError::Disconnected(_)) => error!("SIGUSR2: nobody writes traces any more"),
        }
    }

    /// For the last time. It is the whole trace, or an error; a second Ctrl-C ends the waiting for
    /// a pipe that nobody reads.
    pub(crate) fn finish(self, hub: &mut Hub) -> Result<(), String> {
        let Self { target, copies, thread } = self;
        drop(copies);
        // Should it have panicked, what it wrote is replaced all the same.
        let _ = thread.join();
        let open = addresses(hub);
        target.write(hub.trace(), &open).map_err(|e| target.failed(&e))
    }
}

/// What a thread needs that has no hub.
struct Copied {
    trace: Trace,
    open: Vec<(ConnId, Addr)>,
}

/// Of those that are open. The recorder knows numbers only.
fn addresses(hub: &mut Hub) -> Vec<(ConnId, Addr)> {
    let ids: Vec<ConnId> = hub.ids().collect();
    ids.into_iter().filter_map(|id| Some((id, hub.peer(id)?.addr()))).collect()
}

fn told(delay: &Delay, open: &[(ConnId, Addr)]) -> String {
    let Delay { who, others, longest, total, sure, .. } = *delay;
    let name = who.to_string();
    let who = match who {
        Who::Conn(..) => match open.iter().find(|(id, _)| id.to_string() == name) {
            Some((_, addr)) => format!("connection {name} with {addr}"),
            None => format!("connection {name}"),
        },
        Who::Job => "the jobs of other threads".into(),
        _ => "the protocol's tick".into(),
    };
    let times = if others == 1 { "time" } else { "times" };
    format!(
        "{who} delayed others {others} {times}, by {longest:.1?} at most, up to {total:.1?} in \
         all, {sure:.1?} of it for sure"
    )
}

#[derive(Clone)]
struct Target {
    path: PathBuf,
}

impl Target {
    fn write(&self, trace: &Trace, open: &[(ConnId, Addr)]) -> io::Result<()> {
        match self.beside() {
            None => {
                let mut open = File::options();
                self.fill(open.write(true).create(true).truncate(true), &self.path, trace)?;
            }
            Some(beside) => {
                let mut open = File::options();
                let filled = self.fill(open.write(true).create_new(true), &beside, trace);
                // Whoever looks finds a whole trace: the last one, or the one before it.
                if let Err(e) = filled.and_then(|()| fs::rename(&beside, &self.path)) {
                    let _ = fs::remove_file(&beside);
                    return Err(e);
                }
            }
        }
        let (path, kept, lost) = (self.path.display(), trace.len(), trace.lost());
        info!("trace: {kept} records written to {path}; {lost} that came before them were lost");
        for delay in trace.delays().iter().take(DELAYS_SHOWN) {
            info!("trace: {}", told(delay, open));
        }
        Ok(())
    }

    fn fill(&self, open: &OpenOptions, path: &Path, trace: &Trace) -> io::Result<()> {
        trace.write_chrome(BufWriter::new(open.open(path)?))
    }

    /// The file in the making, where a finished one can take the place of the old. A device, a
    /// pipe or what a link leads to is written into.
    fn beside(&self) -> Option<PathBuf> {
        let replaceable = fs::symlink_metadata(&self.path).map_or(true, |old| old.is_file());
        let mut name = self.path.file_name()?.to_owned();
        name.push(format!(".{}.part", process::id()));
        replaceable.then(|| self.path.with_file_name(name))
    }

    /// Without waiting for anybody: a pipe is opened when there is something to write.
    fn try_out(&self) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(there) if !there.is_file() => Ok(()),
            _ => match self.beside() {
                None => File::options().append(true).create(true).open(&self.path).map(drop),
                Some(beside) => {
                    File::options().write(true).create_new(true).open(&beside)?;
                    fs::remove_file(&beside)
                }
            },
        }
    }

    fn failed(&self, e: &io::Error) -> String {
        format!("cannot write the trace to {}: {}", self.path.display(), words(e))
    }
}
