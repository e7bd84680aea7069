-- Memory: percentiles over apps (nearest rank) of the average memory allocated. An app of which the table has several
-- days counts once, with the average over all.
-- Figure 8 of "Serverless in the Wild" (Shahrad et al., ATC 2020).
-- Needs app_memory (app, sample_count, average_mb).
WITH apps AS (
    SELECT app, sum(average_mb * sample_count) / sum(sample_count) AS average_mb
    FROM app_memory
    WHERE sample_count > 0
    GROUP BY app
)
SELECT percentile, round(nearest_rank(average_mb, percentile / 100.0), 3) AS average_mb
FROM apps
CROSS JOIN (VALUES (1), (5), (25), (50), (75), (90), (95), (99)) AS percentiles(percentile)
GROUP BY percentile
ORDER BY percentile;
