-- What keeping apps warm is expected to cost and to bring, by the policy that decided: the average over its decisions of
-- the idle memory until the next invocation, and of the probability that this one is cold all the same.
-- Figure 14 and those like it of "Serverless in the Wild" (Shahrad et al., ATC 2020), as expected by the decisions.
-- Needs decision_history (app, policy, idle_mb_s, cold_probability).
SELECT
    policy,
    count(DISTINCT app) AS apps,
    count(*) AS decisions,
    round(avg(idle_mb_s), 3) AS idle_mb_s,
    round(100.0 * avg(cold_probability), 3) AS cold_percent
FROM decision_history
GROUP BY policy
ORDER BY policy;
