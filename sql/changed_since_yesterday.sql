-- What changed since yesterday: the 20 apps whose cold starts in the last 24 hours of the table differ most in number
-- from those in the 24 hours before, with their invocations.
-- An operator's daily question. Needs invocations_per_minute (app, minute, invocations, missed).
WITH of_last AS (
    SELECT max(minute) AS last_minute FROM invocations_per_minute
), days AS (
    SELECT
        app,
        minute > last_minute - INTERVAL '24 hours' AS is_today,
        invocations,
        missed
    FROM invocations_per_minute
    CROSS JOIN of_last
    WHERE minute > last_minute - INTERVAL '48 hours'
), apps AS (
    SELECT
        app,
        sum(CASE WHEN is_today THEN 0 ELSE invocations END) AS invocations_before,
        sum(CASE WHEN is_today THEN invocations ELSE 0 END) AS invocations,
        sum(CASE WHEN is_today THEN 0 ELSE missed END) AS cold_before,
        sum(CASE WHEN is_today THEN missed ELSE 0 END) AS cold
    FROM days
    GROUP BY app
)
SELECT app, invocations_before, invocations, cold_before, cold, cold - cold_before AS more_cold
FROM apps
ORDER BY abs(cold - cold_before) DESC, app
LIMIT 20;
