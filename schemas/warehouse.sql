-- Tables of `experiment export --to postgresql://…`; Parquet files have the same columns and types.
--
-- Rows of experiment_assignments, experiment_observations, experiment_exposures and experiment_voids
-- are only added: each event that counts is one row, whose key is its place in the log. Rows of the
-- other tables say what holds now. What a void takes out, what counts from an exposure on, floors and
-- caps follow from the rows: the views below apply them, and their sums are those of
-- `GET /experiments/{id}/stats`.

-- Tables: rendered by `python -m scripts.render_warehouse`.

-- One row: the version of these tables.
CREATE TABLE IF NOT EXISTS warehouse_schema (
    version INTEGER NOT NULL,  -- version
    PRIMARY KEY (version)
);

-- Experiments as they are now: configuration, status, and what the last evaluation says.
CREATE TABLE IF NOT EXISTS experiments (
    experiment_id TEXT NOT NULL,  -- id
    key TEXT,  -- key by which ad servers ask
    name TEXT NOT NULL,  -- name
    description TEXT NOT NULL,  -- description
    type TEXT NOT NULL,  -- policy: thompson_sampling, ucb, bayesian_ab, …
    unit TEXT NOT NULL,  -- impression, user or session
    exposure TEXT NOT NULL,  -- assignment or event: with what a unit begins to count
    status TEXT NOT NULL,  -- draft, running, paused, concluded or archived
    version BIGINT NOT NULL,  -- commands applied
    primary_metric TEXT NOT NULL,  -- metric that decides
    traffic_allocation DOUBLE PRECISION NOT NULL,  -- share of the units that take part
    attribution_window_s BIGINT,  -- seconds; NULL for no limit
    created_at TIMESTAMPTZ NOT NULL,  -- time of its creation
    started_at TIMESTAMPTZ,  -- time of its start
    concluded_at TIMESTAMPTZ,  -- time of its conclusion
    winner_variant_id TEXT,  -- declared or chosen winner
    recommended_action TEXT,  -- of the last evaluation
    reason_code TEXT,  -- why
    confidence DOUBLE PRECISION,  -- probability that the leader is the best
    duplicates BIGINT,  -- events that were sent again and not counted
    voided_units BIGINT,  -- units that were taken out again
    outside_requests BIGINT,  -- requests that took no part, such as junk ids
    snapshot_version BIGINT,  -- version of the last evaluation
    as_of TIMESTAMPTZ,  -- time of the newest event in it
    config TEXT NOT NULL,  -- whole configuration, as JSON
    PRIMARY KEY (experiment_id)
);

-- Variants with the statistics of the last evaluation, as `GET /experiments/{id}/stats` says.
CREATE TABLE IF NOT EXISTS experiment_variants (
    experiment_id TEXT NOT NULL,  -- id of the experiment
    variant_id TEXT NOT NULL,  -- id
    variant_index INTEGER NOT NULL,  -- place in the definition, from 0
    name TEXT NOT NULL,  -- name
    is_control BOOLEAN NOT NULL,  -- whether the others are compared with it
    is_active BOOLEAN NOT NULL,  -- whether it is not stopped
    weight DOUBLE PRECISION,  -- declared share of the traffic
    config TEXT NOT NULL,  -- configuration, as JSON
    allocation DOUBLE PRECISION,  -- share of the traffic now
    assignments BIGINT,  -- units assigned
    exposures BIGINT,  -- units exposed; NULL where exposures do not count
    observations BIGINT,  -- observations of all metrics
    mean DOUBLE PRECISION,  -- posterior mean of the primary metric
    lower DOUBLE PRECISION,  -- lower end of its 95 % credible interval
    upper DOUBLE PRECISION,  -- upper end
    probability_best DOUBLE PRECISION,  -- probability that it is the best
    expected_loss DOUBLE PRECISION,  -- expected loss of choosing it
    PRIMARY KEY (variant_id)
);

-- Declared metrics: what of a unit's observations counts.
CREATE TABLE IF NOT EXISTS experiment_metrics (
    experiment_id TEXT NOT NULL,  -- id of the experiment
    metric TEXT NOT NULL,  -- name
    role TEXT NOT NULL,  -- primary, secondary, guardrail or observed
    kind TEXT,  -- declared kind
    numerator TEXT,  -- of a ratio
    denominator TEXT,  -- of a ratio
    floor NUMERIC(19, 6),  -- smallest value of a unit
    cap NUMERIC(19, 6),  -- largest value of a unit
    delay_s BIGINT,  -- seconds before which observations do not count
    window_s BIGINT,  -- seconds after which they do not count
    reads_once BOOLEAN NOT NULL,  -- whether a unit counts once if all values are 0 or 1
    PRIMARY KEY (experiment_id, metric)
);

-- Every metric of every variant as of the last evaluation, and how it compares to the control.
CREATE TABLE IF NOT EXISTS experiment_test_results (
    experiment_id TEXT NOT NULL,  -- id of the experiment
    variant_id TEXT NOT NULL,  -- id of the variant
    metric TEXT NOT NULL,  -- name of the metric
    role TEXT NOT NULL,  -- primary, secondary, guardrail or observed
    kind TEXT NOT NULL,  -- how it is modelled
    snapshot_version BIGINT NOT NULL,  -- version of the evaluation
    units BIGINT NOT NULL,  -- units with an observation
    observations BIGINT NOT NULL,  -- observations counted
    value_sum NUMERIC(38, 6) NOT NULL,  -- exact sum of the units' values
    mean DOUBLE PRECISION,  -- posterior mean per unit; NULL where undefined
    lower DOUBLE PRECISION,  -- lower end of its 95 % credible interval
    upper DOUBLE PRECISION,  -- upper end
    probability_better DOUBLE PRECISION,  -- probability that it beats the control
    expected_loss DOUBLE PRECISION,  -- loss of shipping it in place of the control
    difference DOUBLE PRECISION,  -- posterior mean of variant - control
    difference_lower DOUBLE PRECISION,  -- lower end of its 95 % credible interval
    difference_upper DOUBLE PRECISION,  -- upper end
    relative DOUBLE PRECISION,  -- the lift: difference over the control's mean
    relative_lower DOUBLE PRECISION,  -- lower end
    relative_upper DOUBLE PRECISION,  -- upper end
    p_value DOUBLE PRECISION,  -- always-valid p-value of no difference
    sequence_lower DOUBLE PRECISION,  -- lower end of the difference at every look
    sequence_upper DOUBLE PRECISION,  -- upper end
    PRIMARY KEY (variant_id, metric)
);

-- Units assigned, each once for every variant it was assigned to.
CREATE TABLE IF NOT EXISTS experiment_assignments (
    source_partition INTEGER NOT NULL,  -- partition of the topic that the row comes from
    source_offset BIGINT NOT NULL,  -- offset of its record there
    source_index INTEGER NOT NULL,  -- place of the event in the record, from 0
    experiment_id TEXT NOT NULL,  -- id of the experiment
    variant_id TEXT NOT NULL,  -- id of the variant
    phase TEXT NOT NULL,  -- trial; promoted or rolled_back after a conclusion
    unit_hash BIGINT NOT NULL,  -- hash of the unit, as in experiment_assignments
    assigned_at TIMESTAMPTZ NOT NULL,  -- time of the assignment
    propensity DOUBLE PRECISION NOT NULL,  -- probability that the variant had, in (0, 1]
    allocation_version BIGINT NOT NULL,  -- version of the weights that decided
    dimensions TEXT,  -- values of the declared dimensions, as JSON
    context TEXT,  -- attributes of the request, as JSON
    PRIMARY KEY (source_partition, source_offset, source_index)
);
CREATE INDEX IF NOT EXISTS experiment_assignments_by_experiment ON experiment_assignments (experiment_id, variant_id);

-- Observations that count: duplicates, untimely and refused ones are left out.
CREATE TABLE IF NOT EXISTS experiment_observations (
    source_partition INTEGER NOT NULL,  -- partition of the topic that the row comes from
    source_offset BIGINT NOT NULL,  -- offset of its record there
    source_index INTEGER NOT NULL,  -- place of the event in the record, from 0
    experiment_id TEXT NOT NULL,  -- id of the experiment
    variant_id TEXT NOT NULL,  -- id of the variant
    phase TEXT NOT NULL,  -- trial; promoted or rolled_back after a conclusion
    assignment_key BIGINT NOT NULL,  -- stands for the assignment id, which is a secret
    unit_hash BIGINT NOT NULL,  -- hash of the unit, as in experiment_assignments
    metric TEXT NOT NULL,  -- name of the metric
    value NUMERIC(19, 6) NOT NULL,  -- value
    observed_at TIMESTAMPTZ NOT NULL,  -- time of the observation
    assigned_at TIMESTAMPTZ NOT NULL,  -- time of the assignment
    propensity DOUBLE PRECISION NOT NULL,  -- probability that the variant had, in (0, 1]
    attribution_window_s BIGINT,  -- of the assignment; NULL for no limit
    event_id TEXT,  -- the sender's name of the event
    PRIMARY KEY (source_partition, source_offset, source_index)
);
CREATE INDEX IF NOT EXISTS experiment_observations_by_experiment ON experiment_observations (experiment_id, metric, variant_id);

-- First exposures of units; one that was earlier and came later is another row.
CREATE TABLE IF NOT EXISTS experiment_exposures (
    source_partition INTEGER NOT NULL,  -- partition of the topic that the row comes from
    source_offset BIGINT NOT NULL,  -- offset of its record there
    source_index INTEGER NOT NULL,  -- place of the event in the record, from 0
    experiment_id TEXT NOT NULL,  -- id of the experiment
    variant_id TEXT NOT NULL,  -- id of the variant
    phase TEXT NOT NULL,  -- trial; promoted or rolled_back after a conclusion
    assignment_key BIGINT NOT NULL,  -- stands for the assignment id, which is a secret
    unit_hash BIGINT NOT NULL,  -- hash of the unit, as in experiment_assignments
    exposed_at TIMESTAMPTZ NOT NULL,  -- time of the exposure
    assigned_at TIMESTAMPTZ NOT NULL,  -- time of the assignment
    propensity DOUBLE PRECISION NOT NULL,  -- probability that the variant had, in (0, 1]
    PRIMARY KEY (source_partition, source_offset, source_index)
);
CREATE INDEX IF NOT EXISTS experiment_exposures_by_experiment ON experiment_exposures (experiment_id, assignment_key);

-- Assignments that were voided: nothing of them counts, before or after.
CREATE TABLE IF NOT EXISTS experiment_voids (
    source_partition INTEGER NOT NULL,  -- partition of the topic that the row comes from
    source_offset BIGINT NOT NULL,  -- offset of its record there
    source_index INTEGER NOT NULL,  -- place of the event in the record, from 0
    experiment_id TEXT NOT NULL,  -- id of the experiment
    variant_id TEXT NOT NULL,  -- id of the variant
    phase TEXT NOT NULL,  -- trial; promoted or rolled_back after a conclusion
    assignment_key BIGINT NOT NULL,  -- stands for the assignment id, which is a secret
    unit_hash BIGINT NOT NULL,  -- hash of the unit, as in experiment_assignments
    reason TEXT NOT NULL,  -- why
    voided_at TIMESTAMPTZ NOT NULL,  -- time of the request
    assigned_at TIMESTAMPTZ NOT NULL,  -- time of the assignment
    PRIMARY KEY (source_partition, source_offset, source_index)
);
CREATE INDEX IF NOT EXISTS experiment_voids_by_experiment ON experiment_voids (experiment_id, assignment_key);

INSERT INTO warehouse_schema VALUES (1) ON CONFLICT DO NOTHING;

-- State of the export: where it goes on. Nothing else reads it.

CREATE TABLE IF NOT EXISTS warehouse_positions (
    source TEXT NOT NULL,
    source_partition INTEGER NOT NULL,
    last_offset BIGINT NOT NULL,
    last_record TEXT NOT NULL,
    sequences BYTEA NOT NULL,
    PRIMARY KEY (source, source_partition)
);

CREATE TABLE IF NOT EXISTS warehouse_state (
    source TEXT NOT NULL,
    source_partition INTEGER NOT NULL,
    entry TEXT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (source, source_partition, entry)
);

-- Views: what counts, for PostgreSQL and DuckDB alike.

-- Assignments that were not voided.
CREATE OR REPLACE VIEW counted_assignments AS
SELECT a.*
FROM experiment_assignments a
WHERE NOT EXISTS (
    SELECT 1
    FROM experiment_voids v
    WHERE v.experiment_id = a.experiment_id
      AND v.variant_id = a.variant_id
      AND v.phase = a.phase
      AND v.unit_hash = a.unit_hash
);

-- One row for each exposed unit, with its first exposure.
CREATE OR REPLACE VIEW counted_exposures AS
SELECT
    x.experiment_id,
    x.variant_id,
    x.phase,
    x.assignment_key,
    min(x.unit_hash) AS unit_hash,
    min(x.exposed_at) AS exposed_at,
    min(x.assigned_at) AS assigned_at
FROM experiment_exposures x
WHERE NOT EXISTS (
    SELECT 1
    FROM experiment_voids v
    WHERE v.experiment_id = x.experiment_id AND v.assignment_key = x.assignment_key
)
GROUP BY x.experiment_id, x.variant_id, x.phase, x.assignment_key;

-- Observations that count. Where units count from their first exposure, those within their window
-- from there; elsewhere the export has left out what is untimely.
CREATE OR REPLACE VIEW counted_observations AS
SELECT o.*, coalesce(x.exposed_at, o.assigned_at) AS begun_at
FROM experiment_observations o
LEFT JOIN experiments e ON e.experiment_id = o.experiment_id
LEFT JOIN experiment_metrics m ON m.experiment_id = o.experiment_id AND m.metric = o.metric
LEFT JOIN counted_exposures x
    ON x.experiment_id = o.experiment_id AND x.assignment_key = o.assignment_key
WHERE NOT EXISTS (
    SELECT 1
    FROM experiment_voids v
    WHERE v.experiment_id = o.experiment_id AND v.assignment_key = o.assignment_key
)
AND (
    coalesce(e.exposure, 'assignment') <> 'event'
    OR (
        o.observed_at >= x.exposed_at + coalesce(m.delay_s, 0) * INTERVAL '1 second'
        AND (
            least(m.window_s, o.attribution_window_s) IS NULL
            OR o.observed_at
                <= x.exposed_at
                + least(m.window_s, o.attribution_window_s) * INTERVAL '1 second'
        )
    )
);

-- One row for each unit and metric: what it counts, between floor and cap. A metric without kind,
-- floor and cap whose values are all 0 or 1 counts a unit once.
CREATE OR REPLACE VIEW unit_values AS
WITH units AS (
    SELECT
        experiment_id,
        variant_id,
        phase,
        assignment_key,
        metric,
        min(unit_hash) AS unit_hash,
        min(begun_at) AS begun_at,
        count(*) AS observations,
        sum(value) AS total,
        bool_and(value IN (0, 1)) AS is_binary
    FROM counted_observations
    GROUP BY experiment_id, variant_id, phase, assignment_key, metric
),

of_variants AS (
    SELECT
        u.experiment_id,
        u.variant_id,
        u.phase,
        u.metric,
        bool_and(u.is_binary) AS is_binary,
        bool_and(coalesce(v.is_active, TRUE)) AS is_active,
        bool_and(coalesce(v.is_control, FALSE)) AS is_control
    FROM units u
    LEFT JOIN experiment_variants v ON v.variant_id = u.variant_id
    GROUP BY u.experiment_id, u.variant_id, u.phase, u.metric
),

compared AS (
    SELECT
        experiment_id,
        variant_id,
        phase,
        metric,
        is_binary,
        is_active,
        bool_and(CASE WHEN is_active THEN is_binary END)
            OVER (PARTITION BY experiment_id, phase, metric) AS are_active_binary,
        bool_and(CASE WHEN is_control THEN is_binary END)
            OVER (PARTITION BY experiment_id, phase, metric) AS is_control_binary
    FROM of_variants
),

readings AS (
    SELECT
        c.experiment_id,
        c.variant_id,
        c.phase,
        c.metric,
        m.floor,
        m.cap,
        coalesce(m.reads_once, TRUE)
        AND CASE
            WHEN c.is_active THEN coalesce(c.are_active_binary, TRUE)
            ELSE c.is_binary AND coalesce(c.is_control_binary, TRUE)
        END AS is_once
    FROM compared c
    LEFT JOIN experiment_metrics m ON m.experiment_id = c.experiment_id AND m.metric = c.metric
)

SELECT
    u.experiment_id,
    u.variant_id,
    u.phase,
    u.assignment_key,
    u.unit_hash,
    u.metric,
    u.begun_at,
    u.observations,
    u.total,
    CAST(
        CASE
            WHEN r.is_once THEN CASE WHEN u.total > 0 THEN 1 ELSE 0 END
            ELSE least(greatest(u.total, r.floor), r.cap)
        END AS NUMERIC(38, 6)
    ) AS value
FROM units u
JOIN readings r
    ON r.experiment_id = u.experiment_id
    AND r.variant_id = u.variant_id
    AND r.phase = u.phase
    AND r.metric = u.metric;

-- Sums of each metric: `units`, `observations` and `sumMicro` / 1,000,000 of `stats`.
CREATE OR REPLACE VIEW metric_totals AS
SELECT
    experiment_id,
    variant_id,
    phase,
    metric,
    count(*) AS units,
    CAST(sum(observations) AS BIGINT) AS observations,
    sum(value) AS value_sum
FROM unit_values
GROUP BY experiment_id, variant_id, phase, metric;

-- Counts of each variant: `assignments`, `exposures` and `observations` of `stats`.
CREATE OR REPLACE VIEW variant_totals AS
SELECT
    experiment_id,
    variant_id,
    phase,
    CAST(sum(assignments) AS BIGINT) AS assignments,
    CAST(sum(exposures) AS BIGINT) AS exposures,
    CAST(sum(observations) AS BIGINT) AS observations
FROM (
    SELECT experiment_id, variant_id, phase, count(*) AS assignments, 0 AS exposures, 0 AS observations
    FROM experiment_assignments
    GROUP BY experiment_id, variant_id, phase
    UNION ALL
    SELECT experiment_id, variant_id, phase, -count(*), 0, 0
    FROM experiment_voids
    GROUP BY experiment_id, variant_id, phase
    UNION ALL
    SELECT experiment_id, variant_id, phase, 0, count(*), 0
    FROM counted_exposures
    GROUP BY experiment_id, variant_id, phase
    UNION ALL
    SELECT experiment_id, variant_id, phase, 0, 0, count(*)
    FROM counted_observations
    GROUP BY experiment_id, variant_id, phase
) counts
GROUP BY experiment_id, variant_id, phase;
