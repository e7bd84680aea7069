//! A file in blocks of whole lines, unpacked where it is packed, so that it is never in memory as a whole.
//!
//! A row ends where its line ends: unlike CSV at large, a stray quote costs one row and not the rest of the file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::ops::ControlFlow;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::Error;

/// Size of a block, bytes: enough that handing it to a thread costs nothing, small against memory.
const BLOCK: u64 = 1 << 22;
/// No row is longer, bytes: a day's takes 10 kB.
const LONGEST_ROW: usize = 1 << 24;
/// Blocks under way at once: two cores parse while a third block is read.
const AT_ONCE: usize = 3;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// What files that are no text begin with.
const OTHER_KINDS: [(&[u8], &str); 7] = [
    (b"\xfd7zXZ\0", "an xz archive: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd: unpack it first"),
    (b"\xff\xfe", "in UTF-16: expected UTF-8"),
    (b"\xfe\xff", "in UTF-16: expected UTF-8"),
];

/// A file that is being read.
#[derive(Debug)]
pub(super) struct Blocks {
    path: String,
    source: Source,
    /// The first line that is not blank, without its end.
    header: Vec<u8>,
    /// Lines up to and with the header.
    header_lines: u64,
    /// What was read along with the header.
    first: Option<Block>,
    /// A line of which the end is still to be read.
    begun: Vec<u8>,
    ended: bool,
    broken: Option<String>,
}

#[derive(Debug)]
enum Source {
    Plain { file: BufReader<File>, done: u64 },
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
}

/// Whole lines.
#[derive(Debug)]
pub(super) struct Block {
    /// The lines, with their ends.
    pub bytes: Vec<u8>,
    /// Whether the last line has no end, as the last one of a file may.
    pub is_open: bool,
}

/// What parsing a block gives.
pub(super) struct Parsed<T> {
    pub rows: T,
    /// Lines in the block.
    pub lines: u64,
}

impl Blocks {
    /// Opens a file and reads its first row.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let unreadable = |source| Error::Unreadable { path: name.clone(), source };
        let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(unreadable)?);
        let source = if file.fill_buf().map_err(unreadable)?.starts_with(&GZIP) {
            Source::Gzip(Box::new(MultiGzDecoder::new(file)))
        } else {
            Source::Plain { file, done: 0 }
        };
        let mut blocks = Self {
            path: name,
            source,
            header: Vec::new(),
            header_lines: 0,
            first: None,
            begun: Vec::new(),
            ended: false,
            broken: None,
        };
        blocks.read_header()?;
        Ok(blocks)
    }

    /// The first line that is not blank, without its end.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The file's path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Parses all blocks on threads of their own and hands the results to `take` in the order of the file, each with
    /// the number of lines before it. `progress` is told how many bytes of the file are read. Says why the file ends
    /// before it should, if it does.
    pub fn parse<T: Send>(
        mut self,
        parse: impl Fn(Block) -> Parsed<T> + Sync,
        mut take: impl FnMut(T, u64),
        progress: impl Fn(u64),
    ) -> Result<Option<String>, Error> {
        let parse = &parse;
        let mut lines = self.header_lines;
        std::thread::scope(|threads| {
            let mut under_way = VecDeque::new();
            loop {
                while under_way.len() < AT_ONCE
                    && let Some(block) = self.next()?
                {
                    progress(self.position()?);
                    under_way.push_back(threads.spawn(move || parse(block)));
                }
                let Some(oldest) = under_way.pop_front() else { break };
                let parsed = oldest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                take(parsed.rows, lines);
                lines += parsed.lines;
            }
            Ok(self.broken.map(|reason| format!("breaks off after line {lines}: {reason}")))
        })
    }

    /// Parses block by block on this thread, until `take` wants no more. Otherwise as [`Self::parse`].
    pub fn parse_in_turn<T>(
        mut self,
        parse: impl Fn(Block) -> Parsed<T>,
        mut take: impl FnMut(T, u64) -> ControlFlow<()>,
    ) -> Result<Option<String>, Error> {
        let mut lines = self.header_lines;
        while let Some(block) = self.next()? {
            let parsed = parse(block);
            if take(parsed.rows, lines).is_break() {
                return Ok(None);
            }
            lines += parsed.lines;
        }
        Ok(self.broken.map(|reason| format!("breaks off after line {lines}: {reason}")))
    }

    fn read_header(&mut self) -> Result<(), Error> {
        let read = self.read_lines()?;
        let malformed = |reason: &str| Error::Malformed { path: self.path.clone(), reason: reason.to_owned() };
        let Some(mut block) = read else {
            return Err(malformed(self.broken.as_deref().unwrap_or("it is empty")));
        };
        if block.bytes.starts_with(&BYTE_ORDER_MARK) {
            block.bytes.drain(..BYTE_ORDER_MARK.len());
        }
        if let Some((_, kind)) = OTHER_KINDS.iter().find(|(magic, _)| block.bytes.starts_with(magic)) {
            return Err(malformed(&format!("it is {kind}")));
        }
        let mut rest = &block.bytes[..];
        while self.header.is_empty() && !rest.is_empty() {
            let line = take_line(&mut rest);
            self.header = line.trim_ascii().to_vec();
            self.header_lines += 1;
        }
        block.bytes.drain(..block.bytes.len() - rest.len());
        self.first = (!block.bytes.is_empty()).then_some(block);
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Block>, Error> {
        match self.first.take() {
            Some(block) => Ok(Some(block)),
            None => self.read_lines(),
        }
    }

    fn read_lines(&mut self) -> Result<Option<Block>, Error> {
        if self.ended {
            return Ok(None);
        }
        let mut bytes = std::mem::take(&mut self.begun);
        loop {
            let searched = bytes.len();
            self.read(&mut bytes)?;
            let last = memchr::memrchr(b'\n', &bytes[searched..]).map(|last| searched + last);
            if self.ended && self.broken.is_none() {
                let is_open = bytes.last().is_some_and(|byte| *byte != b'\n');
                return Ok((!bytes.is_empty()).then_some(Block { bytes, is_open }));
            }
            if let Some(last) = last {
                self.begun = bytes.split_off(last + 1);
                return Ok(Some(Block { bytes, is_open: false }));
            }
            if self.ended {
                return Ok(None);
            }
            if bytes.len() > LONGEST_ROW {
                self.ended = true;
                self.broken = Some(format!("the next row is longer than {} MB", LONGEST_ROW >> 20));
                return Ok(None);
            }
        }
    }

    /// Appends up to a block's bytes. What is packed may end early or be damaged: then, all before that counts.
    fn read(&mut self, bytes: &mut Vec<u8>) -> Result<(), Error> {
        bytes.reserve(BLOCK as usize);
        let read = match &mut self.source {
            Source::Plain { file, done } => file.take(BLOCK).read_to_end(bytes).inspect(|read| *done += *read as u64),
            Source::Gzip(packed) => packed.take(BLOCK).read_to_end(bytes),
        };
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match read {
            Ok(read) => self.ended = (read as u64) < BLOCK,
            Err(error) if matches!(error.kind(), UnexpectedEof | InvalidData | InvalidInput) => {
                self.ended = true;
                self.broken = Some(format!("it can't be unpacked further ({error})"));
            }
            Err(source) => return Err(Error::Unreadable { path: self.path.clone(), source }),
        }
        Ok(())
    }

    /// Bytes of the file that are read.
    fn position(&mut self) -> Result<u64, Error> {
        match &mut self.source {
            Source::Plain { done, .. } => Ok(*done),
            Source::Gzip(packed) => packed
                .get_mut()
                .stream_position()
                .map_err(|source| Error::Unreadable { path: self.path.clone(), source }),
        }
    }
}

/// Takes a line off the front, with its end.
pub(super) fn take_line<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
    let (line, rest) = bytes.split_at(end);
    *bytes = rest;
    line
}
