-- How regular apps are: the distribution over apps of the coefficient of variation (CV) of the times between their
-- invocations, by trigger class. 0 is a timer, 1 as random as can be, above that bursts.
-- Figure 6 of "Serverless in the Wild" (Shahrad et al., ATC 2020).
-- Needs invocations_per_minute (app, trigger, gaps, gap_ms, gap_ms2), which a mounted trace has not: see
-- inter_arrival_cv_of_invocations.sql.
WITH apps AS (
    SELECT
        app,
        CASE
            WHEN bool_and(coalesce(trigger, 'unknown') = 'timer') THEN 'only timers'
            WHEN bool_or(coalesce(trigger, 'unknown') = 'timer') THEN 'some timers'
            ELSE 'no timers'
        END AS class,
        cv_of_sums(sum(gaps), sum(gap_ms), sum(gap_ms2)) AS cv
    FROM invocations_per_minute
    GROUP BY app
), classed AS (
    SELECT class, cv FROM apps WHERE cv IS NOT NULL
    UNION ALL
    SELECT 'all', cv FROM apps WHERE cv IS NOT NULL
)
SELECT
    class,
    count(*) AS apps,
    round(100.0 * avg(CASE WHEN cv <= 0.05 THEN 1 ELSE 0 END), 3) AS percent_up_to_0_05,
    round(100.0 * avg(CASE WHEN cv <= 0.5 THEN 1 ELSE 0 END), 3) AS percent_up_to_0_5,
    round(100.0 * avg(CASE WHEN cv <= 1 THEN 1 ELSE 0 END), 3) AS percent_up_to_1,
    round(100.0 * avg(CASE WHEN cv <= 2 THEN 1 ELSE 0 END), 3) AS percent_up_to_2,
    round(100.0 * avg(CASE WHEN cv <= 4 THEN 1 ELSE 0 END), 3) AS percent_up_to_4,
    round(100.0 * avg(CASE WHEN cv <= 10 THEN 1 ELSE 0 END), 3) AS percent_up_to_10
FROM classed
GROUP BY class
ORDER BY class;
