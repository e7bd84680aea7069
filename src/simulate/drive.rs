//! Plays arrivals in time: onto the bus as invocation events, or against an agent as real invocations.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::bus::{self, Producer, Record};
use crate::model::{Invocation, now_ms};
use crate::shutdown::Shutdown;

use super::target::Target;
use super::{Arrival, Function};

/// Invocations under way at once; past that, arrivals wait.
const MOST_AT_ONCE: usize = 256;

/// How long the last answers may take.
const LAST_ANSWERS: Duration = Duration::from_secs(30);

/// What can go wrong while playing.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The bus can't be used.
    #[error(transparent)]
    Bus(#[from] bus::Error),
    /// An event can't be written as JSON.
    #[error("an event can't be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Arrivals to play.
pub struct Drive<'a> {
    /// What the arrivals name.
    pub functions: &'a [Function],
    /// In the order of their starts.
    pub arrivals: Box<dyn Iterator<Item = Arrival> + Send + 'a>,
    /// How many times as fast as their own clock.
    pub speed: f64,
    /// How many were played so far.
    pub progress: &'a AtomicU64,
}

impl Drive<'_> {
    /// Publishes each arrival as an invocation event when its execution would have ended, stamped with the times at
    /// which it happens here. Blocks; ends early when it is time to.
    pub fn to_bus(self, producer: &Producer, topic: &str, shutdown: &Shutdown) -> Result<(), DriveError> {
        let began = Instant::now();
        let began_ms = now_ms();
        let mut arrivals = self.arrivals.peekable();
        let origin_ms = arrivals.peek().map_or(0, |first| first.at_ms / 60_000 * 60_000);
        // Executions that have not ended yet, the first to end on top.
        let mut running: BinaryHeap<Reverse<(i64, u64, i64, u32)>> = BinaryHeap::new();
        let mut number = 0;
        let mut buffer = Vec::new();
        loop {
            let next = arrivals.next();
            let now = next.as_ref().map_or(i64::MAX, |arrival| arrival.at_ms);
            while let Some(Reverse((end_ms, ..))) = running.peek()
                && *end_ms <= now
                && let Some(Reverse((end_ms, _, start_ms, function))) = running.pop()
            {
                let here = |ms: i64| (ms - origin_ms) as f64 / self.speed;
                let due = Duration::from_secs_f64((here(end_ms) / 1000.0).max(0.0));
                // Below the accuracy of a sleep, batching does less harm.
                let early = due.saturating_sub(began.elapsed());
                if early > Duration::from_millis(2) {
                    shutdown.sleep(early);
                }
                if shutdown.is_requested() {
                    return Ok(());
                }
                let function = &self.functions[function as usize];
                let started_at_ms = began_ms + here(start_ms) as i64;
                let event = Invocation {
                    trigger: function.trigger,
                    memory_mb: function.memory_mb,
                    ..Invocation::new(
                        &function.app,
                        &function.name,
                        started_at_ms,
                        ((end_ms - start_ms) as f64 / self.speed * 1000.0).round() / 1000.0,
                    )
                };
                buffer.clear();
                serde_json::to_writer(&mut buffer, &event)?;
                let record = Record {
                    topic,
                    key: &function.app,
                    payload: Some(&buffer),
                    timestamp_ms: None,
                    version: None,
                    source: None,
                };
                if !producer.send(record, shutdown)? {
                    return Ok(());
                }
                self.progress.fetch_add(1, Ordering::Relaxed);
            }
            let Some(arrival) = next else { return Ok(()) };
            let end_ms = arrival.at_ms + arrival.duration_ms.round() as i64;
            running.push(Reverse((end_ms, number, arrival.at_ms, arrival.function)));
            number += 1;
        }
    }

    /// Invokes each arrival's function at the agent when it is due; `arguments` says with what. Answers are not waited
    /// for before the next arrival, but for the last ones. Ends early when it is time to.
    pub async fn to_agent(self, target: &Target, mut shutdown: Shutdown) {
        let began = Instant::now();
        let at_once = Arc::new(Semaphore::new(MOST_AT_ONCE));
        let mut arrivals = self.arrivals.peekable();
        let origin_ms = arrivals.peek().map_or(0, |first| first.at_ms / 60_000 * 60_000);
        for arrival in arrivals {
            let due = Duration::from_secs_f64((arrival.at_ms - origin_ms) as f64 / 1000.0 / self.speed);
            let early = due.saturating_sub(began.elapsed());
            if !early.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(early) => {}
                    () = shutdown.requested() => break,
                }
            }
            if shutdown.is_requested() {
                break;
            }
            let turn = tokio::select! {
                turn = Arc::clone(&at_once).acquire_owned() => turn,
                () = shutdown.requested() => break,
            };
            let Ok(turn) = turn else { break };
            let function = &self.functions[arrival.function as usize];
            let sleep_ms = (arrival.duration_ms / self.speed * 1000.0).round() / 1000.0;
            let call = target.call(arrival.at_ms, function, sleep_ms);
            let target = target.clone();
            tokio::spawn(async move {
                target.make(call).await;
                drop(turn);
            });
            self.progress.fetch_add(1, Ordering::Relaxed);
        }
        // All turns back: all answers are in. An agent that never answers is not waited for without end.
        let all = at_once.acquire_many(MOST_AT_ONCE as u32);
        let _ = tokio::time::timeout(LAST_ANSWERS, all).await;
    }
}
