-- Which triggers apps combine: the share of apps of each combination, the most frequent first.
-- Figure 3 of "Serverless in the Wild" (Shahrad et al., ATC 2020).
-- Needs invocations_per_minute (app, trigger).
WITH used AS (
    SELECT DISTINCT app, coalesce(trigger, 'unknown') AS trigger FROM invocations_per_minute
), apps AS (
    SELECT app, string_agg(trigger, '+' ORDER BY trigger) AS triggers FROM used GROUP BY app
), mixes AS (
    SELECT triggers, count(*) AS apps FROM apps GROUP BY triggers
)
SELECT
    triggers,
    apps,
    round(100.0 * apps / sum(apps) OVER (), 3) AS apps_percent,
    round(100.0 * sum(apps) OVER (ORDER BY apps DESC, triggers) / sum(apps) OVER (), 3) AS cumulative_percent
FROM mixes
ORDER BY apps DESC, triggers;
