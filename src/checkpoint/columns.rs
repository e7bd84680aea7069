//! State ⇄ columns. Each type of state names its fields once, a line a field, for both directions: see [`Columns`].

use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder, ListBuilder, PrimitiveBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::types::{UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, ArrowNativeTypeOp, RecordBatch};
use arrow_schema::{ArrowError, Field, Schema};

/// Rows of a batch at most.
pub const BATCH_ROWS: usize = 1 << 16;

/// The columns of one row, being written from a value or read into it. A type visits its fields in the same order each
/// time, whatever they hold; it takes itself apart by a pattern without `..`, so that the compiler asks for a field that
/// was forgotten. A column that a file does not have leaves the field as it is: that is how a field is added.
pub trait Columns {
    /// A number, or none.
    fn optional<T: Number>(&mut self, name: &'static str, value: &mut Option<T>);

    /// As many numbers as there are.
    fn list<T: Number>(&mut self, name: &'static str, values: &mut Vec<T>);

    /// Always the same number of numbers.
    fn array<T: Number>(&mut self, name: &'static str, values: &mut [T]);

    /// A text, or none.
    fn text(&mut self, name: &'static str, value: &mut Option<String>);

    /// As many texts as there are, or nones.
    fn texts(&mut self, name: &'static str, values: &mut Vec<Option<String>>);

    /// One of `labels`, by its index.
    fn label(&mut self, name: &'static str, labels: &[&'static str], value: &mut usize);

    /// A number.
    fn number<T: Number>(&mut self, name: &'static str, value: &mut T) {
        let mut optional = Some(*value);
        self.optional(name, &mut optional);
        *value = optional.unwrap_or(*value);
    }

    /// True or false, as 1 or 0.
    fn flag(&mut self, name: &'static str, value: &mut bool) {
        let mut number = u8::from(*value);
        self.number(name, &mut number);
        *value = number != 0;
    }

    /// Pairs of numbers, as two lists.
    fn pairs<A: Number, B: Number>(&mut self, names: [&'static str; 2], pairs: &mut Vec<(A, B)>) {
        let (mut first, mut second): (Vec<A>, Vec<B>) = pairs.iter().copied().unzip();
        self.list(names[0], &mut first);
        self.list(names[1], &mut second);
        *pairs = first.into_iter().zip(second).collect();
    }
}

/// What a column of numbers can hold.
pub trait Number: ArrowNativeTypeOp {
    /// Arrow's name for it.
    type Arrow: ArrowPrimitiveType<Native = Self>;
}

macro_rules! numbers {
    ($($number:ty => $arrow:ty),*) => { $(impl Number for $number { type Arrow = $arrow; })* };
}
numbers!(u8 => UInt8Type, u16 => UInt16Type, u32 => UInt32Type, u64 => UInt64Type, i32 => Int32Type, i64 => Int64Type,
    f32 => Float32Type, f64 => Float64Type);

/// Rows being written.
#[derive(Default)]
pub struct Writer {
    builders: Vec<(&'static str, Box<dyn ArrayBuilder>)>,
    /// The column that comes next.
    at: usize,
    rows: usize,
    batches: Vec<RecordBatch>,
}

impl Writer {
    /// Adds a row: `fill` visits its columns.
    pub fn row(&mut self, fill: impl FnOnce(&mut Self)) -> Result<(), ArrowError> {
        self.at = 0;
        fill(self);
        self.rows += 1;
        if self.rows == BATCH_ROWS { self.close() } else { Ok(()) }
    }

    /// All rows, in batches; at least one batch unless no row was ever added.
    pub fn finish(mut self) -> Result<Vec<RecordBatch>, ArrowError> {
        if self.rows > 0 {
            self.close()?;
        }
        Ok(self.batches)
    }

    fn close(&mut self) -> Result<(), ArrowError> {
        let arrays: Vec<(&str, ArrayRef)> =
            self.builders.iter_mut().map(|(name, builder)| (*name, builder.finish())).collect();
        let field = |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
        let schema = Schema::new(arrays.iter().map(field).collect::<Vec<_>>());
        let arrays = arrays.into_iter().map(|(_, array)| array).collect();
        self.batches.push(RecordBatch::try_new(Arc::new(schema), arrays)?);
        self.rows = 0;
        Ok(())
    }

    fn next<B: ArrayBuilder + Default>(&mut self, name: &'static str, append: impl FnOnce(&mut B)) {
        if self.at == self.builders.len() {
            self.builders.push((name, Box::new(B::default())));
        }
        let (expected, builder) = &mut self.builders[self.at];
        self.at += 1;
        debug_assert_eq!(*expected, name, "columns are visited in the same order");
        if let Some(builder) = builder.as_any_mut().downcast_mut() {
            append(builder);
        }
    }
}

impl Columns for Writer {
    fn optional<T: Number>(&mut self, name: &'static str, value: &mut Option<T>) {
        self.next(name, |builder: &mut PrimitiveBuilder<T::Arrow>| builder.append_option(*value));
    }

    fn list<T: Number>(&mut self, name: &'static str, values: &mut Vec<T>) {
        self.array(name, values);
    }

    fn array<T: Number>(&mut self, name: &'static str, values: &mut [T]) {
        self.next(name, |builder: &mut ListBuilder<PrimitiveBuilder<T::Arrow>>| {
            builder.values().append_slice(values);
            builder.append(true);
        });
    }

    fn text(&mut self, name: &'static str, value: &mut Option<String>) {
        self.next(name, |builder: &mut StringBuilder| builder.append_option(value.as_deref()));
    }

    fn texts(&mut self, name: &'static str, values: &mut Vec<Option<String>>) {
        self.next(name, |builder: &mut ListBuilder<StringBuilder>| {
            values.iter().for_each(|value| builder.values().append_option(value.as_deref()));
            builder.append(true);
        });
    }

    fn label(&mut self, name: &'static str, labels: &[&'static str], value: &mut usize) {
        self.next(name, |builder: &mut StringBuilder| builder.append_option(labels.get(*value)));
    }
}

/// A row being read.
pub struct Reader<'a> {
    batch: &'a RecordBatch,
    row: usize,
    /// Where the batch has the columns, in the order in which they are visited.
    places: Vec<Option<usize>>,
    at: usize,
    /// A column that holds something else than it should.
    wrong: Option<&'static str>,
}

/// Calls `read` for each row, which visits its columns.
pub fn read_rows(batches: &[RecordBatch], mut read: impl FnMut(&mut Reader<'_>)) -> Result<(), ArrowError> {
    for batch in batches {
        let mut reader = Reader { batch, row: 0, places: Vec::new(), at: 0, wrong: None };
        for row in 0..batch.num_rows() {
            (reader.row, reader.at) = (row, 0);
            read(&mut reader);
        }
        if let Some(name) = reader.wrong {
            return Err(ArrowError::SchemaError(format!("column '{name}' is not of the type expected")));
        }
    }
    Ok(())
}

impl<'a> Reader<'a> {
    /// The next column and the row in it; `None` where the batch has no such column, or no value in it.
    fn next<A: ?Sized>(
        &mut self,
        name: &'static str,
        cast: impl FnOnce(&'a dyn Array) -> Option<&'a A>,
    ) -> Option<(&'a A, usize)> {
        if self.at == self.places.len() {
            self.places.push(self.batch.schema_ref().index_of(name).ok());
        }
        let place = self.places[self.at];
        self.at += 1;
        let array = self.batch.column(place?);
        let typed = cast(array);
        if typed.is_none() {
            self.wrong = Some(name);
        }
        typed.filter(|_| array.is_valid(self.row)).map(|typed| (typed, self.row))
    }

    fn numbers<T: Number>(&mut self, name: &'static str) -> Option<&'a [T]> {
        let (lists, row) = self.next(name, |array| array.as_list_opt::<i32>())?;
        let Some(values) = lists.values().as_primitive_opt::<T::Arrow>() else {
            self.wrong = Some(name);
            return None;
        };
        let offsets = lists.value_offsets();
        values.values().get(offsets[row] as usize..offsets[row + 1] as usize)
    }
}

impl Columns for Reader<'_> {
    fn optional<T: Number>(&mut self, name: &'static str, value: &mut Option<T>) {
        if let Some((array, row)) = self.next(name, |array| array.as_primitive_opt::<T::Arrow>()) {
            *value = Some(array.value(row));
        }
    }

    fn list<T: Number>(&mut self, name: &'static str, values: &mut Vec<T>) {
        if let Some(found) = self.numbers(name) {
            *values = found.to_vec();
        }
    }

    fn array<T: Number>(&mut self, name: &'static str, values: &mut [T]) {
        for (value, found) in values.iter_mut().zip(self.numbers(name).unwrap_or_default()) {
            *value = *found;
        }
    }

    fn text(&mut self, name: &'static str, value: &mut Option<String>) {
        if let Some((array, row)) = self.next(name, |array| array.as_string_opt::<i32>()) {
            *value = Some(array.value(row).to_owned());
        }
    }

    fn texts(&mut self, name: &'static str, values: &mut Vec<Option<String>>) {
        let Some((lists, row)) = self.next(name, |array| array.as_list_opt::<i32>()) else { return };
        let Some(texts) = lists.values().as_string_opt::<i32>() else {
            self.wrong = Some(name);
            return;
        };
        let offsets = lists.value_offsets();
        let places = offsets[row] as usize..offsets[row + 1] as usize;
        *values = places.map(|i| texts.is_valid(i).then(|| texts.value(i).to_owned())).collect();
    }

    fn label(&mut self, name: &'static str, labels: &[&'static str], value: &mut usize) {
        if let Some((array, row)) = self.next(name, |array| array.as_string_opt::<i32>()) {
            match labels.iter().position(|label| *label == array.value(row)) {
                Some(found) => *value = found,
                None => self.wrong = Some(name),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Default, PartialEq)]
    struct Row {
        number: i64,
        list: Vec<f32>,
        array: [u16; 3],
        text: Option<String>,
        texts: Vec<Option<String>>,
        pairs: Vec<(u32, f32)>,
        label: usize,
        added: u32,
    }

    impl Row {
        fn columns(&mut self, columns: &mut impl Columns, with_added: bool) {
            columns.number("number", &mut self.number);
            columns.list("list", &mut self.list);
            columns.array("array", &mut self.array);
            columns.text("text", &mut self.text);
            columns.texts("texts", &mut self.texts);
            columns.pairs(["pairs_a", "pairs_b"], &mut self.pairs);
            columns.label("label", &["x", "y"], &mut self.label);
            if with_added {
                columns.number("added", &mut self.added);
            }
        }
    }

    #[test]
    fn what_was_written_is_read_again_and_what_was_not_stays_as_it_is() {
        let rows: Vec<_> = (0..BATCH_ROWS + 2)
            .map(|i| Row {
                number: -(i as i64),
                list: vec![0.1; i % 3],
                array: [i as u16; 3],
                text: (i % 2 == 0).then(|| format!("text {i}")),
                texts: (0..i % 3).map(|n| (n != 1).then(|| format!("text {i}"))).collect(),
                pairs: vec![(i as u32, f32::MIN_POSITIVE); i % 2],
                label: i % 2,
                added: 0,
            })
            .collect();
        let mut writer = Writer::default();
        for mut row in rows.clone() {
            writer.row(|columns| row.columns(columns, false)).unwrap();
        }
        let batches = writer.finish().unwrap();
        assert_eq!(batches.len(), 2);
        let mut read = Vec::new();
        read_rows(&batches, |columns| {
            let mut row = Row::default();
            row.columns(columns, true);
            read.push(row);
        })
        .unwrap();
        assert_eq!(read, rows);
    }

    #[test]
    fn a_column_of_another_type_is_named() {
        let mut writer = Writer::default();
        writer.row(|columns| columns.text("number", &mut Some("7".to_owned()))).unwrap();
        let error = read_rows(&writer.finish().unwrap(), |columns| columns.number("number", &mut 0_i64)).unwrap_err();
        assert_eq!(error.to_string(), "Schema error: column 'number' is not of the type expected");
    }
}
