//! A layer between a blocking client and its socket, for several threads at once: whoever has the
//! lock has the layer, and nobody waits for the wire with it.
use std::{
    fmt,
    io::{self, ErrorKind},
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::{Fault, Layer, Result, layer::Next};

/// The layer, and what it has made for either side.
pub(crate) struct Sealed {
    state: Mutex<State>,
    /// There is more for the wire, or room for more.
    changed: Condvar,
}

struct State {
    /// `None`: it was a prologue, and bytes now pass as they are.
    layer: Option<Box<dyn Layer + Send>>,
    /// For the wire, in the order in which it was made.
    out: Vec<u8>,
    /// Nothing more is to be sent.
    finished: bool,
    /// What was to be sent cannot be had.
    failed: Option<io::Error>,
    /// Nobody takes what is for the wire any more.
    abandoned: bool,
}

impl Sealed {
    pub(crate) fn new(layer: Box<dyn Layer + Send>) -> Self {
        let state = State {
            layer: Some(layer),
            out: Vec::new(),
            finished: false,
            failed: None,
            abandoned: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The connection is there. What came of it is for [`take`](Sealed::take).
    pub(crate) fn start(&self) -> io::Result<()> {
        let mut state = self.state();
        let State { layer, out, .. } = &mut *state;
        let result = layer.as_mut().map_or(Ok(()), |layer| layer.start(out));
        result.and_then(|()| state.go_on()).map_err(|fault| failure(fault, ErrorKind::InvalidData))
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.state().layer.as_ref().is_none_or(|layer| layer.is_ready())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state().layer.as_ref().is_some_and(|layer| layer.is_over())
    }

    /// Bytes came; what they say is appended to `plain`.
    pub(crate) fn receive(&self, wire: &mut [u8], plain: &mut Vec<u8>) -> io::Result<()> {
        let mut state = self.state();
        let State { layer, out, .. } = &mut *state;
        let result = match layer {
            Some(layer) => layer.receive(wire, plain, out),
            None => {
                plain.extend_from_slice(wire);
                Ok(())
            }
        };
        let result = result.and_then(|()| state.go_on());
        self.changed.notify_all(); // it may have answered, not least if it failed
        result.map_err(|fault| failure(fault, ErrorKind::InvalidData))
    }

    /// Nothing more will come.
    pub(crate) fn eof(&self) -> io::Result<()> {
        let mut state = self.state();
        let result = match &mut state.layer {
            Some(layer) if !layer.is_over() => layer.eof(),
            _ => Ok(()),
        };
        result.map_err(|fault| failure(fault, ErrorKind::UnexpectedEof))
    }

    /// Say this.
    pub(crate) fn send(&self, plain: &[u8]) -> io::Result<()> {
        self.state().send(plain)
    }

    /// Say this, when there are less than `most` bytes that wait. `false` if nobody takes them.
    pub(crate) fn send_in_turn(&self, plain: &[u8], most: usize) -> io::Result<bool> {
        let mut state = self.state();
        while state.out.len() >= most && !state.abandoned {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.abandoned {
            return Ok(false);
        }
        let result = state.send(plain);
        self.changed.notify_all();
        result.map(|()| true)
    }

    /// Say the last words.
    pub(crate) fn finish(&self) {
        let mut state = self.state();
        let State { layer, out, finished, .. } = &mut *state;
        if let Some(layer) = layer.as_mut().filter(|_| !*finished) {
            layer.finish(out);
        }
        *finished = true;
        self.changed.notify_all();
    }

    /// There are no last words: whoever [`wait`](Sealed::wait)s is told why. Nothing, if there were
    /// some, or if that was told before.
    pub(crate) fn fail(&self, why: io::Error) {
        let mut state = self.state();
        if !state.finished {
            (state.finished, state.failed) = (true, Some(why));
        }
        self.changed.notify_all();
    }

    /// Whoever has something to say need not wait any longer.
    pub(crate) fn abandon(&self) {
        self.state().abandoned = true;
        self.changed.notify_all();
    }

    /// What is for the wire now, in the place of what `bytes` held.
    pub(crate) fn take(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        mem::swap(bytes, &mut self.state().out);
    }

    /// The same, as soon as there is any. `false` after the last words.
    pub(crate) fn wait(&self, bytes: &mut Vec<u8>) -> io::Result<bool> {
        bytes.clear();
        let mut state = self.state();
        while state.out.is_empty() && !state.finished {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        mem::swap(bytes, &mut state.out);
        self.changed.notify_all(); // there is room
        match bytes.is_empty() {
            true => state.failed.take().map_or(Ok(false), Err),
            false => Ok(true),
        }
    }

    /// This was taken, and did not leave: it goes before all that was made since.
    pub(crate) fn put_back(&self, bytes: &[u8]) {
        self.state().out.splice(0..0, bytes.iter().copied());
    }

    /// Look at the layer, if it is one of that kind.
    pub(crate) fn look<L: Layer, T>(&self, look: impl FnOnce(&L) -> T) -> Option<T> {
        let state = self.state();
        let layer: &dyn std::any::Any = &**state.layer.as_ref()?;
        layer.downcast_ref().map(look)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn send(&mut self, plain: &[u8]) -> io::Result<()> {
        match &mut self.layer {
            Some(layer) => layer.send(plain, &mut self.out),
            None => {
                self.out.extend_from_slice(plain);
                Ok(())
            }
        }
        .map_err(|fault| failure(fault, ErrorKind::InvalidInput))
    }

    /// A prologue gives way.
    fn go_on(&mut self) -> Result {
        match self.layer.as_mut().map(|layer| layer.next()) {
            Some(Next::Nothing) => self.layer = None,
            // It cannot be given to another thread.
            Some(Next::Layer(_)) => return Err("a layer that gives way to another".into()),
            Some(Next::Same) | None => {}
        }
        Ok(())
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").finish_non_exhaustive()
    }
}

/// What a layer says of a connection, with the fault in it for whoever knows its kind.
fn failure(fault: Fault, kind: ErrorKind) -> io::Error {
    io::Error::new(kind, fault)
}
