-- How often apps are invoked: the share of apps in each class of average rate, and of all invocations. The average is
-- over the whole time of the table, in days of 24 hours.
-- Figure 5 (a) of "Serverless in the Wild" (Shahrad et al., ATC 2020).
-- Needs invocations_per_minute (app, minute, invocations).
WITH counted AS (
    SELECT sum(invocations) AS invocations, min(minute) AS first, max(minute) AS last
    FROM invocations_per_minute
    GROUP BY app
), classed AS (
    SELECT
        rate_class(
            invocations * 86400.0
            / (to_unixtime(max(last) OVER ()) - to_unixtime(min(first) OVER ()) + 60)
        ) AS rate,
        invocations
    FROM counted
), classes AS (
    SELECT rate, count(*) AS apps, sum(invocations) AS invocations FROM classed GROUP BY rate
)
SELECT
    rate,
    apps,
    round(100.0 * apps / sum(apps) OVER (), 3) AS apps_percent,
    round(100.0 * sum(apps) OVER (ORDER BY rate) / sum(apps) OVER (), 3) AS cumulative_percent,
    round(100.0 * invocations / sum(invocations) OVER (), 3) AS invocations_percent
FROM classes
ORDER BY rate;
