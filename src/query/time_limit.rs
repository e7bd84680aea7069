//! An end to queries that take too long, whichever way they came in.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, stream};
use tokio::time::Instant;

use super::Error;

/// Puts a limit on the time that a plan takes, as the last step of planning.
#[derive(Debug)]
pub(super) struct TimeLimit {
    pub(super) limit_ms: i64,
}

impl PhysicalOptimizerRule for TimeLimit {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(TimeLimitExec { input: plan, limit_ms: self.limit_ms }))
    }

    fn name(&self) -> &'static str {
        "time_limit"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Passes on what its input yields, until the time is up.
#[derive(Debug)]
struct TimeLimitExec {
    input: Arc<dyn ExecutionPlan>,
    limit_ms: i64,
}

impl DisplayAs for TimeLimitExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimeLimitExec: {}", crate::config::show_ms(self.limit_ms))
    }
}

impl ExecutionPlan for TimeLimitExec {
    fn name(&self) -> &'static str {
        "TimeLimitExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = <[_; 1]>::try_from(children)
            .map_err(|children| DataFusionError::Internal(format!("{} children, expected one", children.len())))?;
        Ok(Arc::new(Self { input, limit_ms: self.limit_ms }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let limit_ms = self.limit_ms;
        let deadline = Instant::now() + Duration::from_millis(limit_ms.unsigned_abs());
        let rows = self.input.execute(partition, context)?;
        let schema = rows.schema();
        let timed = stream::unfold(Some(rows), move |rows| async move {
            let mut rows = rows?;
            match tokio::time::timeout_at(deadline, rows.next()).await {
                Ok(batch) => batch.map(|batch| (batch, Some(rows))),
                Err(_) => Some((Err(DataFusionError::External(Box::new(Error::TimeLimit(limit_ms)))), None)),
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, timed)))
    }
}
