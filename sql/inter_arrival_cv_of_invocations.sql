-- How regular apps are, from single invocations: the distribution over apps of the coefficient of variation (CV) of the
-- times between the starts of their invocations. Slow on long histories, for which inter_arrival_cv.sql is there.
-- Figure 6 of "Serverless in the Wild" (Shahrad et al., ATC 2020), all apps.
-- Needs invocations (app, gap_ms).
WITH apps AS (
    SELECT app, cv(gap_ms) AS cv FROM invocations GROUP BY app
)
SELECT
    count(*) AS apps,
    round(100.0 * avg(CASE WHEN cv <= 0.05 THEN 1 ELSE 0 END), 3) AS percent_up_to_0_05,
    round(100.0 * avg(CASE WHEN cv <= 0.5 THEN 1 ELSE 0 END), 3) AS percent_up_to_0_5,
    round(100.0 * avg(CASE WHEN cv <= 1 THEN 1 ELSE 0 END), 3) AS percent_up_to_1,
    round(100.0 * avg(CASE WHEN cv <= 2 THEN 1 ELSE 0 END), 3) AS percent_up_to_2,
    round(100.0 * avg(CASE WHEN cv <= 4 THEN 1 ELSE 0 END), 3) AS percent_up_to_4,
    round(100.0 * avg(CASE WHEN cv <= 10 THEN 1 ELSE 0 END), 3) AS percent_up_to_10
FROM apps
WHERE cv IS NOT NULL;
