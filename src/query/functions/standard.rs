//! Our functions spelled out in those that any DataFusion knows, for engines that know no others.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::FunctionRegistry;
use datafusion::functions::expr_fn::{ceil, concat, floor, greatest, split_part, sqrt};
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::min_max::max_udaf;
use datafusion::functions_aggregate::stddev::stddev_pop_udaf;
use datafusion::functions_aggregate::string_agg::string_agg_udaf;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawAggregateExpr, RawWindowExpr};
use datafusion::logical_expr::{AggregateUDF, Expr, WindowFunctionDefinition, cast, lit, when};
use datafusion::prelude::SessionContext;

use super::SLACK;
use super::classes::{CLASSES, FASTEST, MINUTE_MS, OUT_OF_BOUNDS};
use super::variation::NO_VARIANCE;

/// What stands between numbers in a text.
const BETWEEN: &str = " ";

/// Has statements planned without our functions; those that can't be spelled out are refused.
pub fn spell_out(context: &SessionContext) -> Result<()> {
    let mut context = context.clone();
    context.register_expr_planner(Arc::new(Standard))?;
    context.register_function_rewrite(Arc::new(Standard))
}

#[derive(Debug)]
struct Standard;

/// Aggregates become several, which has to happen before a plan aggregates anything.
impl ExprPlanner for Standard {
    fn plan_aggregate(&self, call: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        let of = |aggregate: Arc<AggregateUDF>, value: &Expr| {
            let (values, filter) = (vec![value.clone()], call.filter.clone());
            Expr::AggregateFunction(AggregateFunction::new_udf(aggregate, values, false, filter, vec![], None))
        };
        let in_order = |value: &Expr| {
            let values = vec![cast(value.clone(), DataType::Utf8), lit(BETWEEN)];
            let (filter, order) = (call.filter.clone(), vec![value.clone().sort(true, false)]);
            Expr::AggregateFunction(AggregateFunction::new_udf(string_agg_udaf(), values, false, filter, order, None))
        };
        let spelled_out = match (call.func.name(), &call.args[..]) {
            (name @ ("cv" | "nearest_rank"), _) if call.distinct => return Err(unknown(name, " of DISTINCT values")),
            ("cv", [x]) => cv(of, &number(x))?,
            ("nearest_rank", [x, p]) => nearest_rank(of, in_order, &number(x), &number(p))?,
            _ => return Ok(PlannerResult::Original(call)),
        };
        let RawAggregateExpr { func, args, distinct, filter, order_by, null_treatment } = call;
        let said = AggregateFunction::new_udf(func, args, distinct, filter, order_by, null_treatment);
        let name = Expr::AggregateFunction(said).schema_name().to_string();
        Ok(PlannerResult::Planned(spelled_out.alias(name)))
    }

    fn plan_window(&self, call: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        match &call.func_def {
            WindowFunctionDefinition::AggregateUDF(function) if ["cv", "nearest_rank"].contains(&function.name()) => {
                Err(unknown(function.name(), " OVER a window"))
            }
            _ => Ok(PlannerResult::Original(call)),
        }
    }
}

impl FunctionRewrite for Standard {
    fn name(&self) -> &'static str {
        "spell_out"
    }

    fn rewrite(&self, expr: Expr, _: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let Expr::ScalarFunction(call) = &expr else { return Ok(Transformed::no(expr)) };
        Ok(Transformed::yes(match (call.func.name(), &call.args[..]) {
            ("cv_of_sums", [n, sum, sum_of_squares]) => cv_of_sums(&number(n), number(sum), number(sum_of_squares))?,
            ("rate_class", [per_day]) => rate_class(&number(per_day))?,
            ("idle_bin", [idle_ms]) => idle_bin(&number(idle_ms))?,
            (name @ "histogram_percentile", _) => return Err(unknown(name, "")),
            _ => return Ok(Transformed::no(expr)),
        }))
    }
}

fn unknown(function: &str, how: &str) -> DataFusionError {
    DataFusionError::Plan(format!(
        "{function}{how} can't be spelled out in functions that a Ballista cluster knows; run the statement without --ballista"
    ))
}

fn number(expression: &Expr) -> Expr {
    cast(expression.clone(), DataType::Float64)
}

fn cv(of: impl Fn(Arc<AggregateUDF>, &Expr) -> Expr, x: &Expr) -> Result<Expr> {
    let (n, mean) = (of(count_udaf(), x), of(avg_udaf(), x));
    when(n.gt_eq(lit(2)).and(mean.clone().not_eq(lit(0.0))), of(stddev_pop_udaf(), x) / mean).end()
}

fn cv_of_sums(n: &Expr, sum: Expr, sum_of_squares: Expr) -> Result<Expr> {
    let mean = sum / n.clone();
    let square = mean.clone() * mean.clone();
    let variance = sum_of_squares / n.clone() - square.clone();
    let variance = when(variance.clone().lt(lit(NO_VARIANCE) * square), lit(0.0)).otherwise(variance)?;
    when(n.clone().gt_eq(lit(2.0)).and(mean.clone().not_eq(lit(0.0))), sqrt(variance) / mean).end()
}

/// Executors know no function of lists, so the numbers are a text in between, in which each is written to be read again as
/// it was.
fn nearest_rank(
    of: impl Fn(Arc<AggregateUDF>, &Expr) -> Expr,
    in_order: impl Fn(&Expr) -> Expr,
    x: &Expr,
    p: &Expr,
) -> Result<Expr> {
    let (n, p) = (number(&of(count_udaf(), x)), of(max_udaf(), p));
    let rank = greatest(vec![ceil(p.clone() * n.clone() - lit(SLACK) * n), lit(1.0)]);
    // No function raises an error; a text that is no number does.
    let found = concat(vec![lit("nearest_rank: found p = "), p.clone(), lit(", expected a share from 0 to 1")]);
    when(
        p.clone().between(lit(0.0), lit(1.0)),
        number(&split_part(in_order(x), lit(BETWEEN), cast(rank, DataType::Int64))),
    )
    .when(p.is_not_null(), number(&found))
    .end()
}

fn rate_class(per_day: &Expr) -> Result<Expr> {
    let mut class = when(per_day.clone().lt(lit(0.0)), lit(ScalarValue::Utf8(None)));
    for (most, name) in CLASSES {
        class = class.when(per_day.clone().lt_eq(lit(most)), lit(name));
    }
    class.when(per_day.clone().is_not_null(), lit(FASTEST)).end()
}

fn idle_bin(idle_ms: &Expr) -> Result<Expr> {
    when(idle_ms.clone().gt_eq(lit(OUT_OF_BOUNDS * MINUTE_MS)), lit(OUT_OF_BOUNDS as i64))
        .when(idle_ms.clone().gt_eq(lit(0.0)), cast(floor(idle_ms.clone() / lit(MINUTE_MS)), DataType::Int64))
        .end()
}
