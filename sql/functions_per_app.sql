-- Functions per app, and what apps of each size make of all functions and invocations.
-- Figure 1 of "Serverless in the Wild" (Shahrad et al., ATC 2020).
-- Needs invocations_per_minute (app, function, invocations).
WITH functions AS (
    SELECT app, function, sum(invocations) AS invocations
    FROM invocations_per_minute
    GROUP BY app, function
), apps AS (
    SELECT app, count(*) AS functions, sum(invocations) AS invocations FROM functions GROUP BY app
), sized AS (
    SELECT
        CASE
            WHEN functions <= 3 THEN '0' || functions
            WHEN functions <= 5 THEN '04-05'
            WHEN functions <= 10 THEN '06-10'
            WHEN functions <= 100 THEN '11-100'
            ELSE 'over 100'
        END AS functions_per_app,
        functions,
        invocations
    FROM apps
)
SELECT
    functions_per_app,
    count(*) AS apps,
    round(100.0 * count(*) / sum(count(*)) OVER (), 3) AS apps_percent,
    round(100.0 * sum(functions) / sum(sum(functions)) OVER (), 3) AS functions_percent,
    round(100.0 * sum(invocations) / sum(sum(invocations)) OVER (), 3) AS invocations_percent
FROM sized
GROUP BY functions_per_app
ORDER BY functions_per_app;
