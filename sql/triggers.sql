-- What invokes functions: the share of functions of each trigger, and of invocations.
-- Figure 2 of "Serverless in the Wild" (Shahrad et al., ATC 2020).
-- Needs invocations_per_minute (app, function, trigger, invocations).
WITH functions AS (
    SELECT app, function, coalesce(trigger, 'unknown') AS trigger, sum(invocations) AS invocations
    FROM invocations_per_minute
    GROUP BY app, function, coalesce(trigger, 'unknown')
)
SELECT
    trigger,
    count(*) AS functions,
    round(100.0 * count(*) / sum(count(*)) OVER (), 3) AS functions_percent,
    sum(invocations) AS invocations,
    round(100.0 * sum(invocations) / sum(sum(invocations)) OVER (), 3) AS invocations_percent
FROM functions
GROUP BY trigger
ORDER BY functions DESC, trigger;
