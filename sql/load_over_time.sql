-- Load over time: invocations in each hour, in percent of the hour with most.
-- Figure 4 of "Serverless in the Wild" (Shahrad et al., ATC 2020).
-- Needs invocations_per_minute (minute, invocations).
WITH hours AS (
    SELECT date_trunc('hour', minute) AS hour, sum(invocations) AS invocations
    FROM invocations_per_minute
    GROUP BY date_trunc('hour', minute)
)
SELECT hour, invocations, round(100.0 * invocations / max(invocations) OVER (), 3) AS percent_of_peak
FROM hours
ORDER BY hour;
