//! The threads that run queries, apart from the flow's.

use std::io;

use rustix::process::{getpriority_process, setpriority_process};
use rustix::thread::gettid;
use tokio::runtime::{Builder, Runtime};

use crate::config;

/// How much queries give way to the flow where cores are scarce, as `nice` counts it.
const NICE: i32 = 10;

/// So many threads as the settings say. Dropping it ends them.
pub fn start(settings: &config::Query) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(settings.threads())
        .thread_name("query")
        .on_thread_start(|| {
            // On Linux this means the thread alone. One that is not allowed to give way goes on as it is.
            let thread = Some(gettid());
            let _ = getpriority_process(thread).and_then(|nice| setpriority_process(thread, nice + NICE));
        })
        .enable_all()
        .build()
}
