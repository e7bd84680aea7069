//! The metrics, as Prometheus reads them from `/metrics`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The registry of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<std::sync::RwLock<Registry>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { registry: Arc::new(std::sync::RwLock::new(Registry::with_prefix("pilotlight"))) }
    }
}

impl Metrics {
    /// All metrics in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Ok(registry) = self.registry.read() {
            // Writing to a string can't fail.
            let _ = encode(&mut text, &registry);
        }
        text
    }

    fn with(&self, register: impl FnOnce(&mut Registry)) {
        if let Ok(mut registry) = self.registry.write() {
            register(&mut registry);
        }
    }
}

/// A gauge of a real number.
pub type FloatGauge = Gauge<f64, AtomicU64>;

/// Label: a short name of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    /// The name.
    pub kind: &'static str,
}

/// Metrics of the pipeline.
#[derive(Debug, Clone, Default)]
pub struct PipelineMetrics {
    /// Messages read, good and bad.
    pub events: Counter,
    /// Messages that hold no invocation by the rules of their format.
    pub skipped: Counter,
    /// Messages that became dead letters, by kind of reason.
    pub dead_letters: Family<Kind, Counter>,
    /// Events written to the topic of keyed events.
    pub keyed: Counter,
    /// Executions that came too late to be put in order.
    pub late: Counter,
    /// Events that had come before.
    pub duplicates: Counter,
    /// Decisions published.
    pub decisions: Counter,
    /// Apps forgotten.
    pub tombstones: Counter,
    /// Apps in memory.
    pub apps: Gauge,
    /// Partitions owned.
    pub partitions: Gauge,
    /// Age of the newest event when it was read, in seconds.
    pub lag: FloatGauge,
    /// Whether the broker answers.
    pub connected: Gauge,
}

impl PipelineMetrics {
    /// Registers them.
    pub fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.with(|registry| {
            registry.register("events", "Messages read, good and bad", own.events.clone());
            let help = "Messages about something else than an invocation, by the rules of their format";
            registry.register("skipped", help, own.skipped.clone());
            registry.register("dead_letters", "Messages that could not be read, by reason", own.dead_letters.clone());
            let help = "Events keyed by app, where the input is not";
            registry.register("keyed", help, own.keyed.clone());
            let help = "Executions applied after one of their app that started later";
            registry.register("late", help, own.late.clone());
            registry.register("duplicates", "Events dropped because they had come before", own.duplicates.clone());
            registry.register("decisions", "Decisions published", own.decisions.clone());
            registry.register("tombstones", "Apps forgotten after long silence", own.tombstones.clone());
            registry.register("apps", "Apps in memory", own.apps.clone());
            registry.register("partitions", "Input partitions owned", own.partitions.clone());
            let help = "Age of the newest event of the last batch when it was read";
            registry.register_with_unit("event_lag", help, Unit::Seconds, own.lag.clone());
            registry.register("bus_connected", "1 while a broker answers, else 0", own.connected.clone());
        });
        own
    }
}

/// Metrics of the pipeline's checkpoints.
#[derive(Debug, Clone, Default)]
pub struct CheckpointMetrics {
    /// Checkpoints written.
    pub written: Counter,
    /// Those that could not be.
    pub failed: Counter,
    /// For how long the oldest events that are in no checkpoint have waited for one, in seconds.
    pub age: FloatGauge,
    /// For how long the flow stood still for the last one, in seconds.
    pub pause: FloatGauge,
}

impl CheckpointMetrics {
    /// Registers them.
    pub fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.with(|registry| {
            registry.register("checkpoints", "Checkpoints written", own.written.clone());
            registry.register("checkpoint_failures", "Checkpoints that could not be written", own.failed.clone());
            let help =
                "Age of the last checkpoint of the partition with events that wait longest for one; 0 if none do";
            registry.register_with_unit("checkpoint_age", help, Unit::Seconds, own.age.clone());
            let help = "For how long the flow stood still for the last checkpoint";
            registry.register_with_unit("checkpoint_pause", help, Unit::Seconds, own.pause.clone());
        });
        own
    }
}

/// Metrics of the pipeline's history.
#[derive(Debug, Clone, Default)]
pub struct HistoryMetrics {
    /// Invocations that were written.
    pub rows: Counter,
    /// Files that were written.
    pub files: Counter,
    /// Their bytes.
    pub bytes: Counter,
    /// Whether the store failed last time.
    pub failing: Gauge,
    /// Files made one.
    pub compacted: Counter,
    /// Files deleted because of their age or of the size of all.
    pub expired: Counter,
}

impl HistoryMetrics {
    /// Registers them.
    pub fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.with(|registry| {
            registry.register("history_rows", "Invocations written to history", own.rows.clone());
            registry.register("history_files", "Files of history written", own.files.clone());
            registry.register_with_unit("history_written", "Size of these files", Unit::Bytes, own.bytes.clone());
            registry.register("history_failing", "1 while history can't be written, else 0", own.failing.clone());
            let help = "Small files of history that were made one";
            registry.register("history_compacted", help, own.compacted.clone());
            let help = "Files of history deleted because of their age, or of the size of all";
            registry.register("history_expired", help, own.expired.clone());
        });
        own
    }
}

/// Metrics of the agent.
#[derive(Debug, Clone)]
pub struct AgentMetrics {
    /// Invocations executed, by start temperature.
    pub invocations: Family<Kind, Counter>,
    /// Invocations that failed, by status.
    pub failures: Family<Kind, Counter>,
    /// Invocation events that the bus did not take.
    pub events_lost: Counter,
    /// Apps loaded ahead of an invocation.
    pub prewarms: Counter,
    /// Loaded apps that were unloaded, crashed ones included.
    pub unloads: Counter,
    /// Decisions taken over.
    pub decisions: Counter,
    /// Runtimes wanted from an empty pool, by runtime kind.
    pub pool_misses: Counter,
    /// Seconds from wanting an app loaded to having it.
    pub load_seconds: Histogram,
    /// Loaded apps, idle and busy.
    pub loaded: Gauge,
    /// Memory that all runtimes take as declared, MB.
    pub taken_mb: Gauge,
    /// Invocations that wait for room.
    pub queued: Gauge,
    /// Unspecialised runtimes waiting.
    pub pooled: Gauge,
    /// Idle memory so far, MB·s, pools included.
    pub idle_mb_s: FloatGauge,
    /// Whether the feed of decisions is connected.
    pub connected: Gauge,
    /// Partitions of the control topic that this agent is the home of.
    pub home_partitions: Gauge,
    /// Invocations passed on to the home of their app, by what became of them.
    pub passed_on: Family<Kind, Counter>,
}

impl AgentMetrics {
    /// Registers them.
    pub fn register(metrics: &Metrics) -> Self {
        let own = Self {
            load_seconds: Histogram::new([0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]),
            invocations: Family::default(),
            failures: Family::default(),
            events_lost: Counter::default(),
            prewarms: Counter::default(),
            unloads: Counter::default(),
            decisions: Counter::default(),
            pool_misses: Counter::default(),
            loaded: Gauge::default(),
            taken_mb: Gauge::default(),
            queued: Gauge::default(),
            pooled: Gauge::default(),
            idle_mb_s: FloatGauge::default(),
            connected: Gauge::default(),
            home_partitions: Gauge::default(),
            passed_on: Family::default(),
        };
        metrics.with(|registry| {
            registry.register("invocations", "Invocations by start temperature", own.invocations.clone());
            registry.register("failures", "Invocations that failed, by status", own.failures.clone());
            let help = "Invocation events that the bus did not take";
            registry.register("events_lost", help, own.events_lost.clone());
            registry.register("prewarms", "Apps loaded ahead of an invocation", own.prewarms.clone());
            registry.register("unloads", "Loaded apps that were unloaded or died", own.unloads.clone());
            registry.register("agent_decisions", "Decisions taken over from the feed", own.decisions.clone());
            registry.register("pool_misses", "Runtimes wanted from an empty pool", own.pool_misses.clone());
            let help = "From wanting an app loaded to having it";
            registry.register_with_unit("load", help, Unit::Seconds, own.load_seconds.clone());
            registry.register("loaded_apps", "Loaded instances, idle and busy", own.loaded.clone());
            let help = "Memory that all runtimes take, as declared, in MB";
            registry.register("memory_mb", help, own.taken_mb.clone());
            let help = "Invocations that wait because the node is full of functions that execute";
            registry.register("queued_invocations", help, own.queued.clone());
            registry.register("pooled_runtimes", "Unspecialised runtimes waiting", own.pooled.clone());
            let help = "Idle memory so far in MB·s, pools included, in the workload's own time";
            registry.register("idle_mb_s", help, own.idle_mb_s.clone());
            let help = "Partitions of the control topic that this agent of a fleet is the home of";
            registry.register("home_partitions", help, own.home_partitions.clone());
            let help = "Invocations passed on to the home of their app, by what became of them";
            registry.register("passed_on", help, own.passed_on.clone());
            registry.register("feed_connected", "1 while the feed is connected, else 0", own.connected.clone());
        });
        own
    }
}

/// Metrics of the agent's code cache.
#[derive(Debug, Clone, Default)]
pub struct CodeMetrics {
    /// Code fetched before it was needed.
    pub prefetched: Counter,
    /// Code fetched, for whatever reason.
    pub fetched: Counter,
    /// Fetches that failed.
    pub failed: Counter,
    /// Starts that found their code in the cache.
    pub hits: Counter,
    /// Starts that did not.
    pub misses: Counter,
    /// Files that made room for others.
    pub evicted: Counter,
    /// Files that had lost their digest.
    pub damaged: Counter,
    /// Size of all files.
    pub bytes: Gauge,
}

impl CodeMetrics {
    /// Registers them.
    pub fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.with(|registry| {
            registry.register("prefetches", "Code fetched before it was needed", own.prefetched.clone());
            registry.register("code_fetches", "Code fetched, ahead of time and not", own.fetched.clone());
            registry.register("code_fetches_failed", "Fetches of code that failed", own.failed.clone());
            registry.register("code_hits", "Starts that found their code in the cache", own.hits.clone());
            registry.register("code_misses", "Starts that waited for their code to be fetched", own.misses.clone());
            registry.register("code_evictions", "Files that made room in the code cache", own.evicted.clone());
            registry.register("code_damaged", "Files of the code cache that were damaged", own.damaged.clone());
            registry.register_with_unit("code_cache", "Size of the code cache", Unit::Bytes, own.bytes.clone());
        });
        own
    }
}
