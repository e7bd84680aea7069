//! How much memory was idle, for how long.

/// Memory × time, kept up to date at every change.
#[derive(Debug, Clone, Copy, Default)]
pub struct IdleMemory {
    now_mb: f64,
    mb_ms: f64,
    changed_ms: i64,
}

impl IdleMemory {
    /// So much more memory is idle from `now_ms` on.
    pub fn add(&mut self, memory_mb: f64, now_ms: i64) {
        self.mb_ms = self.total(now_ms);
        self.now_mb += memory_mb;
        self.changed_ms = now_ms;
    }

    /// So much less.
    pub fn remove(&mut self, memory_mb: f64, now_ms: i64) {
        self.add(-memory_mb, now_ms);
    }

    /// MB·ms up to `now_ms`.
    pub fn total(&self, now_ms: i64) -> f64 {
        self.mb_ms + self.now_mb * (now_ms - self.changed_ms).max(0) as f64
    }
}
