//! Where the server's lines go: never in the way of its loop.
//!
//! A pipe that nobody reads blocks whoever writes to it. So lines are written by threads of their
//! own; while one of them waits for a slow reader, lines that find no room are thrown away and
//! counted. One that cannot be written, to a full disk or a closed pipe, is lost.
use std::{
    io::{self, Write},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{self, SyncSender},
    },
    thread,
    time::{Duration, SystemTime},
};

use log::{LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

/// Lines that may wait for a slow reader.
const LINES_MAX: usize = 4096;

/// How long the end of the program waits for one.
const FLUSH_MAX: Duration = Duration::from_millis(500);

type Job = Box<dyn FnOnce() + Send>;

/// A thread that may wait.
pub(crate) struct Writer {
    jobs: SyncSender<Job>,
    lost: AtomicU64,
}

impl Writer {
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let (jobs, queue) = mpsc::sync_channel::<Job>(LINES_MAX);
        let run = move || queue.iter().for_each(|job| job());
        thread::Builder::new().name(name.into()).spawn(run)?;
        Ok(Self { jobs, lost: AtomicU64::new(0) })
    }

    /// Have a line written. It is told how many were lost before it.
    pub(crate) fn run(&self, line: impl FnOnce(u64) + Send + 'static) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if self.jobs.try_send(Box::new(move || line(lost))).is_err() {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }

    pub(crate) fn flush(&self) {
        let (done, wait) = mpsc::channel();

        let job = move || {
            let _ = done.send(());
        };
        if self.jobs.try_send(Box::new(job)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_MAX);
        }
    }
}

/// Lines on standard output.
pub(crate) struct Output(Writer);

impl Output {
    pub(crate) fn new() -> io::Result<Self> {
        Writer::new("charkh-stdout").map(Self)
    }

    pub(crate) fn line(&self, line: String) {
        self.0.run(move |_| {
            // A reader that has gone is no reason to stop serving.
            let mut out = io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        });
    }

    pub(crate) fn flush(&self) {
        self.0.flush();
    }
}

/// From here on the log goes to standard error.
///
/// `directives` are a level, or `target=level`, or several with commas between them: what
/// `RUST_LOG` usually holds. What is neither is ignored.
pub(crate) fn log_to_stderr(directives: &str) -> io::Result<()> {
    let (mut inner, mut level) = (SimpleLogger::new().with_level(LevelFilter::Info), None);
    for directive in directives.split(',') {
        match directive.trim().split_once('=') {
            None => level = directive.trim().parse().ok().or(level),
            Some((target, level)) => {
                if let Ok(level) = level.parse() {
                    inner = inner.with_module_level(target, level);
                }
            }
        }
    }
    let inner = inner.with_level(level.unwrap_or(LevelFilter::Info));
    let level = inner.max_level();
    let logger = Logger { inner, writer: Writer::new("charkh-stderr")? };
    log::set_boxed_logger(Box::new(logger)).map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(())
}

/// What is logged is for `simple_logger` to say. It does not write it: it panics if it cannot, and
/// no line would ever be written again.
struct Logger {
    inner: SimpleLogger,
    writer: Writer,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (level, target) = (record.level(), record.target().to_string());
        let text = record.args().to_string();
        self.writer.run(move |lost| {
            let log = |text: &str| {
                let time = humantime::format_rfc3339_millis(SystemTime::now());
                let line = format!("{time} {level:<5} [{target}] {text}\n");
                let _ = io::stderr().write_all(line.as_bytes());
            };
            log(&text);
            if lost > 0 {
                log(&format!("{lost} lines before this one were lost: nobody read them"));
            }
        });
    }

    fn flush(&self) {
        self.writer.flush();
    }
}
