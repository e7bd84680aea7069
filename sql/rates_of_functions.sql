-- How often functions are invoked: the share of functions in each class of average rate, and of all invocations. The average is
-- over the whole time of the table, in days of 24 hours.
-- Figure 5 (a) of "Serverless in the Wild" (Shahrad et al., ATC 2020).
-- Needs invocations_per_minute (app, function, minute, invocations).
WITH counted AS (
    SELECT sum(invocations) AS invocations, min(minute) AS first, max(minute) AS last
    FROM invocations_per_minute
    GROUP BY app, function
), classed AS (
    SELECT
        rate_class(
            invocations * 86400.0
            / (to_unixtime(max(last) OVER ()) - to_unixtime(min(first) OVER ()) + 60)
        ) AS rate,
        invocations
    FROM counted
), classes AS (
    SELECT rate, count(*) AS functions, sum(invocations) AS invocations FROM classed GROUP BY rate
)
SELECT
    rate,
    functions,
    round(100.0 * functions / sum(functions) OVER (), 3) AS functions_percent,
    round(100.0 * sum(functions) OVER (ORDER BY rate) / sum(functions) OVER (), 3) AS cumulative_percent,
    round(100.0 * invocations / sum(invocations) OVER (), 3) AS invocations_percent
FROM classes
ORDER BY rate;
