-- Execution time: percentiles over functions (nearest rank) of the shortest, average and longest duration. A function of
-- which the table has several days counts once, with the average over all.
-- Figure 7 of "Serverless in the Wild" (Shahrad et al., ATC 2020).
-- Needs function_durations (app, function, average_ms, count, minimum_ms, maximum_ms).
WITH functions AS (
    SELECT
        app,
        function,
        min(minimum_ms) AS minimum_ms,
        sum(average_ms * count) / sum(count) AS average_ms,
        max(maximum_ms) AS maximum_ms
    FROM function_durations
    WHERE count > 0
    GROUP BY app, function
),
durations AS (
    SELECT 'minimum' AS kind, minimum_ms AS ms FROM functions
    UNION ALL
    SELECT 'average', average_ms FROM functions
    UNION ALL
    SELECT 'maximum', maximum_ms FROM functions
)
SELECT
    percentile,
    nearest_rank(ms, percentile / 100.0) FILTER (WHERE kind = 'minimum') AS minimum_ms,
    round(nearest_rank(ms, percentile / 100.0) FILTER (WHERE kind = 'average'), 3) AS average_ms,
    nearest_rank(ms, percentile / 100.0) FILTER (WHERE kind = 'maximum') AS maximum_ms
FROM durations
CROSS JOIN (VALUES (1), (5), (25), (50), (75), (90), (95), (99)) AS percentiles(percentile)
GROUP BY percentile
ORDER BY percentile;
