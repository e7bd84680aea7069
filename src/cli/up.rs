//! `pilotlight up`: the whole loop in one process.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::agent::{Agent, NOT_READY, Node, Totals};
use crate::bus::Embedded;
use crate::config::{Settings, parse_ms, show_ms};
use crate::model::{Invocation, Status, now_ms};
use crate::pipeline::Pipeline;
use crate::policy::{Fixed, Policy};
use crate::server::{self, Site, Table, render};
use crate::shadow::Shadow;
use crate::shutdown::{self, Shutdown};
use crate::simulate::traces::{Placement, Trace};
use crate::simulate::{Arrival, Drive, Function, Summary, Target, Workload};
use crate::telemetry::Metrics;

use super::budget::Budget;
use super::queries::Queries;
use super::{Common, Format, Usage, block_on, finish_serving, open_trace, parse_speed, site};

/// Options of `up`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pilotlight up\n  pilotlight up --for 90s --seed 7 --format json\n  \
                        pilotlight up --trace azure2021\n  pilotlight up --budget-memory 1GB\n\n\
                        The bus is embedded and memory-only: nothing is kept when `up` ends. Functions really execute, in\n\
                        processes of this machine. Times and idle memory are those of the workload, which runs faster than\n\
                        the clock on the wall: at 240×, two minutes are eight hours.")]
pub(super) struct Options {
    /// For how long, on the wall; without it, until Ctrl-C, or 90 days of the workload have passed
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_for)]
    duration: Option<Duration>,
    /// Which variant of the built-in workload
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// Folder of an Azure Functions trace, or a single file of one, to use instead of the built-in workload
    #[arg(long, value_name = "DIR")]
    trace: Option<PathBuf>,
    /// How many times as fast as real time the workload runs
    #[arg(long, value_name = "N", default_value = "240", value_parser = parse_speed)]
    speed: f64,
    /// The policy: fixed, hybrid, or one with parameters such as hybrid:range=2h
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    #[command(flatten)]
    budget: Budget,
    /// Address of the gateway, /livez, /readyz, /metrics and the page
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// How to print the closing table
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// Longest run, on the wall and in the workload's time: the built-in workload is laid out ahead.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
const LONGEST_WORKLOAD: Duration = Duration::from_secs(90 * 24 * 3600);
/// From one status line to the next.
const STATUS: Duration = Duration::from_secs(5);

fn parse_for(text: &str) -> Result<Duration, String> {
    let ms = parse_ms(text)?;
    let duration = Duration::from_millis(ms.unsigned_abs());
    if ms > 0 && duration <= LONGEST {
        Ok(duration)
    } else {
        Err("expected a duration up to 24h, such as 90s".to_owned())
    }
}

/// What is played.
enum Play {
    Trace(Box<Trace>),
    Workload(Workload),
}

impl Play {
    fn functions(&self) -> &[Function] {
        match self {
            Play::Trace(trace) => trace.functions(),
            Play::Workload(workload) => workload.functions(),
        }
    }

    fn arrivals(&self, until_ms: i64) -> Box<dyn Iterator<Item = Arrival> + Send + '_> {
        match self {
            Play::Trace(trace) => trace.arrivals(Placement::Even),
            Play::Workload(workload) => Box::new(workload.arrivals(until_ms).into_iter()),
        }
    }
}

/// The same arrivals under a keep-alive of 10 minutes.
#[derive(Clone)]
struct Baseline(Arc<Mutex<Shadow>>);

impl Baseline {
    fn new(settings: &Settings, speed: f64) -> Self {
        let policy = Policy::Fixed(Fixed::default()).sped_up(speed);
        Self(Arc::new(Mutex::new(Shadow::new(policy, settings.policy.default_memory_mb))))
    }

    fn observe(&self, invocation: &Invocation<'_>) {
        // What could not be loaded was not executed, with whatever keep-alive.
        if invocation.status != Some(Status::InitFailed) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).observe(invocation);
        }
    }

    fn totals(&self, end_ms: i64, speed: f64) -> Totals {
        let costs = self.0.lock().unwrap_or_else(PoisonError::into_inner).costs(end_ms);
        Totals {
            invocations: costs.invocations,
            cold: costs.cold,
            prewarmed: 0,
            warm: costs.invocations - costs.cold,
            specialised: 0,
            failed: 0,
            idle_mb_s: (costs.idle_mb_s * speed).round(),
            pool_idle_mb_s: 0.0,
        }
    }
}

pub(super) fn run(common: &Common, options: Options) -> anyhow::Result<()> {
    let mut settings = common.settings(&[
        ("agent.listen", options.listen.clone()),
        ("policy.name", options.budget.policy(options.policy.as_deref())?),
    ])?;
    if common.bootstrap_servers.is_some() {
        let text = "up brings its own bus: use pipeline and agent with --bootstrap-servers";
        return Err(Usage(text.to_owned()).into());
    }
    if settings.agent.memory_mb == 0 {
        // The workload declares memory that its functions don't take: a small machine shows the same.
        settings.agent.memory_mb = 1 << 20;
    }
    let play = match &options.trace {
        Some(path) => Play::Trace(Box::new(open_trace(path)?)),
        None => Play::Workload(Workload::new(options.seed)),
    };
    block_on(async {
        let listener = server::bind(settings.agent.listen).await?;
        settings.agent.listen = listener.local_addr().context("the port just taken has no address")?;
        let _bus = Embedded::start(&mut settings)?;
        // Nobody to share with, and nobody else who calls.
        settings.agent.fleet.clear();
        settings.agent.tokens.clear();
        let settings = settings.sped_up(options.speed);
        Session::start(settings, &options, listener)?.play(&play).await
    })
}

/// A running `up`.
struct Session<'a> {
    options: &'a Options,
    settings: Settings,
    node: Node,
    baseline: Baseline,
    pipeline: crate::pipeline::Handle,
    queries: Queries,
    running: Running,
    shutdown: Shutdown,
    began: Instant,
}

/// What has to be waited for at the end.
struct Running {
    stop: shutdown::Trigger,
    pipeline: tokio::task::JoinHandle<Result<(), crate::pipeline::Error>>,
    agent: tokio::task::JoinHandle<Result<(), crate::agent::Error>>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl<'a> Session<'a> {
    fn start(settings: Settings, options: &'a Options, listener: tokio::net::TcpListener) -> anyhow::Result<Self> {
        // Two: the user's Ctrl-C ends the play; the parts go on until the last answers are in.
        let (interrupt, shutdown) = shutdown::channel();
        interrupt.fire_on_signals();
        let (stop, stopped) = shutdown::channel();
        let metrics = Metrics::default();
        let baseline = Baseline::new(&settings, options.speed);
        let observer = {
            let baseline = baseline.clone();
            Arc::new(move |invocation: &Invocation<'_>| baseline.observe(invocation))
        };
        let pipeline = Pipeline::build(&settings, &metrics)?;
        let handle = pipeline.handle();
        let agent = Agent::build(&settings, &metrics, options.speed, Some(observer))?;
        let node = agent.node();
        let began = Instant::now();
        let site = {
            let (ready_node, ready_pipeline) = (node.clone(), handle.clone());
            let (node, baseline, speed) = (node.clone(), baseline.clone(), options.speed);
            Site {
                metrics,
                ready: Arc::new(move || match (ready_pipeline.is_ready(), ready_node.is_ready()) {
                    (true, true) => Ok("ready".to_owned()),
                    (false, _) => Err("the pipeline has no partitions yet".to_owned()),
                    (_, false) => Err(NOT_READY.to_owned()),
                }),
                page: Arc::new(move || {
                    let baseline = baseline.totals(now_ms(), speed);
                    render(&table(&node.totals(), &baseline, began.elapsed(), speed))
                }),
            }
        };
        let queries = Queries::start(&settings, &handle)?;
        let routes = agent.routes().merge(server::routes(site)).merge(queries.routes(&settings.query));
        let running = Running {
            serving: tokio::spawn(server::serve(listener, routes, stopped.clone())),
            pipeline: {
                let stopped = stopped.clone();
                tokio::task::spawn_blocking(move || pipeline.run(&stopped))
            },
            agent: tokio::spawn(agent.run(stopped)),
            stop,
        };
        Ok(Self { options, settings, node, baseline, pipeline: handle, queries, running, shutdown, began })
    }

    async fn play(mut self, play: &Play) -> anyhow::Result<()> {
        let url = format!("http://{}", self.settings.agent.listen);
        self.queries.serve_postgres(self.settings.query.listen()?).await?;
        self.wait_until_ready().await?;
        let target = Target::new(&url, None)?;
        self.register(&target, play).await?;
        self.began = Instant::now();
        let speed = self.options.speed;
        let longest = LONGEST.min(LONGEST_WORKLOAD.div_f64(speed));
        let duration = self.options.duration.unwrap_or(longest).min(longest);
        eprintln!(
            "{} apps at {speed}× on an embedded, memory-only bus; functions, page and metrics at {url}",
            self.node.apps().len()
        );

        let until_ms = (duration.as_secs_f64() * 1000.0 * speed) as i64;
        let played = AtomicU64::new(0);
        let drive = Drive { functions: play.functions(), arrivals: play.arrivals(until_ms), speed, progress: &played };
        let mut interrupted = self.shutdown.clone();
        // Arrivals end with the time, which may be after the last of them.
        let (end, ending) = shutdown::channel();
        let time_is_up = async {
            tokio::select! {
                () = tokio::time::sleep(duration) => {}
                () = interrupted.requested() => {}
                () = self.show_status() => {}
            }
            end.fire();
        };
        tokio::join!(drive.to_agent(&target, ending), time_is_up);

        let elapsed = self.began.elapsed();
        let (totals, baseline) = (self.node.totals(), self.baseline.totals(now_ms(), speed));
        let unreachable = Summary::of(&target.answers()).unreachable;
        self.running.end().await?;
        if totals.failed > 0 || unreachable > 0 {
            eprintln!("{} invocations failed, {unreachable} got no answer", totals.failed);
        }
        match self.options.format {
            Format::Json => {
                println!("{}", json!({"pilotlight": totals, "fixed_10m": in_short(&baseline)}))
            }
            Format::Table => {
                let table = table(&totals, &baseline, elapsed, speed);
                println!("\n{}\n{}\n{}", table.title, table.note, table.text());
            }
        }
        Ok(())
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !(self.pipeline.is_ready() && self.node.is_ready()) {
            anyhow::ensure!(Instant::now() < deadline, "the embedded bus gave out no partitions within 30 s");
            if self.shutdown.is_requested() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Registers every app with a function that sleeps, on the runtime kinds of this machine in turn.
    async fn register(&self, target: &Target, play: &Play) -> anyhow::Result<()> {
        let programs = [("sh", "sh"), ("python3", "python3"), ("nodejs", "node")];
        let configured = |kind: &str| self.settings.agent.runtimes.contains_key(kind);
        let here: Vec<&str> = programs
            .into_iter()
            .filter(|(kind, program)| configured(kind) && is_installed(program))
            .map(|(kind, _)| kind)
            .collect();
        anyhow::ensure!(!here.is_empty(), "neither sh, python3 nor node is installed: functions can't run here");
        let mut apps = std::collections::BTreeMap::new();
        for function in play.functions() {
            apps.entry(&function.app).or_insert(function.memory_mb);
        }
        for (i, (app, memory_mb)) in apps.into_iter().enumerate() {
            let memory_mb = memory_mb.unwrap_or(self.settings.policy.default_memory_mb);
            target.register_sleeper(app, here[i % here.len()], memory_mb).await?;
        }
        Ok(())
    }

    /// A line every few seconds. Never ends by itself.
    async fn show_status(&self) {
        let mut ticks = tokio::time::interval(STATUS);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let (totals, counts) = (self.node.totals(), self.pipeline.counts());
            eprintln!(
                "{:>8}  {} invocations: {} cold, {} prewarmed, {} warm; {} decisions; {} loaded",
                show_ms((self.began.elapsed().as_secs_f64() * self.options.speed) as i64 / 60 * 60_000),
                site::thousands(totals.invocations as f64),
                totals.cold,
                totals.prewarmed,
                site::thousands(totals.warm as f64),
                counts.decisions,
                self.node.warm_view().iter().map(|app| app.idle + app.busy).sum::<usize>(),
            );
        }
    }
}

impl Running {
    async fn end(self) -> anyhow::Result<()> {
        self.stop.fire();
        self.agent.await.context("the agent's task broke off")??;
        self.pipeline.await.context("the pipeline's thread broke off")??;
        finish_serving(self.serving).await;
        Ok(())
    }
}

/// A baseline has no pools and no failures.
fn in_short(totals: &Totals) -> serde_json::Value {
    json!({
        "invocations": totals.invocations, "cold": totals.cold, "prewarmed": totals.prewarmed, "warm": totals.warm,
        "idle_mb_s": totals.idle_mb_s
    })
}

fn table(totals: &Totals, baseline: &Totals, elapsed: Duration, speed: f64) -> Table {
    let spanned = show_ms((elapsed.as_secs_f64() * speed) as i64 * 1000);
    Table {
        title: "Pilotlight".to_owned(),
        note: format!(
            "{spanned} of the workload at {speed}×, on an embedded, memory-only bus. Idle memory of Pilotlight includes its pools ({} MB·s); {} of its \
             prewarmed starts specialised a pooled runtime.",
            site::thousands(totals.pool_idle_mb_s),
            totals.specialised
        ),
        header: site::totals_header(),
        rows: vec![site::totals_row("Pilotlight", totals), site::totals_row("10-minute keep-alive", baseline)],
    }
}

fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join(program).is_file())
}
