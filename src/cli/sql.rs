//! `pilotlight sql`

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use tokio::runtime::Runtime;

use crate::config;
use crate::history::Store;
use crate::query::client::Remote;
use crate::query::output::{self, Format, WriteError};
use crate::query::{Engine, history, mount, postgres, split, threads};
use crate::shutdown;

use super::sql_prompt::{Prompt, Said};
use super::{Common, Usage};

/// Options of `sql`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                        pilotlight sql 'SELECT app, invocations FROM apps ORDER BY 2 DESC LIMIT 10'\n  \
                        pilotlight sql --mount azure=traces/azure2019 --schema azure -f sql/load_over_time.sql\n  \
                        pilotlight sql --history s3://bucket/history -f sql/always_cold.sql\n  \
                        pilotlight sql --history s3://bucket/history --ballista 10.0.0.9:50050 -f sql/skew.sql\n  \
                        pilotlight sql --url http://10.0.0.7:7465 --format csv 'SELECT * FROM decisions' > decisions.csv\n  \
                        pilotlight sql --mount azure=traces/azure2019 --listen 127.0.0.1:5433    and then: psql -h 127.0.0.1 -p 5433\n  \
                        pilotlight sql    asks for statements; \\? there helps")]
pub(super) struct Options {
    /// Statements, separated by semicolons; without any, and without -f, they are asked for
    #[arg(value_name = "SQL")]
    statements: Option<String>,
    /// File with statements
    #[arg(short, long, value_name = "FILE", conflicts_with = "statements")]
    file: Option<PathBuf>,
    /// The pipeline to ask, unless there are mounts or a history; without it the one at server.listen
    #[arg(long, value_name = "URL", conflicts_with_all = ["mounts", "listen"])]
    url: Option<String>,
    /// Read the trace in a folder as tables of a schema; may be given many times
    #[arg(long = "mount", value_name = "NAME=DIR", value_parser = parse_mount)]
    mounts: Vec<(String, PathBuf)>,
    /// Read the files of a history, such as file:///var/lib/history: the tables that a pipeline has of what ran
    #[arg(long, value_name = "URL", conflicts_with = "url")]
    history: Option<String>,
    /// Have the Ballista cluster with its scheduler there run what reads the history
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address, requires = "history",
          conflicts_with_all = ["mounts", "listen"])]
    ballista: Option<String>,
    /// Where tables are looked for that are named without a schema
    #[arg(long, value_name = "NAME", requires = "mounts")]
    schema: Option<String>,
    /// How to print what is found
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Write to a file in place of the standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Answer PostgreSQL clients at this address until interrupted
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["statements", "file"])]
    listen: Option<SocketAddr>,
}

/// Who runs the statements.
pub(super) enum Session {
    /// This process.
    Here(Engine),
    /// A pipeline.
    There(Box<Remote>),
}

pub(super) fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let settings = common.settings(&[])?;
    let threads = threads::start(&settings.query.all_cores()).context("no threads can be started")?;
    let session = match &options.url {
        Some(url) => Session::There(Box::new(Remote::new(url)?)),
        None if options.mounts.is_empty() && options.history.is_none() => {
            Session::There(Box::new(Remote::new(&format!("http://{}", settings.server.listen))?))
        }
        None => {
            let limits = settings.query.all_cores();
            let engine = match &options.ballista {
                Some(scheduler) => on_cluster(&limits, scheduler)?,
                None => here(&limits, options.schema.as_deref())?,
            };
            for (index, (name, folder)) in options.mounts.iter().enumerate() {
                if options.mounts.iter().take(index).any(|(other, _)| other == name) {
                    return Err(Usage(format!("--mount names '{name}' twice: each schema holds one trace")).into());
                }
                mount::mount(&engine, name, folder)?;
            }
            if let Some(url) = &options.history {
                history::add_tables(&engine, &Store::open(url)?, None)?;
            }
            Session::Here(engine)
        }
    };
    if let Some(address) = options.listen {
        return match &session {
            Session::Here(engine) => listen(&threads, engine, address),
            Session::There(_) => {
                Err(Usage("--listen needs --mount or --history: a pipeline listens itself".to_owned()).into())
            }
        };
    }
    let text = match (&options.statements, &options.file) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(file)) => Some(read(file)?),
        (None, None) if std::io::stdin().is_terminal() => None,
        (None, None) => Some(std::io::read_to_string(std::io::stdin()).context("the standard input can't be read")?),
    };
    match text {
        Some(text) => run_all(&threads, &session, &text, options),
        None => ask(&threads, &session, options),
    }
}

fn here(limits: &config::Query, schema: Option<&str>) -> anyhow::Result<Engine> {
    let engine = Engine::with_default_schema(limits, schema)?;
    postgres::add_catalog(&engine)?;
    Ok(engine)
}

#[cfg(feature = "ballista")]
fn on_cluster(limits: &config::Query, scheduler: &str) -> anyhow::Result<Engine> {
    Ok(crate::query::ballista::engine(limits, scheduler)?)
}

#[cfg(not(feature = "ballista"))]
fn on_cluster(_: &config::Query, _: &str) -> anyhow::Result<Engine> {
    let expected = "--ballista needs a pilotlight that knows Ballista: build it with --features ballista";
    Err(Usage(expected.to_owned()).into())
}

fn parse_address(text: &str) -> Result<String, String> {
    let expected = || format!("found '{text}', expected HOST:PORT, such as 10.0.0.9:50050");
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    port.parse::<u16>().map_err(|_| expected())?;
    if host.is_empty() || host.contains('/') { Err(expected()) } else { Ok(text.to_owned()) }
}

fn parse_mount(text: &str) -> Result<(String, PathBuf), String> {
    let (name, folder) = text.split_once('=').ok_or("expected NAME=DIR, such as azure=traces/azure2019")?;
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !is_plain || ["public", "information_schema", "pg_catalog"].contains(&name) {
        return Err(format!("'{name}' can't be a schema: expected small letters, digits and _, and none of ours"));
    }
    Ok((name.to_owned(), folder.into()))
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut open = File::open(file).with_context(|| format!("'{}' can't be read", file.display()))?;
    open.read_to_string(&mut text).with_context(|| format!("'{}' can't be read", file.display()))?;
    Ok(text)
}

fn listen(threads: &Runtime, engine: &Engine, address: SocketAddr) -> anyhow::Result<()> {
    threads.block_on(async {
        let listener = crate::server::bind(address).await?;
        let (trigger, mut shutdown) = shutdown::channel();
        trigger.fire_on_signals();
        eprintln!("PostgreSQL clients are answered at {address}; end with Ctrl-C");
        tokio::select! {
            () = postgres::serve(listener, engine.clone()) => {}
            () = shutdown.requested() => {}
        }
        Ok(())
    })
}

/// Runs statements one after the other, up to the first that fails.
fn run_all(threads: &Runtime, session: &Session, text: &str, options: &Options) -> anyhow::Result<()> {
    let statements = split(text);
    if statements.is_empty() {
        return Err(Usage("there is no statement; one is expected, such as SELECT 1".to_owned()).into());
    }
    if statements.len() > 1 && matches!(options.format, Format::Parquet | Format::Arrow) {
        let found = format!("there are {} statements: one file holds the rows of one", statements.len());
        return Err(Usage(found).into());
    }
    let stdout = std::io::stdout();
    if options.output.is_none() && stdout.is_terminal() && matches!(options.format, Format::Parquet | Format::Arrow) {
        return Err(Usage("this format is none for a terminal: give --output FILE".to_owned()).into());
    }
    let mut to: Box<dyn Write + Send> = match &options.output {
        Some(file) => Box::new(File::create(file).with_context(|| format!("'{}' can't be written", file.display()))?),
        None => Box::new(stdout),
    };
    for statement in statements {
        match session.run(threads, &statement, options.format, &mut to) {
            // Whoever reads has enough.
            Err(error) if is_closed_pipe(&error) => return Ok(()),
            result => result?,
        };
    }
    Ok(())
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// Asks for statements until there are no more.
fn ask(threads: &Runtime, session: &Session, options: &Options) -> anyhow::Result<()> {
    let mut prompt = Prompt::open(session.names(threads))?;
    while let Some(said) = prompt.next()? {
        let statement = match said {
            Said::Statement(statement) => statement,
            Said::Help => {
                println!("{}", super::sql_prompt::HELP);
                continue;
            }
        };
        for statement in split(&statement) {
            let began = std::time::Instant::now();
            match session.run(threads, &statement, options.format, &mut std::io::stdout()) {
                Ok(rows) => println!("({rows} rows, {:.1?})", began.elapsed()),
                Err(error) => eprintln!("{error:#}"),
            }
        }
    }
    Ok(())
}

impl Session {
    /// Runs one statement and writes what comes of it; Ctrl-C ends it. Returns the number of rows.
    fn run(
        &self,
        threads: &Runtime,
        statement: &str,
        format: Format,
        to: &mut (impl Write + Send),
    ) -> anyhow::Result<usize> {
        threads.block_on(async {
            let run = async {
                let answer = match self {
                    Session::Here(engine) => engine.query(statement).await.map_err(WriteError::from)?,
                    Session::There(remote) => remote.query(statement).await?,
                };
                anyhow::Ok(output::write(answer, format, usize::MAX, to).await?)
            };
            tokio::select! {
                done = run => done,
                _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
            }
        })
    }

    /// The names of tables and columns, for completion.
    fn names(&self, threads: &Runtime) -> Vec<String> {
        const NAMES: &str = "SELECT DISTINCT table_name FROM information_schema.columns WHERE table_schema <> 'pg_catalog' \
                             UNION SELECT DISTINCT column_name FROM information_schema.columns \
                             WHERE table_schema NOT IN ('pg_catalog', 'information_schema')";
        let mut bytes = Vec::new();
        match self.run(threads, NAMES, Format::Csv, &mut bytes) {
            Ok(_) => String::from_utf8_lossy(&bytes).lines().skip(1).map(str::to_owned).collect(),
            Err(_) => Vec::new(),
        }
    }
}
