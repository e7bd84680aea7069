//! What a node may have alive at once: so many runtimes, of so much memory. What is counted is what apps and runtime kinds
//! declare.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counts what is there.
#[derive(Debug)]
pub struct Budget {
    runtimes: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    memory_mb: u32,
}

/// The place of one runtime. Dropped, it is free again.
#[derive(Debug)]
pub struct Place {
    memory: OwnedSemaphorePermit,
    _runtime: OwnedSemaphorePermit,
}

impl Budget {
    /// For `runtimes` that take `memory_mb` together.
    pub fn new(runtimes: usize, memory_mb: u32) -> Self {
        let memory = Arc::new(Semaphore::new(memory_mb as usize));
        Self { runtimes: Arc::new(Semaphore::new(runtimes)), memory, memory_mb }
    }

    /// A place for a runtime of `memory_mb`, if there is one.
    pub fn take(&self, memory_mb: f64) -> Option<Place> {
        let runtime = Arc::clone(&self.runtimes).try_acquire_owned().ok()?;
        let memory = Arc::clone(&self.memory).try_acquire_many_owned(whole(memory_mb)).ok()?;
        Some(Place { memory, _runtime: runtime })
    }

    /// Makes a place one for `memory_mb`; says whether there is so much.
    pub fn resize(&self, place: &mut Place, memory_mb: f64) -> bool {
        let (wanted, taken) = (whole(memory_mb) as usize, place.memory.num_permits());
        if let Some(less) = taken.checked_sub(wanted) {
            drop(place.memory.split(less));
            return true;
        }
        let more = Arc::clone(&self.memory).try_acquire_many_owned((wanted - taken) as u32);
        more.map(|more| place.memory.merge(more)).is_ok()
    }

    /// Whether a runtime of `memory_mb` fits at all.
    pub fn holds(&self, memory_mb: f64) -> bool {
        whole(memory_mb) <= self.memory_mb
    }

    /// All memory, MB.
    pub const fn memory_mb(&self) -> u32 {
        self.memory_mb
    }

    /// Memory that is taken, MB.
    pub fn taken_mb(&self) -> usize {
        (self.memory_mb as usize).saturating_sub(self.memory.available_permits())
    }
}

/// Whole MB, rounded up.
fn whole(memory_mb: f64) -> u32 {
    memory_mb.ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_never_exceeds_the_budget() {
        let budget = Budget::new(3, 100);
        let mut small = budget.take(9.5).unwrap();
        assert_eq!(budget.taken_mb(), 10);
        let large = budget.take(80.0).unwrap();
        assert!(budget.take(11.0).is_none(), "too much memory");
        assert!(!budget.resize(&mut small, 21.0) && budget.taken_mb() == 90, "nothing changed");
        assert!(budget.resize(&mut small, 20.0) && budget.taken_mb() == 100);
        assert!(budget.resize(&mut small, 5.0) && budget.taken_mb() == 85);
        let empty = budget.take(0.0).unwrap();
        assert!(budget.take(0.0).is_none(), "too many runtimes");
        drop((large, empty));
        assert_eq!(budget.taken_mb(), 5);
        assert!(budget.take(1.0).is_some());
        assert!(budget.holds(100.0) && !budget.holds(100.1));
    }
}
