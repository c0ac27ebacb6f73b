"""The SQL of segments: rules 3.12 and 3.13 over sets. `Bounds` brings the calendar, so that it adds none of its own.

Equal to the pure rules of `programme.lifecycle` and `programme.revenue`; a test compares them.

Nearly every member is judged by their own row, which tells the days on which they bought something they kept and the
running sums of it (`tiers.purchase_days`): up to any of these days too, as long as nothing was given back later. The
purchases are read of the others only: those who gave something back after the day, or bought earlier than their row
tells. So a date costs the more the longer it is past.
"""

from dataclasses import astuple, fields
from types import SimpleNamespace
from typing import Any

from customer_status.segments.domain import Bounds
from customer_status.tiers.purchase_days import LATELY_DAYS

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

_CASTS = {"on": "date", "end": "timestamptz", "timeline_end": "jsonb"}
_P = SimpleNamespace(
    **{each.name: f"${place}::{_CASTS.get(each.name, 'int')}" for place, each in enumerate(fields(Bounds), 1)}
)
"""The parameters of the statements, in the order of the fields of `Bounds`."""

READS_PURCHASES = f"""coalesce(
    last_return_day > {_P.on_day}
    OR first_event_day < last_purchase_day - {LATELY_DAYS} AND (
        last_purchase_day - {LATELY_DAYS} > {_P.needed_from}
        OR width_bucket({_P.new_from} - 1, purchase_days) = 0), false)"""

_BY_THE_ROW = f"""
    SELECT account_no, member_id, timeline, joined_at, first_event_day,
        purchase_days[least(1, upto)] AS first_day,
        purchase_days[upto] AS last_day,
        upto AS days,
        upto - regular AS regular_days,
        purchase_months[upto] - coalesce(purchase_months[regular], 0)
            -- The first regular day is in the month of the one before it, which is counted already.
            + coalesce((purchase_days[regular] >= {_P.regular_month_from}
                        AND purchase_days[regular + 1] < {_P.regular_month_before})::int, 0) AS regular_months,
        coalesce(kept_cents[upto], 0) - coalesce(kept_cents[earlier], 0) AS revenue_cents
    FROM member CROSS JOIN LATERAL (
        SELECT width_bucket({_P.on_day}, purchase_days) AS upto,
            width_bucket({_P.regular_after}, purchase_days) AS regular,
            width_bucket({_P.revenue_from} - 1, purchase_days) AS earlier) AS places
    WHERE NOT {READS_PURCHASES}"""

_BY_PURCHASES = f"""
    SELECT account_no, member_id, timeline, joined_at, first_event_day, bought.*
    FROM member CROSS JOIN LATERAL (
        SELECT min(day) AS first_day, max(day) AS last_day, count(DISTINCT day) AS days,
            count(DISTINCT day) FILTER (WHERE day > {_P.regular_after}) AS regular_days,
            count(DISTINCT date_trunc('month', civil_date)) FILTER (WHERE day > {_P.regular_after}) AS regular_months,
            coalesce(sum(cents) FILTER (WHERE day >= {_P.revenue_from}), 0)::bigint AS revenue_cents
        FROM (
            SELECT civil_date, civil_date - date '1970-01-01' AS day, total_cents - coalesce(returned.cents, 0) AS cents
            FROM purchase LEFT JOIN (
                SELECT purchase_id, sum(total_cents) AS cents, bool_or(complete) AS complete FROM purchase_return
                WHERE account_no = member.account_no AND civil_date <= {_P.on} GROUP BY purchase_id
            ) AS returned USING (purchase_id)
            WHERE account_no = member.account_no AND civil_date <= {_P.on} AND complete IS NOT TRUE
        ) AS bought WHERE cents > 0) AS bought
    WHERE {READS_PURCHASES}"""

# For each of the two by itself, so that the processes that read a member judge it too.
_JUDGED = f"""
    SELECT account_no, member_id, {LEVEL.format(end=_P.timeline_end)} AS level,
        CASE
            WHEN first_day IS NULL THEN 'interessent'
            WHEN first_day >= {_P.new_from} AND days < {_P.new_below_days} THEN 'neukunde'
            WHEN last_day >= {_P.silent_from} AND regular_days >= {_P.regular_days}
                AND regular_months >= {_P.regular_months} THEN 'stammkunde'
            WHEN last_day > {_P.existing_after} THEN 'bestandskunde'
            ELSE 'altkunde'
        END AS lifecycle,
        revenue_cents, floor(sqrt(greatest(revenue_cents, 0)::float8)) AS band
    FROM ({{0}}) AS bought
    WHERE member_id IS NOT NULL AND (joined_at < {_P.end} OR first_event_day <= {_P.on_day})"""

# The class of who has so much revenue before them.
_CLASS = f"""
    CASE WHEN {{0}} * 100 < all_cents * {_P.a_percent} THEN 'A'
         WHEN {{0}} * 100 < all_cents * {_P.b_percent} THEN 'B'
         ELSE 'C' END"""

# Members of similar revenue make a band: one of band 0 has none. Where a class ends within a band, its members are
# ranked one by one; all others have the class of their band. So hardly anybody is sorted.
_RANKED = f"""
    WITH known AS MATERIALIZED ({_JUDGED.format(_BY_THE_ROW)} UNION ALL {_JUDGED.format(_BY_PURCHASES)}),
    alike AS (
        SELECT band, level, lifecycle, count(*) AS members, sum(revenue_cents) AS revenue_cents
        FROM known GROUP BY band, level, lifecycle
    ),
    summed AS (SELECT band, sum(revenue_cents) AS cents FROM alike GROUP BY band),
    placed AS (
        SELECT band, cents, sum(cents) OVER (ORDER BY band DESC) - cents AS before_cents,
            sum(cents) OVER () AS all_cents
        FROM summed
    ),
    classed AS (
        SELECT band, before_cents, all_cents, CASE WHEN band > 0 THEN {_CLASS.format("before_cents")} END AS abc,
            band > 0 AND {_CLASS.format("before_cents")} <> {_CLASS.format("(before_cents + cents)")} AS is_split
        FROM placed
    ),
    ranked AS (
        SELECT account_no, member_id, level, lifecycle, revenue_cents, {_CLASS.format("before_cents")} AS abc
        FROM (
            SELECT known.*, all_cents,
                before_cents - revenue_cents + sum(revenue_cents) OVER (
                    PARTITION BY band ORDER BY revenue_cents DESC, member_id COLLATE "C" ROWS UNBOUNDED PRECEDING
                ) AS before_cents
            FROM known JOIN classed USING (band) WHERE is_split
        ) AS one
    )"""

SEGMENTED = f"""{_RANKED},
    segmented AS (
        SELECT account_no, member_id, level, lifecycle, revenue_cents, abc
        FROM known JOIN classed USING (band) WHERE NOT is_split
        UNION ALL SELECT * FROM ranked
    )"""

COUNTS = f"""{_RANKED}
    SELECT level, lifecycle, abc, sum(members)::bigint AS members, sum(revenue_cents)::bigint AS revenue_cents
    FROM (
        SELECT level, lifecycle, abc, members, revenue_cents FROM alike JOIN classed USING (band) WHERE NOT is_split
        UNION ALL SELECT level, lifecycle, abc, 1, revenue_cents FROM ranked
    ) AS counted
    GROUP BY level, lifecycle, abc ORDER BY level, lifecycle, abc"""

SNAPSHOT = f"""{SEGMENTED}
    INSERT INTO segment_snapshot_member (snapshot_date, account_no, level, lifecycle, abc, revenue_cents)
    SELECT {_P.on}, account_no, level, lifecycle, abc, revenue_cents FROM segmented ORDER BY account_no"""


def parameters(bounds: Bounds) -> tuple[Any, ...]:
    """What the statements take."""
    return astuple(bounds)
