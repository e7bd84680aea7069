-- Cold starts by app: percentiles over apps (nearest rank) of the share of their invocations that no window of the
-- decisions held, and the share of apps of which none and of which all were cold.
-- Figure 15 and those like it of "Serverless in the Wild" (Shahrad et al., ATC 2020): "third quartile app cold start".
-- Needs invocations_per_minute (app, invocations, missed).
WITH apps AS (
    SELECT app, 100.0 * sum(missed) / sum(invocations) AS cold_percent
    FROM invocations_per_minute
    GROUP BY app
)
SELECT
    count(*) AS apps,
    round(nearest_rank(cold_percent, 0.25), 3) AS cold_percent_p25,
    round(nearest_rank(cold_percent, 0.5), 3) AS cold_percent_p50,
    round(nearest_rank(cold_percent, 0.75), 3) AS cold_percent_p75,
    round(nearest_rank(cold_percent, 0.9), 3) AS cold_percent_p90,
    round(100.0 * avg(CASE WHEN cold_percent = 0 THEN 1 ELSE 0 END), 3) AS never_cold_percent,
    round(100.0 * avg(CASE WHEN cold_percent = 100 THEN 1 ELSE 0 END), 3) AS always_cold_percent
FROM apps;
