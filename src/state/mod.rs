//! Step 2: invocation → state of its app. Pure: no clock, no Kafka; time comes in with the events.

mod app_state;
mod app_table;
mod concurrency;
mod idle_histogram;

pub use app_state::{AppState, Observed};
pub use app_table::AppTable;
pub use concurrency::Concurrency;
pub use idle_histogram::{IdleHistogram, Shape};
