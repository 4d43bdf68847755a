//! Bytes in waiting. Only connections that have some own memory for them, lent by the [`Pool`].
//!
//! ```text
//!   Conn.held: None                        idle: nothing unread, nothing unsent
//!   Conn.held: Some(Held {
//!       input:  [ untaken bytes ......... ]  the front of a message whose rest has not come
//!       output: [own bytes][shared][own] ..  what the kernel did not take yet, in order
//!   })
//! ```
use std::{collections::VecDeque, io::IoSlice, mem, sync::Arc};

/// Bytes added at the tail and consumed at the head.
#[derive(Default)]
pub(crate) struct Buf {
    bytes: Vec<u8>,
    head: usize,
}

impl Buf {
    pub(crate) fn is_empty(&self) -> bool {
        self.head == self.bytes.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.head
    }

    pub(crate) fn pending(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    /// Bytes of memory owned, used or not.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The first byte takes a block from the pool, and one that does not fit takes a larger one.
    /// What was consumed is reclaimed before that, so storage follows what is pending.
    pub(crate) fn push(&mut self, bytes: &[u8], pool: &mut Pool) {
        if self.bytes.len() + bytes.len() > self.bytes.capacity() {
            let pending = self.len();
            if pending + bytes.len() <= self.bytes.capacity() {
                self.bytes.drain(..self.head);
            } else {
                let mut larger = pool.block(pending + bytes.len());
                larger.extend_from_slice(self.pending());
                pool.give_block(mem::replace(&mut self.bytes, larger));
            }
            self.head = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The last byte gives the block back.
    pub(crate) fn consume(&mut self, n: usize, pool: &mut Pool) {
        debug_assert!(n <= self.len());
        self.head += n;
        if self.is_empty() {
            self.clear(pool);
        }
    }

    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        if self.bytes.capacity() > 0 {
            pool.give_block(mem::take(&mut self.bytes));
            self.head = 0;
        }
    }
}

/// Output in order: bytes of this connection's own and payloads shared with others.
#[derive(Default)]
pub(crate) struct Output {
    /// Most have one piece, and it is kept here: a queue would be one more place in memory to go
    /// to, for each of the ten thousand who are told the same.
    first: Option<Segment>,
    others: VecDeque<Segment>,
    /// Of the first segment, what has left already.
    head: usize,
    len: usize,
    capacity: usize,
}

enum Segment {
    Own(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Segment {
    fn bytes(&self) -> &[u8] {
        match self {
            Segment::Own(bytes) => bytes,
            Segment::Shared(bytes) => bytes,
        }
    }

    /// Its place in the queue, which may have grown to twice what it needs, counts too: a million
    /// short payloads are more than their bytes.
    fn capacity(&self) -> usize {
        2 * size_of::<Self>()
            + match self {
                Segment::Own(bytes) => bytes.capacity(),
                Segment::Shared(bytes) => bytes.len(),
            }
    }
}

impl Output {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory owned or shared, used or not.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn push(&mut self, bytes: &[u8], pool: &mut Pool) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        let mut size = bytes.len();
        if let Some(Segment::Own(tail)) = self.others.back_mut().or(self.first.as_mut()) {
            if tail.len() + bytes.len() <= tail.capacity() {
                return tail.extend_from_slice(bytes);
            }
            // A segment never grows, for that would move what it holds; the next one is larger.
            size = size.max((2 * tail.capacity()).min(Pool::LARGEST));
        }
        let mut block = pool.block(size);
        block.extend_from_slice(bytes);
        self.append(Segment::Own(block));
    }

    pub(crate) fn push_shared(&mut self, payload: Arc<[u8]>) {
        if payload.is_empty() {
            return;
        }
        self.len += payload.len();
        self.append(Segment::Shared(payload));
    }

    fn append(&mut self, segment: Segment) {
        self.capacity += segment.capacity();
        match &self.first {
            None => self.first = Some(segment),
            Some(_) => self.others.push_back(segment),
        }
    }

    /// All of it, if that is one piece.
    #[inline]
    pub(crate) fn only(&self) -> Option<&[u8]> {
        let first = self.first.as_ref().filter(|_| self.others.is_empty());
        first.map(|segment| &segment.bytes()[self.head..])
    }

    /// The bytes at the front, as slices for one vectored write of at most `max` bytes.
    pub(crate) fn front<'a>(&'a self, slices: &mut [IoSlice<'a>], max: usize) -> usize {
        let (mut room, mut used) = (max, 0);
        for (segment, slice) in self.first.iter().chain(&self.others).zip(slices) {
            let skip = if used == 0 { self.head } else { 0 };
            let bytes = &segment.bytes()[skip..];
            let bytes = &bytes[..bytes.len().min(room)];
            *slice = IoSlice::new(bytes);
            room -= bytes.len();
            used += 1;
            if room == 0 {
                break;
            }
        }
        used
    }

    pub(crate) fn consume(&mut self, n: usize, pool: &mut Pool) {
        debug_assert!(n <= self.len);
        self.len -= n;
        self.head += n;
        while let Some(front) = &self.first {
            if self.head < front.bytes().len() {
                break;
            }
            self.head -= front.bytes().len();
            self.capacity -= front.capacity();
            let gone = mem::replace(&mut self.first, self.others.pop_front());
            if let Some(Segment::Own(block)) = gone {
                pool.give_block(block);
            }
        }
    }

    fn clear(&mut self, pool: &mut Pool) {
        self.consume(self.len, pool);
        // One crowded moment must not keep a long queue's memory for ever.
        self.others.shrink_to(8);
    }
}

/// What a connection owns while it has something unread or unsent.
#[derive(Default)]
pub(crate) struct Held {
    /// Arrived, and not taken by the protocol.
    pub(crate) input: Buf,
    /// Of `input`, the front that a codec has searched already.
    pub(crate) scanned: usize,
    /// Sent by the protocol, and not taken by the kernel or the layer.
    pub(crate) output: Output,
    /// Made by the layer, and not taken by the kernel: it goes out before `output` does.
    pub(crate) wire: Buf,
    /// Bytes that the layer itself keeps.
    pub(crate) layer: usize,
    /// Bytes that the session says it keeps.
    pub(crate) session: usize,
    /// When output last moved, or began to wait: a stamp of the timers' clock.
    pub(crate) moved: u32,
    /// What `Weights` counts for this connection, and where it lists it.
    pub(crate) weight: usize,
    pub(crate) place: u32,
}

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.input.is_empty() && !self.has_unsent() && self.layer == 0 && self.session == 0
    }

    pub(crate) fn has_unsent(&self) -> bool {
        !self.output.is_empty() || !self.wire.is_empty()
    }

    /// The input, and how much of it was searched: never one without the other.
    pub(crate) fn take_input(&mut self) -> (Buf, usize) {
        (std::mem::take(&mut self.input), std::mem::take(&mut self.scanned))
    }

    /// Bytes of memory, its own among them.
    pub(crate) fn capacity(&self) -> usize {
        let buffers = self.input.capacity() + self.output.capacity() + self.wire.capacity();
        size_of::<Self>() + buffers + self.layer + self.session
    }
}

/// Spare storage, by powers of two. Last in, first out, so that the block that is warm in the cache
/// goes out next.
#[derive(Default)]
pub(crate) struct Pool {
    blocks: [Vec<Vec<u8>>; Self::SIZES],
    /// Bytes in those.
    kept: usize,
    // Boxes, because a connection's entry has room for a pointer only.
    #[allow(clippy::vec_box)]
    held: Vec<Box<Held>>,
}

impl Pool {
    const SMALLEST: usize = 1 << 10;
    const LARGEST: usize = 64 << 10;
    const SIZES: usize = 7;
    /// Bytes of blocks that are kept for the next who needs one.
    const KEPT_MAX: usize = 1 << 20;
    /// Enough for one broadcast to ten thousand without an allocation.
    const HELD_MAX: usize = 16 * 1024;

    /// An empty block with room for so many bytes, and at most twice as many.
    fn block(&mut self, size: usize) -> Vec<u8> {
        let size = size.next_power_of_two().max(Self::SMALLEST);
        let spare = Self::class(size).and_then(|class| self.blocks[class].pop());
        if let Some(block) = spare {
            self.kept -= size;
            return block;
        }
        Vec::with_capacity(size)
    }

    /// The largest are let go, or one long reply would be kept for ever.
    fn give_block(&mut self, mut block: Vec<u8>) {
        let size = block.capacity();
        if let Some(class) = Self::class(size)
            && self.kept + size <= Self::KEPT_MAX
        {
            block.clear();
            self.kept += size;
            self.blocks[class].push(block);
        }
    }

    fn class(size: usize) -> Option<usize> {
        let fits = size.is_power_of_two() && (Self::SMALLEST..=Self::LARGEST).contains(&size);
        fits.then(|| (size.ilog2() - Self::SMALLEST.ilog2()) as usize)
    }

    /// Bytes in all that nobody has now.
    pub(crate) fn spare(&self) -> usize {
        self.kept + self.held.len() * size_of::<Held>() // and a short queue that some keep
    }

    /// What is spare goes back to the allocator.
    pub(crate) fn let_go(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn held(&mut self) -> Box<Held> {
        self.held.pop().unwrap_or_default()
    }

    pub(crate) fn give_held(&mut self, mut held: Box<Held>) {
        held.input.clear(self);
        held.output.clear(self);
        held.wire.clear(self);
        // Nothing of one connection may reach the next.
        (held.scanned, held.layer, held.session) = (0, 0, 0);
        if self.held.len() < Self::HELD_MAX {
            self.held.push(held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_keeps_order_and_gives_its_block_back() {
        let (mut buf, mut pool) = (Buf::default(), Pool::default());
        let mut expected = Vec::new();
        for round in 0..2000_usize {
            let bytes = vec![round as u8; round % 7];
            buf.push(&bytes, &mut pool);
            expected.extend(bytes);
            let n = (round * 3 % 11).min(expected.len());
            assert_eq!(&buf.pending()[..n], &expected[..n]);
            buf.consume(n, &mut pool);
            expected.drain(..n);
            assert_eq!(buf.len(), expected.len());
        }
        buf.consume(expected.len(), &mut pool);
        assert_eq!(buf.capacity(), 0);
        assert!(pool.kept > 0 && pool.kept <= Pool::KEPT_MAX);
    }

    #[test]
    fn a_long_lived_partial_message_does_not_grow_the_storage() {
        let (mut buf, mut pool) = (Buf::default(), Pool::default());
        let rounds = if cfg!(miri) { 500 } else { 100_000 };
        for _ in 0..rounds {
            buf.push(b"0123456789", &mut pool);
            let n = buf.len() - 1;
            buf.consume(n, &mut pool);
        }
        assert_eq!(buf.capacity(), Pool::SMALLEST);
    }

    #[test]
    fn a_block_is_filled_to_its_end_then_reclaimed_then_replaced() {
        let (mut buf, mut pool) = (Buf::default(), Pool::default());
        buf.push(b"x", &mut pool);
        assert_eq!(buf.capacity(), 1024);
        buf.push(&[0; 1023], &mut pool);
        assert_eq!(buf.capacity(), 1024);
        buf.push(&[0; 1976], &mut pool);
        assert_eq!((buf.len(), buf.capacity(), pool.kept), (3000, 4096, 1024));
        // What was consumed is room, to the last byte.
        buf.consume(2900, &mut pool);
        buf.push(&[1; 3996], &mut pool);
        assert_eq!((buf.len(), buf.capacity(), pool.kept), (4096, 4096, 1024));
        // And when it is not enough, a larger block comes from the pool.
        buf.consume(1, &mut pool);
        buf.push(&[2; 2], &mut pool);
        assert_eq!((buf.len(), buf.capacity(), pool.kept), (4097, 8192, 1024 + 4096));
        assert_eq!(buf.pending(), [&[0; 99][..], &[1; 3996], &[2; 2]].concat());
    }

    /// Every way to cut the queue into writes gives the same stream.
    #[test]
    fn output_is_one_stream_whatever_is_shared_and_however_it_leaves() {
        for step in 1..40 {
            let (mut output, mut pool) = (Output::default(), Pool::default());
            let mut expected = Vec::new();
            for i in 0..20_u8 {
                let bytes = vec![i; usize::from(i) * 3];
                if i % 3 == 0 {
                    output.push_shared(bytes.clone().into());
                } else {
                    output.push(&bytes, &mut pool);
                }
                expected.extend(bytes);
            }
            let mut got = Vec::new();
            while !output.is_empty() {
                let mut slices = [IoSlice::new(&[]); 3];
                let used = output.front(&mut slices, step);
                let bytes: Vec<u8> =
                    slices[..used].iter().flat_map(|slice| slice.to_vec()).collect();
                assert!(!bytes.is_empty() && bytes.len() <= step);
                got.extend_from_slice(&bytes);
                let n = bytes.len();
                output.consume(n, &mut pool);
            }
            assert_eq!(got, expected, "writes of {step}");
            assert_eq!(output.capacity(), 0);
        }
    }

    #[test]
    fn an_output_knows_what_it_owns_and_its_next_segment_is_larger() {
        let place = 2 * size_of::<Segment>();
        let (mut output, mut pool) = (Output::default(), Pool::default());
        let says = |output: &Output| (output.len(), output.capacity());
        output.push(b"", &mut pool);
        output.push_shared(Arc::from(&b""[..]));
        assert_eq!(says(&output), (0, 0));
        output.push(&[0; 3], &mut pool);
        assert_eq!(says(&output), (3, 1024 + place));
        output.push(&[0; 1021], &mut pool);
        assert_eq!(says(&output), (1024, 1024 + place));
        output.push(&[0; 1], &mut pool);
        assert_eq!(says(&output), (1025, 1024 + 2048 + 2 * place));
        output.push_shared(vec![0; 100].into());
        assert_eq!(says(&output), (1125, 1024 + 2048 + 100 + 3 * place));
        output.push(&[0; 1], &mut pool);
        assert_eq!(says(&output), (1126, 1024 + 2048 + 100 + 1024 + 4 * place));
        output.consume(1025, &mut pool);
        assert_eq!((says(&output), pool.kept), ((101, 100 + 1024 + 2 * place), 1024 + 2048));
        output.consume(101, &mut pool);
        assert_eq!((says(&output), pool.kept), ((0, 0), 1024 + 2048 + 1024));
        // Twice as large ends at the largest.
        output.push(&[0; 40_000], &mut pool);
        output.push(&[0; 40_000], &mut pool);
        assert_eq!(says(&output), (80_000, 2 * Pool::LARGEST + 2 * place));
        output.clear(&mut pool);
        assert_eq!(says(&output), (0, 0));
    }

    #[test]
    fn a_write_is_filled_from_several_segments_to_its_last_byte() {
        let (mut output, mut pool) = (Output::default(), Pool::default());
        output.push(b"abc", &mut pool);
        output.push_shared(Arc::from(&b"defg"[..]));
        output.push(b"hi", &mut pool);
        output.consume(1, &mut pool);
        let front = |max: usize, room: usize| {
            let mut slices = [IoSlice::new(&[]); 5];
            let used = output.front(&mut slices[..room], max);
            slices[..used].iter().map(|slice| slice.to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(front(99, 5), [&b"bc"[..], b"defg", b"hi"]);
        assert_eq!(front(99, 2), [&b"bc"[..], b"defg"]);
        assert_eq!(front(6, 5), [&b"bc"[..], b"defg"]);
        assert_eq!(front(5, 5), [&b"bc"[..], b"def"]);
        assert_eq!(front(2, 5), [b"bc"]);
    }

    #[test]
    fn what_is_held_is_what_waits_in_each_direction() {
        let mut pool = Pool::default();
        let mut held = pool.held();
        let own = size_of::<Held>();
        assert!(held.is_empty() && !held.has_unsent() && held.capacity() == own);
        held.input.push(b"in", &mut pool);
        assert!(!held.is_empty() && !held.has_unsent());
        held.wire.push(&[0; 2000], &mut pool);
        assert!(held.has_unsent());
        assert_eq!(held.capacity(), own + 1024 + 2048);
        held.output.push(b"out", &mut pool);
        let output = held.output.capacity();
        assert_eq!(held.capacity(), own + 1024 + 2048 + output);
        held.wire.clear(&mut pool);
        assert!(held.has_unsent());
        held.scanned = 2;
        pool.give_held(held);
        // The next connection finds nothing of it.
        let held = pool.held();
        assert_eq!((held.is_empty(), held.capacity(), held.scanned), (true, own, 0));
        assert_eq!(pool.kept, 1024 + 2048 + 1024);
        pool.give_held(held);
        assert_eq!(pool.spare(), pool.kept + own);
        pool.let_go();
        assert_eq!(pool.spare(), 0);
    }

    #[test]
    fn the_pool_keeps_so_much_and_no_more() {
        let mut pool = Pool::default();
        let blocks: Vec<_> = (0..17).map(|_| pool.block(Pool::LARGEST)).collect();
        blocks.into_iter().for_each(|block| pool.give_block(block));
        assert_eq!(pool.kept, Pool::KEPT_MAX);
        let many: Vec<_> = (0..Pool::HELD_MAX + 1).map(|_| pool.held()).collect();
        many.into_iter().for_each(|held| pool.give_held(held));
        assert_eq!(pool.held.len(), Pool::HELD_MAX);
        assert!(pool.held.len() >= 10_000);
    }

    #[test]
    fn case_067_blocks_are_used_again_and_long_ones_let_go() {
        let mut pool = Pool::default();
        for size in [1, 1024, 1025, 5000, 65_536, 65_537, 10 << 20] {
            let block = pool.block(size);
            assert!(block.capacity() >= size && block.capacity() < (2 * size).max(1025));
            pool.give_block(block);
        }
        assert_eq!(pool.kept, 1024 + 2048 + 8192 + 65_536);
        let many: Vec<_> = (0..100).map(|_| pool.block(65_536)).collect();
        many.into_iter().for_each(|block| pool.give_block(block));
        assert!(pool.kept <= Pool::KEPT_MAX);
        pool.give_block(Vec::new());
        assert!(pool.blocks.iter().flatten().all(|block| block.is_empty()));
    }

    #[test]
    fn a_shared_payload_is_not_copied() {
        let payload: Arc<[u8]> = vec![7; 100].into();
        let mut outputs: Vec<_> = (0..50).map(|_| Output::default()).collect();
        outputs.iter_mut().for_each(|output| output.push_shared(payload.clone()));
        assert_eq!(Arc::strong_count(&payload), 51);
        let mut pool = Pool::default();
        outputs.iter_mut().for_each(|output| output.consume(100, &mut pool));
        assert_eq!(Arc::strong_count(&payload), 1);
    }
}
