-- Who would gain most from being warm: the 20 apps with most cold starts in the last 7 days of the table, with what says
-- whether they can be foreseen: how long they idle and how regularly they are invoked (CV near 0: pre-warming hits; CV
-- above 1: only keeping them alive helps).
-- An operator's daily question.
-- Needs invocations_per_minute (app, minute, invocations, missed, idle_times, idle_ms, gaps, gap_ms, gap_ms2, memory_mb).
SELECT
    app,
    sum(invocations) AS invocations,
    sum(missed) AS cold,
    round(100.0 * sum(missed) / sum(invocations), 3) AS cold_percent,
    round(sum(idle_ms) / nullif(sum(idle_times), 0) / 60000, 3) AS mean_idle_minutes,
    round(cv_of_sums(sum(gaps), sum(gap_ms), sum(gap_ms2)), 3) AS cv,
    max(memory_mb) AS memory_mb
FROM invocations_per_minute
WHERE minute > (SELECT max(minute) - INTERVAL '7 days' FROM invocations_per_minute)
GROUP BY app
HAVING sum(missed) > 0
ORDER BY cold DESC, app
LIMIT 20;
