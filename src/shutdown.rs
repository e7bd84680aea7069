//! Shutdown is a value passed along: whoever holds a [`Shutdown`] can see that it is time to end, on a thread or in a
//! task; whoever holds the [`Trigger`] says so.

use std::time::Duration;

use tokio::sync::watch;

/// Says when to end. Dropping it does so too, so that nothing outlives its owner.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Sees when it is time to end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// A connected pair.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Asks everyone who holds the other end to finish.
    pub fn fire(&self) {
        self.0.send_replace(true);
    }

    /// Fires on Ctrl-C or SIGTERM, for as long as the runtime lives; a second one ends the process.
    pub fn fire_on_signals(self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminated = signal(SignalKind::terminate()).ok();
            let mut asked = async || match &mut terminated {
                Some(terminated) => {
                    tokio::select! {
                        _ = tokio::signal::ctrl_c() => {}
                        _ = terminated.recv() => {}
                    }
                }
                None => drop(tokio::signal::ctrl_c().await),
            };
            asked().await;
            self.fire();
            // Who asks twice means now. 130 is what a shell reports of an interrupted program.
            asked().await;
            eprintln!("pilotlight: ended at once, as asked twice");
            std::process::exit(130);
        })
    }
}

impl Shutdown {
    /// Whether it is time to end; for threads that look now and then.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Completes when it is time to end; for tasks.
    pub async fn requested(&mut self) {
        // An error means that the trigger is gone, which is a request too.
        let _ = self.0.wait_for(|requested| *requested).await;
    }

    /// Sleeps on a thread for at most `duration`, shorter if it is time to end.
    pub fn sleep(&self, duration: Duration) {
        let deadline = std::time::Instant::now() + duration;
        while !self.is_requested() {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
    }
}
