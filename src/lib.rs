//! Pilotlight keeps serverless functions warm at a price that their operator chooses.
//!
//! Read the modules in this order, which is that of the data:
//!
//! 1. [`model`]: the nouns. Invocation, decision, window: plain data.
//! 2. [`ingest`]: bytes from the bus become invocations, or dead letters.
//! 3. [`state`]: invocations become the state of an app, above all its idle-time histogram.
//! 4. [`forecast`]: idle times so far become the next one, for the policies that ask.
//! 5. [`policy`]: the state of an app becomes the windows in which to keep it loaded.
//! 6. [`publish`]: windows become decisions, only when they changed.
//! 7. [`checkpoint`]: the state of a partition goes to an object store, and comes back.
//! 8. [`history`]: what was applied and decided goes to Parquet files.
//! 9. [`pipeline`]: wires 2-8 between the input topics and the control topic.
//! 10. [`agent`]: decisions become warm runtimes, which execute functions.
//! 11. [`shadow`]: what another policy would have cost on the same invocations.
//! 12. [`simulate`]: traces and workloads to try all this on.
//! 13. [`query`]: SQL over what runs and what ran.
//!
//! Around them: [`bus`] (Kafka), [`objects`] (object stores), [`config`], [`server`] (HTTP), [`html`], [`telemetry`] (logs and
//! metrics), [`shutdown`] and [`cli`] (one file per subcommand).

pub mod agent;
pub mod bus;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod forecast;
pub mod history;
pub mod html;
pub mod ingest;
pub mod model;
pub mod objects;
pub mod pipeline;
pub mod policy;
pub mod publish;
pub mod query;
pub mod server;
pub mod shadow;
pub mod shutdown;
pub mod simulate;
pub mod state;
pub mod telemetry;
