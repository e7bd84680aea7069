//! How often each function was invoked in each minute, in about a byte a cell.
//!
//! A function's cells lie in segments, one for each row that it was read from, in the order of time. A segment is a
//! sequence of varints (LEB128). Each says `1 + min(gap, 7) + 8 · (count − 1)`, where `gap` is the number of minutes
//! without invocations before the cell, counted from minute 0 for a segment's first; a gap of 7 or more is followed by
//! `gap − 7`. So most cells take a byte. A zero is followed by how often the last gap and count are repeated: that is
//! what timers come to.

/// Gaps from here on have a varint of their own.
const LONG_GAP: u32 = 7;
/// Says that a number of repetitions follows.
const REPEAT: u8 = 0;
/// A chunk that is written to one function at a time is closed at this size, bytes.
const CHUNK: usize = 1 << 22;

/// The cells of all functions.
#[derive(Debug, Default)]
pub(super) struct Store {
    chunks: Vec<Vec<u8>>,
    functions: Vec<Vec<Segment>>,
}

/// A place in a chunk.
#[derive(Debug, Clone, Copy)]
struct Segment {
    chunk: u32,
    begin: u32,
    end: u32,
}

impl Store {
    /// Adds encoded cells, which segments may refer to.
    pub fn add_chunk(&mut self, mut bytes: Vec<u8>) {
        bytes.shrink_to_fit();
        self.chunks.push(bytes);
    }

    /// Adds bytes `begin..end` of the last chunk to a function. They should lie after its other cells in time.
    pub fn push_segment(&mut self, function: u32, (begin, end): (u32, u32)) {
        let chunk = self.chunks.len().saturating_sub(1) as u32;
        self.of(function).push(Segment { chunk, begin, end });
    }

    /// Adds a function's next cells, in ascending order and each above 0.
    pub fn push(&mut self, function: u32, cells: &[(u32, u32)]) {
        if self.chunks.last().is_none_or(|chunk| chunk.len() >= CHUNK) {
            if let Some(full) = self.chunks.last_mut() {
                full.shrink_to_fit();
            }
            self.chunks.push(Vec::new());
        }
        let Some(chunk) = self.chunks.last_mut() else { return };
        let begin = chunk.len() as u32;
        encode(cells, chunk);
        let end = chunk.len() as u32;
        self.push_segment(function, (begin, end));
    }

    /// Forgets a function's cells.
    pub fn clear(&mut self, function: u32) {
        self.of(function).clear();
    }

    /// A function's `(minute, invocations)`, in ascending order. Takes no memory that grows with them.
    pub fn cells(&self, function: u32) -> Cells<'_> {
        let segments = self.functions.get(function as usize).map_or(&[][..], Vec::as_slice);
        Cells {
            chunks: &self.chunks,
            segments: segments.iter(),
            bytes: &[],
            next_minute: 0,
            gap: 0,
            count: 0,
            again: 0,
        }
    }

    fn of(&mut self, function: u32) -> &mut Vec<Segment> {
        let index = function as usize;
        if self.functions.len() <= index {
            self.functions.resize_with(index + 1, Vec::new);
        }
        &mut self.functions[index]
    }
}

/// The cells of a function: `(minute, invocations)`, in ascending order.
#[derive(Debug, Clone)]
pub struct Cells<'a> {
    chunks: &'a [Vec<u8>],
    segments: std::slice::Iter<'a, Segment>,
    bytes: &'a [u8],
    next_minute: u32,
    gap: u32,
    count: u32,
    again: u32,
}

impl Iterator for Cells<'_> {
    type Item = (u32, u32);

    fn next(&mut self) -> Option<Self::Item> {
        if self.again > 0 {
            self.again -= 1;
        } else {
            while self.bytes.is_empty() {
                let segment = self.segments.next()?;
                let chunk = self.chunks.get(segment.chunk as usize)?;
                self.bytes = chunk.get(segment.begin as usize..segment.end as usize)?;
                self.next_minute = 0;
            }
            match varint(&mut self.bytes) {
                0 => self.again = (varint(&mut self.bytes) as u32).saturating_sub(1),
                token => {
                    let token = token - 1;
                    self.gap = token as u32 % 8;
                    self.count = (token / 8) as u32 + 1;
                    if self.gap == LONG_GAP {
                        self.gap += varint(&mut self.bytes) as u32;
                    }
                }
            }
        }
        let minute = self.next_minute + self.gap;
        self.next_minute = minute.saturating_add(1);
        Some((minute, self.count))
    }
}

/// Appends cells, in ascending order and each above 0, as a segment.
pub(super) fn encode(cells: &[(u32, u32)], out: &mut Vec<u8>) {
    let mut next_minute = 0;
    let mut last = (u32::MAX, 0);
    let mut token_bytes = 0;
    let mut again = 0;
    for &(minute, count) in cells {
        let cell = (minute - next_minute, count);
        next_minute = minute.saturating_add(1);
        if cell == last {
            again += 1;
            continue;
        }
        repeat(again, token_bytes, out);
        let begin = out.len();
        push_token(cell, out);
        token_bytes = out.len() - begin;
        (last, again) = (cell, 0);
    }
    repeat(again, token_bytes, out);
}

/// The last `token_bytes` bytes once more, `again` times: as they are, or as a number where that is shorter.
fn repeat(again: u32, token_bytes: usize, out: &mut Vec<u8>) {
    if again as usize * token_bytes <= 2 {
        let begin = out.len() - token_bytes;
        for _ in 0..again {
            out.extend_from_within(begin..begin + token_bytes);
        }
    } else {
        out.push(REPEAT);
        push_varint(u64::from(again), out);
    }
}

fn push_token((gap, count): (u32, u32), out: &mut Vec<u8>) {
    push_varint(1 + u64::from(gap.min(LONG_GAP)) + 8 * u64::from(count - 1), out);
    if gap >= LONG_GAP {
        push_varint(u64::from(gap - LONG_GAP), out);
    }
}

fn push_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a varint off the front.
fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    while let Some((byte, rest)) = bytes.split_first() {
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if *byte < 0x80 || shift > 56 {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(rows: &[Vec<(u32, u32)>]) -> Store {
        let mut store = Store::default();
        for row in rows {
            store.push(3, row);
        }
        store
    }

    #[test]
    fn sizes() {
        let every = |step: usize, count| (0..1440).step_by(step).map(|minute| (minute, count)).collect::<Vec<_>>();
        for (cells, bytes) in [
            (vec![], 0),
            (vec![(0, 1)], 1),
            (vec![(20_159, 1)], 4),
            (vec![(0, 1), (1, 1), (2, 1)], 3),
            (every(1, 1), 4),
            (every(5, 1), 5),
            (every(60, 1_000_000), 11),
            ((0..1440).map(|minute| (minute, 1 + minute % 15)).collect(), 1440),
        ] {
            let mut out = Vec::new();
            encode(&cells, &mut out);
            assert_eq!(out.len(), bytes, "{:?}…", &cells[..cells.len().min(3)]);
        }
    }

    #[test]
    fn a_function_without_cells() {
        assert_eq!(Store::default().cells(0).next(), None);
        assert_eq!(stored(&[vec![(1, 1)]]).cells(2).next(), None);
        assert_eq!(stored(&[vec![(1, 1)]]).cells(4).next(), None);
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            steps in prop::collection::vec((prop_oneof![0u32..3, 0u32..100_000], prop_oneof![1u32..4, 1u32..=u32::MAX]), 0..200),
            cut in 0usize..200,
        ) {
            let mut minute = 0;
            let cells: Vec<_> = steps.iter().map(|(gap, count)| {
                minute += gap + 1;
                (minute - 1, *count)
            }).collect();
            let (early, late) = cells.split_at(cut.min(cells.len()));
            prop_assert_eq!(stored(&[early.to_vec(), late.to_vec()]).cells(3).collect::<Vec<_>>(), cells);
        }
    }
}
