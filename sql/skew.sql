-- Skew: the share of all invocations that the most popular apps and functions make, of the top 0.1 % to the top 50 %.
-- A percentage of apps is rounded up to whole ones.
-- Figure 5 (b) of "Serverless in the Wild" (Shahrad et al., ATC 2020).
-- Needs invocations_per_minute (app, function, invocations).
WITH functions AS (
    SELECT app, function, sum(invocations) AS invocations
    FROM invocations_per_minute
    GROUP BY app, function
), with_app AS (
    SELECT
        invocations,
        sum(invocations) OVER (PARTITION BY app) AS of_app,
        row_number() OVER (PARTITION BY app ORDER BY function) AS place_in_app
    FROM functions
), counted AS (
    SELECT popular, CASE popular WHEN 'apps' THEN of_app ELSE invocations END AS invocations
    FROM with_app
    CROSS JOIN (VALUES ('apps'), ('functions')) AS kinds(popular)
    WHERE popular = 'functions' OR place_in_app = 1
), ranked AS (
    SELECT
        popular,
        invocations,
        row_number() OVER (PARTITION BY popular ORDER BY invocations DESC) AS place,
        count(*) OVER (PARTITION BY popular) AS number,
        sum(invocations) OVER (PARTITION BY popular) AS total
    FROM counted
)
SELECT
    popular,
    top_percent,
    round(100.0 * sum(invocations) / max(total), 3) AS invocations_percent
FROM ranked
CROSS JOIN (VALUES (0.1), (1.0), (10.0), (50.0)) AS tops(top_percent)
WHERE place <= ceil(number * top_percent / 100.0)
GROUP BY popular, top_percent
ORDER BY popular, top_percent;
