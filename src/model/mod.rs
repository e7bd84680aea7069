//! The nouns: plain data that every room understands. Times are epoch milliseconds in UTC (`_ms`), memory is in MB.

mod decision;
mod invocation;
mod text;
mod window;

pub use decision::{Decision, Expected, Regime, Successor, SuccessorOn, Version};
pub use invocation::{Code, Invocation, Status, Temperature, Trigger, known_temperature};
pub use text::Text;
pub use window::{Window, Windows, window_columns};

/// Memory of an app that never told its own, in MB: the median of the published maxima (`Serverless in the Wild`,
/// §3.5).
pub const DEFAULT_MEMORY_MB: f64 = 170.0;

/// Lower-case hex SHA-256.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The wall clock as epoch milliseconds. For the edges only: the pure rooms get their time as an argument.
pub fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
