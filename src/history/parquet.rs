//! Rows as the bytes of a Parquet file.

use arrow_array::RecordBatch;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_writer::ArrowWriterOptions;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::SortingColumn;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::parquet::schema::types::ColumnPath;

use super::tables::Table;

/// Rows of a row group: what a reader skips, or reads on one core, as a whole.
pub const GROUP_ROWS: usize = 1 << 17;
/// One in so many apps that are not in a row group is looked for in it nevertheless.
const BLOOM_FILTER_ERRORS: f64 = 0.01;
/// Columns of which each value is mostly another one: a dictionary of them costs time and saves nothing.
const WITHOUT_DICTIONARY: [&str; 9] =
    ["start", "minute", "decided_at", "duration_ms", "gap_ms", "gap_ms2", "idle_ms", "kafka_offset", "idle_mb_s"];

/// Writes batches of rows of `table`, sorted by app and time, one after the other.
pub struct Writer(ArrowWriter<Vec<u8>>);

impl Writer {
    /// A file for rows of the columns that `batch` has.
    pub fn new(table: Table, batch: &RecordBatch) -> Result<Self, ParquetError> {
        let schema = batch.schema();
        let sorted_by = ["app", table.time()].into_iter().filter_map(|name| schema.index_of(name).ok());
        let sorted_by =
            sorted_by.map(|at| SortingColumn { column_idx: at as i32, descending: false, nulls_first: false });
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("pilotlight ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_sorting_columns(Some(sorted_by.collect()))
            .set_column_bloom_filter_enabled(ColumnPath::from("app"), true)
            .set_column_bloom_filter_fpp(ColumnPath::from("app"), BLOOM_FILTER_ERRORS);
        for column in WITHOUT_DICTIONARY {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(column), false);
        }
        // Text is text for whoever reads, also where it is a dictionary here.
        let options = ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true);
        Ok(Self(ArrowWriter::try_new_with_options(Vec::new(), schema, options)?))
    }

    /// Adds rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.0.write(batch)
    }

    /// The file.
    pub fn finish(self) -> Result<Vec<u8>, ParquetError> {
        self.0.into_inner()
    }
}

/// The file that holds `batch`.
pub fn encode(table: Table, batch: &RecordBatch) -> Result<Vec<u8>, ParquetError> {
    let mut writer = Writer::new(table, batch)?;
    writer.write(batch)?;
    writer.finish()
}
