//! Avro messages become JSON by the schemas of a Confluent-compatible registry (`input.schema_registry`).
//!
//! A schema is asked for once, at the first message that names it, and never changes: the registry gives each a new id.
//! Until it answers the pipeline waits, because a message that is left out would change the decisions after it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tracing::warn;

use crate::ingest::Reason;
use crate::ingest::format::{AvroSchema, framed};
use crate::shutdown::Shutdown;

/// Schemas kept; more than this many ids can only be noise.
const MAX_SCHEMAS: usize = 10_000;
/// How long a registry that does not answer is asked again, and how long one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const MAX_ANSWER: u64 = 1024 * 1024;

/// The registry did not say what a schema is.
#[derive(Debug, thiserror::Error)]
#[error(
    "the schema registry at {url} does not say what schema {id} is: {reason}; check input.schema_registry and start again"
)]
pub struct RegistryError {
    url: String,
    id: u32,
    reason: String,
}

/// A registry and the schemas that it gave.
pub struct SchemaRegistry {
    url: String,
    client: ureq::Agent,
    schemas: HashMap<u32, Schema>,
}

enum Schema {
    Avro(AvroSchema),
    /// The message is JSON as it is.
    Json,
    /// No message of it can be read, and why.
    Useless(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    schema: String,
    /// Left out for Avro.
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<serde_json::Value>,
}

impl SchemaRegistry {
    /// The registry at `url` (`http://host:port`). Connects to nothing yet.
    pub fn new(url: &str) -> Self {
        let client =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(ANSWER_TIME)).build();
        Self { url: url.trim_end_matches('/').to_owned(), client: client.into(), schemas: HashMap::new() }
    }

    /// The message as JSON, where it is Avro; `None` where it is to be read as it is. Inside is the reason why it can't be
    /// read, outside that the registry is needed and does not answer.
    pub fn unpack(
        &mut self,
        payload: &[u8],
        shutdown: &Shutdown,
    ) -> Result<Result<Option<Vec<u8>>, Reason>, RegistryError> {
        let Some((id, datum)) = framed(payload) else { return Ok(Ok(None)) };
        if !self.schemas.contains_key(&id) {
            if self.schemas.len() >= MAX_SCHEMAS {
                self.schemas.clear();
            }
            let schema = self.ask(id, shutdown)?;
            self.schemas.insert(id, schema);
        }
        Ok(match self.schemas.get(&id) {
            Some(Schema::Avro(schema)) => schema.to_json(datum).map(Some),
            Some(Schema::Useless(reason)) => Err(Reason::Malformed(format!("schema {id} of the message: {reason}"))),
            Some(Schema::Json) | None => Ok(None),
        })
    }

    fn ask(&self, id: u32, shutdown: &Shutdown) -> Result<Schema, RegistryError> {
        let (began, mut backoff) = (Instant::now(), Duration::from_millis(100));
        loop {
            let reason = match self.ask_once(id) {
                Ok(schema) => return Ok(schema),
                Err(reason) => reason,
            };
            if shutdown.is_requested() || began.elapsed() > PATIENCE {
                return Err(RegistryError { url: self.url.clone(), id, reason });
            }
            if backoff == Duration::from_millis(100) {
                warn!("the schema registry at {} does not answer: {reason}; retrying", self.url);
            }
            shutdown.sleep(backoff);
            backoff = (backoff * 2).min(Duration::from_secs(5));
        }
    }

    fn ask_once(&self, id: u32) -> Result<Schema, String> {
        let url = format!("{}/schemas/ids/{id}", self.url);
        let mut answer = self.client.get(url).call().map_err(|error| error.to_string())?;
        match answer.status().as_u16() {
            200 => {}
            404 => return Ok(Schema::Useless("the registry does not know it".to_owned())),
            status => return Err(format!("it answers with status {status}")),
        }
        let body = answer.body_mut().with_config().limit(MAX_ANSWER).read_json();
        let answer: Answer = body.map_err(|error| error.to_string())?;
        Ok(match answer.schema_type.as_deref().unwrap_or("AVRO") {
            "AVRO" if !answer.references.is_empty() => Schema::Useless("it refers to other schemas".to_owned()),
            "AVRO" => AvroSchema::parse(&answer.schema).map_or_else(Schema::Useless, Schema::Avro),
            "JSON" => Schema::Json,
            other => Schema::Useless(format!("it is of the type {other}: expected AVRO or JSON")),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::shutdown;

    /// Answers as a registry is documented to, and counts how often it was asked.
    fn registry() -> (String, Arc<AtomicUsize>) {
        let fields = r#"{"name":"app","type":"string"},{"name":"function","type":["null","string"]},
            {"name":"started_at_ms","type":{"type":"long","logicalType":"timestamp-millis"}},
            {"name":"duration_ms","type":"double"}"#;
        let record = format!(r#"{{"type":"record","name":"Invocation","fields":[{fields}]}}"#);
        let list = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
                let request = lines.next().unwrap();
                lines.find(String::is_empty).unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                let schema = match request.split(' ').nth(1).unwrap() {
                    "/schemas/ids/1" => serde_json::json!({"schema": record}),
                    "/schemas/ids/2" => serde_json::json!({"schema": "{}", "schemaType": "JSON"}),
                    "/schemas/ids/3" => serde_json::json!({"schema": "", "schemaType": "PROTOBUF"}),
                    "/schemas/ids/4" => serde_json::json!({"schema": list}),
                    _ => serde_json::Value::Null,
                };
                let (status, body) = if schema.is_null() { (404, "{}".to_owned()) } else { (200, schema.to_string()) };
                let head =
                    format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).unwrap();
            }
        });
        (url, asked)
    }

    /// `{"app":"a","function":"f","started_at_ms":1,"duration_ms":2.5}`, by the rules of Avro's binary encoding.
    const RECORD: [u8; 14] = [2, b'a', 2, 2, b'f', 2, 0, 0, 0, 0, 0, 0, 4, 0x40];

    #[test]
    fn avro_becomes_json_by_the_schema_of_its_id() {
        let (url, asked) = registry();
        let (_trigger, shutdown) = shutdown::channel();
        let mut registry = SchemaRegistry::new(&url);
        let mut unpack = |id: u8, datum: &[u8]| {
            let payload = [&[0, 0, 0, 0, id], datum].concat();
            let read = registry.unpack(&payload, &shutdown).unwrap();
            read.map(|json| json.map(|json| String::from_utf8(json).unwrap())).map_err(|reason| reason.to_string())
        };
        let json = r#"{"app":"a","duration_ms":2.5,"function":"f","started_at_ms":1}"#;
        for _ in 0..3 {
            assert_eq!(unpack(1, &RECORD), Ok(Some(json.to_owned())));
            assert_eq!(unpack(2, b"{}"), Ok(None), "JSON is read as it is");
        }
        for (id, datum, expected) in [
            (1, &RECORD[..13], "the message is no Avro: "),
            (1, &[&RECORD[..], &[0]].concat(), "the message is no Avro: 1 bytes follow the record"),
            (1, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], "the message is no Avro: "),
            (3, b"x", "schema 3 of the message: it is of the type PROTOBUF"),
            (4, &[2; 100], "schema 4 of the message: it contains itself"),
            (9, b"x", "schema 9 of the message: the registry does not know it"),
            (9, b"x", "schema 9 of the message: the registry does not know it"),
        ] {
            let reason = unpack(id, datum).unwrap_err();
            assert!(reason.starts_with(expected), "{reason}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 5, "once for each id");
    }

    #[test]
    fn a_registry_that_does_not_answer_is_named() {
        let (trigger, shutdown) = shutdown::channel();
        trigger.fire();
        let mut registry = SchemaRegistry::new("http://127.0.0.1:9");
        let error = registry.unpack(&[0, 0, 0, 0, 7, 1], &shutdown).unwrap_err().to_string();
        assert!(
            error.starts_with("the schema registry at http://127.0.0.1:9 does not say what schema 7 is: "),
            "{error}"
        );
        assert_eq!(registry.unpack(b"{}", &shutdown).unwrap(), Ok(None), "what has no frame needs no registry");
    }
}
