//! Avro: a record of any schema becomes the JSON object of the same fields, which the topic's format then reads. Bytes and
//! fixed values become arrays of numbers, unions the value that they hold, logical types the number beneath them.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::Name;

use crate::ingest::Reason;

/// Bytes, and items, that one value may take at most: more than any event holds.
const MAX_LENGTH: usize = 1024 * 1024;

/// A schema to read records by.
#[derive(Debug)]
pub struct AvroSchema(Schema);

impl AvroSchema {
    /// From its JSON; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        apache_avro::util::max_allocation_bytes(MAX_LENGTH);
        let schema = Schema::parse_str(text).map_err(|error| error.to_string())?;
        // A record in itself could nest as deep as its message is long, and end the thread.
        match is_recursive(&schema, &mut Vec::new()) {
            false => Ok(Self(schema)),
            true => Err("it contains itself".to_owned()),
        }
    }

    /// The record as JSON.
    pub fn to_json(&self, mut datum: &[u8]) -> Result<Vec<u8>, Reason> {
        let malformed = |error: &dyn std::fmt::Display| Reason::Malformed(format!("the message is no Avro: {error}"));
        let reader = GenericDatumReader::builder(&self.0).build().map_err(|error| malformed(&error))?;
        let value = reader.read_value(&mut datum).map_err(|error| malformed(&error))?;
        if !datum.is_empty() {
            return Err(malformed(&format!("{} bytes follow the record", datum.len())));
        }
        let json = serde_json::Value::try_from(value).map_err(|error| malformed(&error))?;
        serde_json::to_vec(&json).map_err(|error| malformed(&error))
    }
}

/// Whether a record refers to one that it is in.
fn is_recursive<'s>(schema: &'s Schema, within: &mut Vec<&'s Name>) -> bool {
    match schema {
        Schema::Array(array) => is_recursive(&array.items, within),
        Schema::Map(map) => is_recursive(&map.types, within),
        Schema::Union(union) => union.variants().iter().any(|variant| is_recursive(variant, within)),
        Schema::Record(record) => {
            within.push(&record.name);
            let found = record.fields.iter().any(|field| is_recursive(&field.schema, within));
            within.pop();
            found
        }
        Schema::Ref { name } => within.contains(&name),
        _ => false,
    }
}
