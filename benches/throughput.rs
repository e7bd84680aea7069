//! Events a second from a real broker to state and decisions, beside raw polling and parsing of the same topic in the
//! same run; then while a heavy query runs, and while history is kept: `cargo bench --bench throughput`.
//! `PILOTLIGHT_BENCH_EVENTS` sets how many (default 2,000,000).
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use futures::TryStreamExt;
use pilotlight::config::Settings;
use pilotlight::model::Invocation;
use pilotlight::pipeline::Pipeline;
use pilotlight::query::{Engine, live, threads};
use pilotlight::shutdown;
use pilotlight::telemetry::Metrics;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const TOPIC: &str = "pilotlight.invocations";
const APPS: u64 = 10_000;
const ROUNDS: usize = 3;

fn main() {
    let events: u64 = std::env::var("PILOTLIGHT_BENCH_EVENTS").map_or(2_000_000, |count| count.parse().unwrap());
    let Some(broker) = support::kafka::Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    let checkpoints = support::checkpoints::Checkpoints::new();
    let url = format!("file://{}", checkpoints.folder().display());
    let flags = [("kafka.bootstrap.servers", bootstrap.clone()), ("checkpoint.url", url)];
    let mut settings = Settings::load(Some("/dev/null".as_ref()), &flags).unwrap();
    let (_trigger, shutdown) = shutdown::channel();
    pilotlight::bus::ensure(&settings.kafka, &settings.topics, &shutdown).unwrap();
    println!("{events} events of {APPS} apps, {} partitions, lz4", settings.topics.partitions);
    println!("{:<38} {:>12.0} events/s", "produced", produce(&bootstrap, events));
    for round in 1..=ROUNDS {
        let raw = poll_and_parse(&bootstrap, events, settings.topics.partitions);
        settings.input.group = format!("bench-{round}");
        settings.topics.decisions = format!("decisions-{round}");
        let (whole, decisions) = pipeline(&settings, events, None);
        println!("{:<38} {raw:>12.0} events/s", format!("round {round}: poll and parse"));
        println!(
            "{:<38} {whole:>12.0} events/s = {:.2} of it ({decisions} decisions)",
            format!("round {round}: to state and decisions"),
            whole / raw
        );
        settings.input.group = format!("bench-{round}-queried");
        let (queried, _) = pipeline(&settings, events, Some(HEAVY));
        println!(
            "{:<38} {queried:>12.0} events/s = {:.2} of that without",
            format!("round {round}: beside a heavy query"),
            queried / whole
        );
        settings.input.group = format!("bench-{round}-recorded");
        let folder = tempfile::tempdir().unwrap();
        let mut recording = settings.clone();
        recording.history.url = format!("file://{}", folder.path().display());
        let (recorded, _) = pipeline(&recording, events, None);
        println!(
            "{:<38} {recorded:>12.0} events/s = {:.2} of that without",
            format!("round {round}: with history"),
            recorded / whole
        );
    }
}

/// All pairs of apps: keeps the threads for queries busy for as long as it is left.
const HEAVY: &str = "SELECT count(*) FROM apps a CROSS JOIN apps b WHERE a.invocations * b.invocations % 7 = length(a.app) + length(b.app)";

/// 1,000 events a second of event time, as unevenly as in the published characterisation: the busiest 1 % of the apps
/// have about two thirds of them.
fn produce(bootstrap: &str, events: u64) -> f64 {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("compression.type", "lz4")
        .set("linger.ms", "50")
        .set("queue.buffering.max.messages", "500000")
        .create()
        .unwrap();
    let began = Instant::now();
    let mut payload = String::new();
    for i in 0..events {
        let draw = (i.wrapping_mul(2_654_435_761) % 1_000_003) as f64 / 1_000_003.0;
        let app = format!("app-{:05}", (APPS as f64 * draw.powi(12)) as u64);
        let started_at_ms = 1_700_000_000_000 + i;
        payload.clear();
        std::fmt::Write::write_fmt(
            &mut payload,
            format_args!(
                r#"{{"app":"{app}","function":"handler","started_at_ms":{started_at_ms},"duration_ms":{}.5,"trigger":"http","memory_mb":170,"status":"ok","node":"node-1"}}"#,
                i % 300
            ),
        )
        .unwrap();
        while producer.send(BaseRecord::to(TOPIC).key(&app).payload(&payload)).is_err() {
            producer.poll(Duration::from_millis(10));
        }
        if i % 1000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(120)).unwrap();
    events as f64 / began.elapsed().as_secs_f64()
}

fn poll_and_parse(bootstrap: &str, events: u64, partitions: i32) -> f64 {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bench-raw")
        .set("fetch.queue.backoff.ms", "50")
        .set("fetch.min.bytes", "100000")
        .set("queued.min.messages", "1000000")
        .set("queued.max.messages.kbytes", "4096")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut began = None;
    let (mut read, mut sum) = (0, 0);
    while read < events {
        let Some(message) = consumer.poll(Duration::from_secs(10)) else { panic!("{read} events, then none") };
        let message = message.unwrap();
        began.get_or_insert_with(Instant::now);
        let invocation: Invocation = serde_json::from_slice(message.payload().unwrap()).unwrap();
        sum += invocation.started_at_ms;
        read += 1;
    }
    std::hint::black_box(sum);
    let rate = events as f64 / began.unwrap().elapsed().as_secs_f64();
    consumer.unassign().unwrap();
    rate
}

/// Runs a pipeline over all events, beside a query that begins when the first have come.
fn pipeline(settings: &Settings, events: u64, query: Option<&'static str>) -> (f64, u64) {
    let pipeline = Pipeline::build(settings, &Metrics::default()).unwrap();
    let handle = pipeline.handle();
    let (trigger, shutdown) = shutdown::channel();
    let engine = Engine::new(&settings.query).unwrap();
    live::add_tables(&engine, &handle, None).unwrap();
    let queries = threads::start(&settings.query).unwrap();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| pipeline.run(&shutdown));
        let seen = |count: u64| {
            while handle.counts().events < count {
                std::thread::sleep(Duration::from_micros(500));
            }
        };
        seen(1);
        let query = query.map(|sql| {
            queries.spawn(async move {
                // Again, should it end.
                loop {
                    let answer = engine.query(sql).await.unwrap();
                    answer.rows.try_collect::<Vec<_>>().await.unwrap();
                }
            })
        });
        // The first batch is already in: it doesn't count.
        let (began, first) = (Instant::now(), handle.counts().events);
        seen(events);
        let rate = (events - first) as f64 / began.elapsed().as_secs_f64();
        if let Some(query) = query {
            assert!(!query.is_finished(), "it failed");
            query.abort();
        }
        trigger.fire();
        running.join().unwrap().unwrap();
        (rate, handle.counts().decisions)
    })
}
