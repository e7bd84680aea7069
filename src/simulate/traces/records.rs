//! Lines as records, by the rules of CSV.

use csv::ByteRecord;

use super::blocks::{Block, Parsed, take_line};
use super::skipped::{Tally, quote};

/// Splits a line at its commas into trimmed fields; what is quoted is left to the `csv` crate.
pub(super) fn split(line: &[u8], record: &mut ByteRecord) {
    record.clear();
    if memchr::memchr(b'"', line).is_none() {
        line.split(|byte| *byte == b',').for_each(|field| record.push_field(field.trim_ascii()));
        return;
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .buffer_capacity(line.len())
        .from_reader(line);
    // A slice has no errors, and records may have any length.
    let _ = reader.read_byte_record(record);
}

/// The place of each wanted column, or what is wrong with the header.
pub(super) fn columns<const N: usize>(header: &ByteRecord, wanted: [&str; N]) -> Result<[usize; N], String> {
    let mut places = [0; N];
    for (place, name) in places.iter_mut().zip(wanted) {
        *place = header
            .iter()
            .position(|column| column == name.as_bytes())
            .ok_or_else(|| format!("its first row names no column '{name}'"))?;
    }
    Ok(places)
}

/// Reads each line of a block with `row`, which says why where it can't. Blank lines are none.
pub(super) fn parse<T>(
    block: Block,
    columns: usize,
    row: impl Fn(&ByteRecord) -> Result<T, String>,
) -> Parsed<(Vec<T>, Tally)> {
    let (mut rows, mut tally, mut lines) = (Vec::new(), Tally::default(), 0);
    let mut record = ByteRecord::new();
    let mut rest = &block.bytes[..];
    while !rest.is_empty() {
        let line = take_line(&mut rest).trim_ascii();
        lines += 1;
        if line.is_empty() {
            continue;
        }
        split(line, &mut record);
        let found = if rest.is_empty() && block.is_open && record.len() < columns {
            Err(CUT_OFF.to_owned())
        } else {
            row(&record)
        };
        match found {
            Ok(row) => rows.push(row),
            Err(reason) => tally.row(lines - 1, || reason),
        }
    }
    Parsed { rows: (rows, tally), lines }
}

/// Why a file's last row does not count that has no end and too few cells.
pub(super) const CUT_OFF: &str = "the file breaks off here";

/// The name in a field: text, and not blank.
pub(super) fn name<'a>(record: &'a ByteRecord, column: usize, of: &str) -> Result<&'a str, String> {
    readable_name(record.get(column).unwrap_or_default(), of)
}

/// A name, of text and not blank.
pub(super) fn readable_name<'a>(field: &'a [u8], of: &str) -> Result<&'a str, String> {
    match std::str::from_utf8(field) {
        Ok("") => Err(format!("it names no {of}")),
        Ok(name) => Ok(name),
        Err(_) => Err(format!("{} is no UTF-8", quote(field))),
    }
}

/// The figure in a field: finite, not below 0 and at most `most`.
pub(super) fn figure(record: &ByteRecord, column: usize, most: f64) -> Result<f64, String> {
    let field = record.get(column).unwrap_or_default();
    std::str::from_utf8(field)
        .ok()
        .and_then(|text| text.parse().ok())
        .filter(|figure| (0.0..=most).contains(figure))
        .ok_or_else(|| format!("{} is no number from 0 to {most:e}", quote(field)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split() {
        for (line, fields) in [
            ("a,b", vec!["a", "b"]),
            (" a ,\tb\r", vec!["a", "b"]),
            ("a,,", vec!["a", "", ""]),
            (r#"a,"b,""c""",d"#, vec!["a", "b,\"c\"", "d"]),
            (r#""a",b"c"#, vec!["a", "b\"c"]),
            (r#"a,"b,c"#, vec!["a", "b,c"]),
        ] {
            let mut record = ByteRecord::new();
            split(line.as_bytes(), &mut record);
            assert_eq!(
                record.iter().collect::<Vec<_>>(),
                fields.iter().map(|field| field.as_bytes()).collect::<Vec<_>>()
            );
        }
    }
}
