-- Which apps cost most idle memory now: the 20 apps that are expected to keep most memory idle until they are invoked next,
-- and what share of it all.
-- An operator's daily question. Needs apps (app, invocations, memory_mb, regime, cold_probability, idle_mb_s).
SELECT
    app,
    regime,
    invocations,
    memory_mb,
    cold_probability,
    idle_mb_s,
    round(100.0 * idle_mb_s / sum(idle_mb_s) OVER (), 3) AS idle_percent
FROM apps
WHERE idle_mb_s IS NOT NULL
ORDER BY idle_mb_s DESC, app
LIMIT 20;
