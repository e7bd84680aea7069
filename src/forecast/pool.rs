//! Threads that forecast beside the event loop.
//!
//! A forecast is a pure function of its series, so it does not matter which worker makes it, or when: who submitted the
//! series waits for the result before the app's next event is applied, and a replay decides the same.

use std::panic;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::{Forecast, forecast, fresh};

/// Series per worker that may wait; beyond that [`ForecastPool::submit`] waits itself.
const QUEUE_PER_WORKER: usize = 64;

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
#[error("forecast worker {worker} of {workers} could not be started; lower the number of workers: {source}")]
pub struct Error {
    worker: usize,
    workers: usize,
    source: std::io::Error,
}

/// A fixed number of threads that forecast. Dropped, it answers what was submitted, then its threads end.
#[derive(Debug)]
pub struct ForecastPool {
    /// `None` only while being dropped: the workers end when nobody can submit any more.
    queue: Option<SyncSender<Job>>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Job {
    idle_ms: Vec<f64>,
    answer: Answer,
}

/// What a worker does to a series.
type Work = fn(&[f64]) -> Option<Forecast>;

impl ForecastPool {
    /// A pool of this many threads, at least one.
    ///
    /// # Errors
    /// Where the system refuses a thread.
    pub fn new(workers: usize) -> Result<Self, Error> {
        Self::with(workers, |idle_ms| forecast(fresh(idle_ms)))
    }

    fn with(workers: usize, work: Work) -> Result<Self, Error> {
        let workers = workers.max(1);
        let (queue, jobs) = sync_channel(workers * QUEUE_PER_WORKER);
        let jobs = Arc::new(Mutex::new(jobs));
        let mut pool = Self { queue: Some(queue), workers: Vec::with_capacity(workers) };
        for worker in 0..workers {
            let jobs = Arc::clone(&jobs);
            let started = Builder::new().name(format!("forecast-{worker}")).spawn(move || run(&jobs, work));
            pool.workers.push(started.map_err(|source| Error { worker, workers, source })?);
        }
        Ok(pool)
    }

    /// Has the next idle time forecast from these (ms, oldest first), or from what is not stale of them. Blocks while the
    /// queue is full.
    pub fn submit(&self, idle_ms: Vec<f64>) -> Pending {
        let slot = Arc::new(Slot::default());
        let job = Job { idle_ms, answer: Answer { slot: Arc::clone(&slot), forecast: None } };
        if let Some(queue) = &self.queue {
            // Refused only if no worker is left; the job is dropped then, which answers it.
            let _ = queue.send(job);
        }
        Pending { slot }
    }
}

impl Drop for ForecastPool {
    fn drop(&mut self) {
        self.queue = None;
        for worker in self.workers.drain(..) {
            // A worker survives its jobs' panics; there is nothing to be told.
            let _ = worker.join();
        }
    }
}

fn run(jobs: &Mutex<Receiver<Job>>, work: Work) {
    loop {
        let received = locked(jobs).recv();
        let Ok(Job { idle_ms, mut answer }) = received else { return };
        answer.forecast = panic::catch_unwind(|| work(&idle_ms)).unwrap_or(None);
    }
}

/// A forecast in the making.
#[derive(Debug)]
pub struct Pending {
    slot: Arc<Slot>,
}

impl Pending {
    /// Whether [`wait`](Self::wait) returns at once.
    pub fn is_ready(&self) -> bool {
        locked(&self.slot.answered).is_some()
    }

    /// Blocks until the forecast is there. `None` where there is none to be made, or making it failed.
    pub fn wait(self) -> Option<Forecast> {
        let answered = locked(&self.slot.answered);
        let answered = self.slot.changed.wait_while(answered, |answer| answer.is_none());
        answered.unwrap_or_else(PoisonError::into_inner).flatten()
    }
}

#[derive(Debug, Default)]
struct Slot {
    /// `None` until the answer is there.
    answered: Mutex<Option<Option<Forecast>>>,
    changed: Condvar,
}

/// Answers when dropped, whatever happens to the job: nobody waits for ever.
#[derive(Debug)]
struct Answer {
    slot: Arc<Slot>,
    forecast: Option<Forecast>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        *locked(&self.slot.answered) = Some(self.forecast);
        self.slot.changed.notify_all();
    }
}

/// What the mutexes guard is whole at any time, so a panic elsewhere is no reason to stop.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::Method;
    use crate::forecast::tests::series::{KINDS, rng};

    fn all_kinds() -> Vec<Vec<f64>> {
        (0..20).flat_map(|seed| KINDS.map(|(_, kind)| kind(&mut rng(seed), 10 + seed as usize))).collect()
    }

    #[test]
    fn forecasts_are_those_made_without_a_pool() {
        for workers in [0, 1, 3] {
            let pool = ForecastPool::new(workers).unwrap();
            let pending: Vec<Pending> = all_kinds().into_iter().map(|series| pool.submit(series)).collect();
            for (series, pending) in all_kinds().iter().zip(pending) {
                assert_eq!(pending.wait(), forecast(fresh(series)));
            }
        }
    }

    #[test]
    fn a_full_queue_makes_the_submitter_wait_and_loses_nothing() {
        let pool = ForecastPool::new(1).unwrap();
        let pending: Vec<Pending> = (0..3 * QUEUE_PER_WORKER).map(|_| pool.submit(vec![60_000.0; 20])).collect();
        assert!(pending.into_iter().all(|pending| pending.wait().is_some()));
    }

    #[test]
    fn what_was_submitted_is_answered_though_the_pool_is_dropped() {
        let pool = ForecastPool::new(2).unwrap();
        let pending: Vec<Pending> = all_kinds().into_iter().map(|series| pool.submit(series)).collect();
        drop(pool);
        assert!(pending.iter().all(Pending::is_ready));
        assert!(pending.into_iter().all(|pending| pending.wait().is_some()));
    }

    #[test]
    fn a_job_that_panics_leaves_no_one_waiting_and_its_worker_alive() {
        fn fails_on_nothing(idle_ms: &[f64]) -> Option<Forecast> {
            let point_ms = idle_ms[0];
            Some(Forecast { point_ms, low_ms: point_ms, high_ms: point_ms, method: Method::TwoMeans })
        }
        let pool = ForecastPool::with(1, fails_on_nothing).unwrap();
        let (failing, fine) = (pool.submit(vec![]), pool.submit(vec![5.0]));
        assert_eq!(failing.wait(), None);
        assert_eq!(fine.wait().map(|next| next.point_ms), Some(5.0));
    }
}
