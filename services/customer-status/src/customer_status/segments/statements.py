"""The SQL of segments: rules 3.12 and 3.13 over sets. `Bounds` brings the calendar, so that it adds none of its own.

Equal to the pure rules of `programme.lifecycle` and `programme.revenue`; a test compares them.
"""

from typing import Any

from customer_status.segments.domain import Bounds

# What was left of each purchase at the end of day {on}. Nearly always that is what its row says; where a return came
# later, its returns up to then are added up.
BOUGHT = """
    SELECT purchase.account_no, purchase.civil_date,
        CASE WHEN CASE WHEN returned.purchase_id IS NULL THEN returned_completely ELSE returned.complete END THEN 0
             ELSE greatest(0, total_cents - CASE WHEN returned.purchase_id IS NULL THEN returned_total_cents
                                                 ELSE returned.cents END)::integer
        END AS remaining_cents
    FROM purchase
    LEFT JOIN (
        SELECT account_no, purchase_id,
            coalesce(sum(total_cents) FILTER (WHERE civil_date <= {on}), 0)::bigint AS cents,
            coalesce(bool_or(complete) FILTER (WHERE civil_date <= {on}), false) AS complete
        FROM purchase_return
        WHERE (account_no, purchase_id) IN (
            SELECT account_no, purchase_id FROM purchase_return WHERE civil_date > {on} {which})
        GROUP BY account_no, purchase_id
    ) AS returned USING (account_no, purchase_id)
    WHERE purchase.civil_date <= {on} {which}"""

LEVEL = """coalesce(
    jsonb_path_query_array(timeline, '$[*] ? (@.after == null || @.after < $end).level', {end}) ->> -1, 'basis')"""

# The order of the parameters: see `parameters`.
SEGMENTED = f"""
    WITH bought AS ({BOUGHT.format(on="$1", which="")}),
    summed AS (
        SELECT account_no,
            min(civil_date) FILTER (WHERE remaining_cents > 0) AS first_date,
            max(civil_date) FILTER (WHERE remaining_cents > 0) AS last_date,
            bit_or(set_bit($4::text::varbit, civil_date - $5, 1))
                FILTER (WHERE remaining_cents > 0 AND civil_date >= $5) AS days,
            bit_or(1::bigint << width_bucket(civil_date, $6::date[]))
                FILTER (WHERE remaining_cents > 0 AND civil_date > $7) AS months,
            coalesce(sum(remaining_cents) FILTER (WHERE civil_date >= $8), 0) AS revenue_cents
        FROM bought GROUP BY account_no
    ),
    known AS (
        SELECT account_no, member_id, {LEVEL.format(end="$3::jsonb")} AS level,
            CASE
                WHEN first_date IS NULL THEN 'interessent'
                WHEN first_date >= $9 AND bit_count(days) < $10 THEN 'neukunde'
                WHEN last_date >= $11 AND bit_count(months::bit(64)) >= $12
                    AND bit_count(substring(days FROM $13)) >= $14 THEN 'stammkunde'
                WHEN last_date > $15 THEN 'bestandskunde'
                ELSE 'altkunde'
            END AS lifecycle,
            coalesce(revenue_cents, 0) AS revenue_cents
        FROM member LEFT JOIN summed USING (account_no)
        WHERE member_id IS NOT NULL
            AND (joined_at < $2 OR summed.account_no IS NOT NULL
                OR account_no IN (SELECT account_no FROM purchase_return WHERE civil_date <= $1))
    ),
    ranked AS (
        SELECT account_no,
            sum(revenue_cents) OVER (ORDER BY revenue_cents DESC, member_id COLLATE "C" ROWS UNBOUNDED PRECEDING)
                - revenue_cents AS before_cents,
            sum(revenue_cents) OVER () AS all_cents
        FROM known WHERE revenue_cents > 0
    ),
    segmented AS (
        SELECT account_no, member_id, level, lifecycle, revenue_cents,
            CASE WHEN before_cents IS NULL THEN NULL
                 WHEN before_cents * 100 < all_cents * $16::int THEN 'A'
                 WHEN before_cents * 100 < all_cents * $17::int THEN 'B'
                 ELSE 'C' END AS abc
        FROM known LEFT JOIN ranked USING (account_no)
    )"""

COUNTS = f"""{SEGMENTED}
    SELECT level, lifecycle, abc, count(*) AS members, sum(revenue_cents)::bigint AS revenue_cents
    FROM segmented GROUP BY level, lifecycle, abc ORDER BY level, lifecycle, abc"""

SNAPSHOT = f"""{SEGMENTED}
    INSERT INTO segment_snapshot_member (snapshot_date, account_no, level, lifecycle, abc, revenue_cents)
    SELECT $1, account_no, level, lifecycle, abc, revenue_cents FROM segmented"""


def parameters(bounds: Bounds) -> tuple[Any, ...]:
    """What `SEGMENTED` takes."""
    return (
        bounds.on,
        bounds.end,
        bounds.timeline_end,
        bounds.days,
        bounds.days_from,
        bounds.month_starts,
        bounds.regular_after,
        bounds.revenue_from,
        bounds.new_from,
        bounds.new_below_days,
        bounds.silent_from,
        bounds.regular_months,
        bounds.regular_bit,
        bounds.regular_days,
        bounds.existing_after,
        bounds.a_percent,
        bounds.b_percent,
    )
