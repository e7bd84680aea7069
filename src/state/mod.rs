//! Step 2: invocation → state of its app. Pure: no clock, no Kafka; time comes in with the events.

mod activity;
mod app_state;
mod app_table;
mod arrivals;
mod clock;
mod concurrency;
mod functions;
mod idle_histogram;
mod shape;

pub use activity::Activity;
pub use app_state::AppState;
pub use app_table::AppTable;
pub use arrivals::{Arrivals, Class, Kept, Look, Novelty, Observed, Triggers};
pub use clock::{Clock, Minute, Phases};
pub use concurrency::Concurrency;
pub use functions::Functions;
pub use idle_histogram::{Cut, IdleHistogram};
pub use shape::Shape;
