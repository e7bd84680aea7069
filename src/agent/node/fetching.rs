//! Code for what is loaded, and ahead of it.

use hyper::body::Bytes;

use crate::agent::prefetch::{self, CacheView, Need};
use crate::agent::registry::AppSpec;
use crate::model::{Decision, SuccessorOn};

use super::{InvokeError, Node};

/// How probable a successor is at least whose code is fetched.
const LIKELY: f64 = 0.1;

impl Node {
    /// Fetches the code of a registered app ahead of its next window, or some day.
    pub(super) fn want_code(&self, app: &str) {
        let coming_ms = self.warm().set.coming_ms(app, self.now_ms());
        self.0.code.want(app, coming_ms.map_or(Need::SOME_DAY, |at_ms| Need::at(at_ms, 1.0)));
    }

    /// Fetches the code of the decision's app, and of its likely successors, ahead of their windows. Only of apps that are
    /// registered, and from where they are registered to have it: a decision can't make this node ask anybody for anything.
    pub(super) fn want_code_for(&self, decision: &Decision) {
        let is_known = |app: &str| self.0.registry.get(app).is_some();
        if is_known(&decision.app) {
            self.want_code(&decision.app);
        }
        for successor in decision.successors.iter().filter(|successor| successor.probability >= LIKELY) {
            // The app that it follows has just ended, or will start next in its window.
            let from_ms = match successor.on {
                SuccessorOn::End => decision.idle_since_ms,
                SuccessorOn::Start => {
                    let window = decision.windows.first().map_or(0, |window| window.from_ms);
                    decision.idle_since_ms.saturating_add(window)
                }
            };
            if is_known(&successor.app) {
                let at_ms = from_ms.saturating_add(successor.from_ms);
                self.0.code.want_sooner(&successor.app, Need::at(at_ms, successor.probability));
            }
        }
    }

    /// Fetches ahead of time what is wanted. Never ends by itself.
    pub(super) async fn fetch_ahead(&self) {
        let code_of = |app: &str| self.0.registry.get(app).map(|spec| spec.code.clone());
        self.0.code.run(|| self.now_ms(), code_of).await;
    }

    /// Has an app's code near before it takes anybody's turn; gives it, if it can't be kept near.
    pub(super) async fn bring_code(&self, app: &str, spec: &AppSpec) -> Result<Option<Bytes>, InvokeError> {
        self.in_time(app, self.0.code.bring(&spec.code)).await
    }

    /// An app's code, for loading it now.
    pub(super) async fn code(&self, app: &str, spec: &AppSpec) -> Result<Bytes, InvokeError> {
        self.in_time(app, self.0.code.get(&spec.code)).await
    }

    async fn in_time<T>(
        &self,
        app: &str,
        code: impl Future<Output = Result<T, prefetch::Error>>,
    ) -> Result<T, InvokeError> {
        let limit = self.0.settings.init_timeout.duration();
        let code = tokio::time::timeout(limit, code).await;
        let code = code.map_err(|_| InvokeError::SlowCode { app: app.to_owned(), limit })?;
        code.map_err(|source| InvokeError::Code { app: app.to_owned(), source })
    }

    /// The code cache.
    pub fn cache_view(&self) -> CacheView {
        self.0.code.view()
    }
}
