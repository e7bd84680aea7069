-- Which apps are always cold: those of which no invocation of the last 7 days of the table was held by a window of the
-- decisions, the most invoked first. Apps that were invoked once are left out: a first invocation is cold of necessity.
-- An operator's daily question. Needs invocations_per_minute (app, minute, invocations, missed, idle_times, idle_ms).
SELECT
    app,
    sum(invocations) AS invocations,
    round(sum(idle_ms) / nullif(sum(idle_times), 0) / 60000, 3) AS mean_idle_minutes,
    max(minute) AS last_minute
FROM invocations_per_minute
WHERE minute > (SELECT max(minute) - INTERVAL '7 days' FROM invocations_per_minute)
GROUP BY app
HAVING sum(invocations) > 1 AND sum(missed) = sum(invocations)
ORDER BY invocations DESC, app
LIMIT 100;
