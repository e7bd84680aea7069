//! `pilotlight check --sample`: what the messages of a file would be read as.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use anyhow::bail;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config::Settings;
use crate::ingest::{self, Format, Limits, Message};

use super::Usage;

/// A message with what stands beside its payload on the bus.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    headers: BTreeMap<String, String>,
    key: Option<String>,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// Counts of messages.
#[derive(Default)]
struct Counts {
    messages: u64,
    invocations: u64,
    skipped: u64,
    unreadable: u64,
}

/// Prints the invocations in the messages of `file` as canonical JSON, one a line, and says what can't be read.
pub(super) fn run(settings: &Settings, file: &Path, format: &Format) -> anyhow::Result<()> {
    let text = std::fs::read(file)
        .map_err(|error| Usage(format!("sample '{}' can't be read: {error}; check --sample", file.display())))?;
    let messages = messages(&text);
    if messages.is_empty() {
        return Err(Usage(format!("sample '{}' is empty: expected a message in it", file.display())).into());
    }
    let limits = Limits::new(&settings.input);
    // Stands for the topic, by which some formats name what does not name itself.
    let topic = file.file_stem().unwrap_or_default().to_string_lossy();
    let mut counts = Counts::default();
    let mut out = std::io::stdout().lock();
    for (place, payload) in messages {
        counts.messages += 1;
        let read = match print(&mut out, payload, &topic, format, &limits) {
            // Whoever reads this has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        };
        match read {
            Ok(0) => counts.skipped += 1,
            Ok(invocations) => counts.invocations += invocations,
            Err(reason) => {
                counts.unreadable += 1;
                eprintln!("{place}: {reason}");
            }
        }
    }
    out.flush()?;
    let Counts { messages, invocations, skipped, unreadable } = counts;
    eprintln!(
        "as {}: messages {messages}, invocations {invocations}, skipped messages {skipped}, unreadable messages {unreadable}",
        format.name()
    );
    if unreadable > 0 {
        bail!("{unreadable} of {messages} messages of '{}' can't be read as {}", file.display(), format.name());
    }
    Ok(())
}

/// Prints the invocations of one message and returns how many there are, or why it can't be read.
fn print(
    out: &mut impl Write,
    payload: &[u8],
    topic: &str,
    format: &Format,
    limits: &Limits,
) -> io::Result<Result<u64, ingest::Reason>> {
    let envelope: Option<Envelope> = serde_json::from_slice(payload).ok();
    let value = envelope.as_ref().map_or(Cow::Borrowed(payload), |envelope| {
        // A string stands for a message that is no JSON.
        match serde_json::from_str::<String>(envelope.value.get()) {
            Ok(text) => Cow::Owned(text.into_bytes()),
            Err(_) => Cow::Borrowed(envelope.value.get().as_bytes()),
        }
    });
    let headers = envelope.as_ref().map(|envelope| envelope.headers.iter()).unwrap_or_default();
    let headers: Vec<_> = headers.map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let key = envelope.as_ref().and_then(|envelope| envelope.key.as_deref());
    let message =
        Message { topic, key: key.map(str::as_bytes), payload: Some(&value), headers: &headers, received_ms: None };
    let invocations = match ingest::decode(&message, format, limits) {
        Ok(invocations) => invocations,
        Err(reason) => return Ok(Err(reason)),
    };
    for invocation in &invocations {
        writeln!(out, "{}", serde_json::to_string(invocation)?)?;
    }
    Ok(Ok(invocations.len() as u64))
}

/// The messages of a file, each with its place: the elements of a JSON array, the file where it is one JSON value, or its
/// lines.
fn messages(text: &[u8]) -> Vec<(String, &[u8])> {
    let whole: Option<&RawValue> = serde_json::from_slice(text).ok();
    if let Some(whole) = whole {
        return match serde_json::from_str::<Vec<&RawValue>>(whole.get()) {
            Ok(elements) => numbered("element", elements.into_iter().map(|element| element.get().as_bytes())).collect(),
            Err(_) => vec![("the message".to_owned(), whole.get().as_bytes())],
        };
    }
    let lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    numbered("line", lines).filter(|(_, line)| !line.trim_ascii().is_empty()).collect()
}

fn numbered<'a>(what: &str, parts: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = (String, &'a [u8])> {
    parts.enumerate().map(move |(i, part)| (format!("{what} {}", i + 1), part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_message_or_lines_or_an_array_of_them() {
        let places = |text: &'static [u8]| -> Vec<String> {
            messages(text)
                .into_iter()
                .map(|(place, message)| format!("{place}={}", String::from_utf8_lossy(message)))
                .collect()
        };
        assert_eq!(places(b"{\"a\":\n1}\n"), ["the message={\"a\":\n1}"]);
        assert_eq!(places(b"{}\r\n\n[1]\nx"), ["line 1={}", "line 3=[1]", "line 4=x"]);
        assert_eq!(places(b"[{\"a\":1}, 2]"), ["element 1={\"a\":1}", "element 2=2"]);
        assert!(places(b" \n").is_empty() && places(b"[]").is_empty());
    }
}
