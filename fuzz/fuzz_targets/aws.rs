#![no_main]

use libfuzzer_sys::fuzz_target;
use pilotlight::ingest::Format;

fuzz_target!(|payload: &[u8]| pilotlight_fuzz::read(&Format::Aws, &[], payload));
