//! One checkpoint ⇄ bytes: an Arrow IPC file with a row for each app, which any Arrow reader opens as a table. What
//! belongs to the partition as a whole stands in the file's metadata, and so does a checksum over all other bytes.

use std::io::Cursor;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::CompressionType;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_schema::{ArrowError, Schema};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::model::sha256_hex;

use super::columns::{Reader, read_rows};
use super::store::Name;

/// The layout that this version writes. It reads all earlier ones: columns that they lack keep their defaults.
/// Grows when an earlier version would misread it. 2: `invocations`.
pub const SCHEMA: u32 = 2;

/// Key of [`About`] in the file's metadata, as JSON.
const ABOUT: &str = "pilotlight.checkpoint";
/// Key of the partition's own row, as an Arrow IPC stream in Base64.
const PARTITION: &str = "pilotlight.partition";
/// Key of the checksum in the footer; found from the end of the file by the text before the digits.
const CHECKSUM: &str = "pilotlight.sha256";
const DIGITS_AFTER: &str = "sha256-of-the-rest=";
const DIGITS: usize = 64;

/// What a checkpoint stands for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Layout of the file.
    pub schema: u32,
    /// Id of the Kafka cluster that the offset belongs to, where known.
    #[serde(default)]
    pub cluster: Option<String>,
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset of the first event that is not in it.
    pub offset: i64,
    /// First part of the versions of the partition's decisions.
    pub epoch: u64,
    /// The policy, with its parameters.
    pub policy: String,
    /// What that policy wants to be kept of an app's arrivals.
    pub kept: serde_json::Value,
}

/// The state of one partition, ready to be written or just read.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// What it stands for.
    pub about: About,
    /// One row: what belongs to the partition as a whole.
    pub partition: Vec<RecordBatch>,
    /// One row for each app.
    pub apps: Vec<RecordBatch>,
}

impl Snapshot {
    /// Under which name it is stored.
    pub const fn name(&self) -> Name {
        Name { epoch: self.about.epoch, offset: self.about.offset }
    }
}

/// A checkpoint whose apps are still packed: unpacked, they take several times as much memory.
pub struct Packed {
    /// What it stands for.
    pub about: About,
    /// One row: what belongs to the partition as a whole.
    pub partition: Vec<RecordBatch>,
    bytes: Vec<u8>,
    parts: usize,
}

/// Why bytes can't be used as a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// Written by a later version.
    #[error("its schema is {0}, and this version reads up to {SCHEMA}")]
    Newer(u32),
}

impl From<ArrowError> for Unusable {
    fn from(error: ArrowError) -> Self {
        Unusable::Damaged(error.to_string())
    }
}

/// The bytes of a checkpoint.
pub fn encode(snapshot: &Snapshot) -> Result<Vec<u8>, ArrowError> {
    let about = serde_json::to_string(&snapshot.about).map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
    let partition = STANDARD.encode(stream(&snapshot.partition)?);
    let metadata = [(ABOUT.to_owned(), about), (PARTITION.to_owned(), partition)].into();
    let fields = snapshot.apps.first().map_or_else(Default::default, |batch| batch.schema_ref().fields().clone());
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &schema, options()?)?;
    for batch in &snapshot.apps {
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec())?)?;
    }
    writer.write_metadata(CHECKSUM, format!("{DIGITS_AFTER}{:0DIGITS$}", 0));
    let mut bytes = writer.into_inner()?;
    if let Some(at) = digits(&bytes) {
        let digest = sha256_hex(&bytes);
        bytes[at..at + DIGITS].copy_from_slice(digest.as_bytes());
    }
    Ok(bytes)
}

/// The checkpoint in `bytes`, which are checked first.
pub fn decode(bytes: Vec<u8>) -> Result<Snapshot, Unusable> {
    let packed = Packed::open(bytes)?;
    let apps = (0..).map_while(|part| packed.part(part).transpose()).collect::<Result<_, _>>()?;
    Ok(Snapshot { about: packed.about, partition: packed.partition, apps })
}

impl Packed {
    /// Checks `bytes`, and reads what is small.
    pub fn open(mut bytes: Vec<u8>) -> Result<Self, Unusable> {
        let damaged = |what: &str| Unusable::Damaged(what.to_owned());
        let at = digits(&bytes).ok_or_else(|| damaged("it has no checksum, or was cut off"))?;
        let expected = bytes[at..at + DIGITS].to_vec();
        bytes[at..at + DIGITS].fill(b'0');
        if sha256_hex(&bytes).as_bytes() != expected {
            return Err(damaged("its checksum is another one than when it was written"));
        }
        let reader = FileReader::try_new(Cursor::new(&bytes), None)?;
        let (schema, parts) = (reader.schema(), reader.num_batches());
        let metadata = |key: &str| schema.metadata().get(key).ok_or_else(|| damaged(&format!("no metadata '{key}'")));
        let about = metadata(ABOUT)?;

        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let unreadable = |error: serde_json::Error| Unusable::Damaged(format!("metadata '{ABOUT}': {error}"));
        // First, because the rest may be anything in a later version.
        let Version { schema: found } = serde_json::from_str(about).map_err(unreadable)?;
        if found > SCHEMA {
            return Err(Unusable::Newer(found));
        }
        let about = serde_json::from_str(about).map_err(unreadable)?;
        let partition = STANDARD.decode(metadata(PARTITION)?).map_err(|error| damaged(&error.to_string()))?;
        let partition = StreamReader::try_new(Cursor::new(partition), None)?.collect::<Result<_, _>>()?;
        drop(reader);
        Ok(Self { about, partition, bytes, parts })
    }

    /// In how many parts the apps are.
    pub const fn parts(&self) -> usize {
        self.parts
    }

    /// Unpacks one part of the apps, a row for each; `None` where there is no such part.
    pub fn part(&self, part: usize) -> Result<Option<RecordBatch>, ArrowError> {
        if part >= self.parts {
            return Ok(None);
        }
        let mut reader = FileReader::try_new(Cursor::new(&self.bytes), None)?;
        reader.set_index(part)?;
        reader.next().transpose()
    }
}

/// Rows as an Arrow IPC stream, compressed.
pub fn stream(batches: &[RecordBatch]) -> Result<Vec<u8>, ArrowError> {
    let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options()?)?;
    batches.iter().try_for_each(|batch| writer.write(batch))?;
    writer.into_inner()
}

/// Calls `read` for each row of a stream that [`stream`] wrote; for none where there are no bytes.
pub fn read_stream(bytes: &[u8], read: impl FnMut(&mut Reader<'_>)) -> Result<(), ArrowError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let batches: Vec<_> = StreamReader::try_new(Cursor::new(bytes), None)?.collect::<Result<_, _>>()?;
    read_rows(&batches, read)
}

fn options() -> Result<IpcWriteOptions, ArrowError> {
    IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))
}

/// Where the digits of the checksum stand.
fn digits(bytes: &[u8]) -> Option<usize> {
    let at = memchr::memmem::rfind(bytes, DIGITS_AFTER.as_bytes())? + DIGITS_AFTER.len();
    (at + DIGITS <= bytes.len()).then_some(at)
}
