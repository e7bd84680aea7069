//! Statements on history run by an Apache DataFusion Ballista cluster.
//!
//! Statements are planned here and only what is planned goes to the cluster: its scheduler parts it into stages, its
//! executors read the files. So a cluster as it comes from its project will do. It knows neither our tables, of which
//! plans have no more than the list of files that count, nor our functions, which are spelled out ([`spell_out`]).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ballista_core::execution_plans::execute_physical_plan;
use ballista_core::extension::SessionConfigExt;
use ballista_core::optimizer::ballista_default_optimizer_rules;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use datafusion::prelude::SessionConfig;
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::{TryStreamExt, stream};
use tokio::net::TcpStream;

use crate::config;

use super::functions::spell_out;
use super::{CATALOG, Engine, Error, SCHEMA};

/// Into how many tasks a stage is parted: Ballista's own default.
const TASKS: usize = 16;
/// How long the scheduler may take to be reached.
const PATIENCE: Duration = Duration::from_secs(10);

/// What runs statements on the cluster whose scheduler is at `HOST:PORT`. Those that read no file are run here.
pub fn engine(settings: &config::Query, scheduler: &str) -> Result<Engine, Error> {
    let config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_target_partitions(TASKS)
        .upgrade_for_ballista();
    let state = Engine::within(settings, config)?
        .with_optimizer_rules(ballista_default_optimizer_rules())
        .with_physical_optimizer_rule(Arc::new(OnCluster { scheduler: scheduler.to_owned() }));
    let engine = Engine::of(state, settings)?;
    spell_out(engine.context())?;
    Ok(engine)
}

/// Has the cluster run plans that read files.
#[derive(Debug)]
struct OnCluster {
    scheduler: String,
}

impl PhysicalOptimizerRule for OnCluster {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(if reads_files(&plan) { Arc::new(ClusterExec::new(&self.scheduler, plan)) } else { plan })
    }

    fn name(&self) -> &'static str {
        "on_cluster"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn reads_files(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let scan = plan.downcast_ref::<DataSourceExec>();
    scan.is_some_and(|scan| scan.data_source().is::<FileScanConfig>()) || plan.children().into_iter().any(reads_files)
}

/// Rows of a plan that the cluster runs.
#[derive(Debug)]
struct ClusterExec {
    scheduler: String,
    plan: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl ClusterExec {
    fn new(scheduler: &str, plan: Arc<dyn ExecutionPlan>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(plan.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self { scheduler: scheduler.to_owned(), plan, properties: Arc::new(properties) }
    }
}

impl DisplayAs for ClusterExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterExec: {}", self.scheduler)
    }
}

impl ExecutionPlan for ClusterExec {
    fn name(&self) -> &'static str {
        "ClusterExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.plan]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let [plan] = <[_; 1]>::try_from(children)
            .map_err(|children| DataFusionError::Internal(format!("{} children, expected one", children.len())))?;
        Ok(Arc::new(Self::new(&self.scheduler, plan)))
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = run(self.scheduler.clone(), Arc::clone(&self.plan), context);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(rows).try_flatten())))
    }
}

/// Has the cluster run a plan to its end. Its rows are fetched from the executors as they are read.
async fn run(
    scheduler: String,
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
) -> Result<SendableRecordBatchStream> {
    let schema = plan.schema();
    let session = context.session_config().clone();
    let (config, codec) = (session.ballista_config(), session.ballista_physical_extension_codec());
    reach(&scheduler).await?;
    let url = format!("http://{scheduler}");
    let rows = execute_physical_plan::<PhysicalPlanNode>(url, &config, plan, &*codec, context.session_id(), session);
    let failed = move |error: DataFusionError| {
        let reason = match error.find_root() {
            DataFusionError::Execution(reason) | DataFusionError::Internal(reason) => reason.clone(),
            root => root.strip_backtrace(),
        };
        DataFusionError::External(format!("the Ballista cluster at {scheduler} failed: {reason}").into())
    };
    let rows = rows.await.map_err(&failed)?;
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows.map_err(failed))))
}

/// Says in plain words that nobody answers, before anything is sent.
async fn reach(scheduler: &str) -> Result<()> {
    let reason = match tokio::time::timeout(PATIENCE, TcpStream::connect(scheduler)).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
    };
    let away = format!("no Ballista scheduler can be reached at {scheduler}: {reason}; check --ballista");
    Err(DataFusionError::External(away.into()))
}
