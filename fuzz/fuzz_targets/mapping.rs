#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use pilotlight::ingest::Format;
use pilotlight::ingest::format::Mapping;

const RULES: &str = r#"
    app = "/app"
    ended_at = { at = "/t", unit = "UNIT" }
    duration = { at = "/took", unit = "s" }
    init = { at = "/load", unit = "ns" }
    memory = { at = "/mem", unit = "b" }
    temperature = "/cold"
"#;

static FORMATS: LazyLock<[Format; 3]> = LazyLock::new(|| {
    ["rfc3339", "s", "ns"].map(|unit| {
        let mapping: Mapping = toml::from_str(&RULES.replace("UNIT", unit)).expect("rules that can be read");
        Format::Mapping(Arc::new(mapping))
    })
});

fuzz_target!(|payload: &[u8]| FORMATS.iter().for_each(|format| pilotlight_fuzz::read(format, &[], payload)));
