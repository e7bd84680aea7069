#![no_main]

use libfuzzer_sys::fuzz_target;
use pilotlight::ingest::Format;

// Without headers the payload is in structured mode. With them it is in binary mode, and its first line is the time.
fuzz_target!(|payload: &[u8]| {
    pilotlight_fuzz::read(&Format::CloudEvents, &[], payload);
    let line = payload.iter().position(|byte| *byte == b'\n').unwrap_or_default();
    let (time, data) = payload.split_at(line);
    let headers: [(&str, &[u8]); 4] =
        [("ce_specversion", b"1.0"), ("ce_id", b"i"), ("ce_source", b"/s"), ("ce_time", time)];
    pilotlight_fuzz::read(&Format::CloudEvents, &headers, data);
});
