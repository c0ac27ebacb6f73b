"""The same posting as one transaction an event: pgbench, prepared statements, 16 clients.

One statement does what the worker does for a purchase: lock and change the account, and add position, entry and
outbox row. It decides nothing, knows no returns and fences no progress, so it has less to do than the worker.
"""

from tests.benchmarks.pgbench import run_pgbench
from tests.benchmarks.servers import Servers

OUTBOX_BYTES = 400
"""A message with its headers, as long as the worker's for one purchase."""
SCRIPT = f"""\
\\set member random(0, :members - 1)
\\set cents random(398, 1397)
WITH changed AS (
  UPDATE account a SET balance_points = balance_points + :cents ::int / 100, last_entry_no = last_entry_no + 1,
    last_event_no = last_event_no + 1, last_purchase_at = now(),
    points_by_year = points_by_year || jsonb_build_object('2026', jsonb_build_array(:cents ::int / 100, 0))
  WHERE member_id = 'M' || lpad(:member ::text, 7, '0') RETURNING account_no, last_entry_no),
position AS (
  INSERT INTO purchase_position (account_no, purchase_id, occurred_at, received_at, cents_by_class, vouchers,
    eligible_cents, returned_cents, returned_completely, bonus_percent, posted_points)
  SELECT account_no, to_char(clock_timestamp(), '"s"YYYYMMDD-HH24MISSUS-') || :client_id ::int, now(), now(),
    jsonb_build_object('deposit', 25, 'food', :cents ::int, 'goods', 0), '{{}}', :cents ::int, 0, false, 0,
    :cents ::int / 100
  FROM changed RETURNING account_no, purchase_id),
entry AS (
  INSERT INTO ledger_entry (account_no, entry_no, kind, points, purchase_id)
  SELECT account_no, last_entry_no, 'purchase', :cents ::int / 100, purchase_id
  FROM changed JOIN position USING (account_no))
INSERT INTO outbox (messages, message_count)
SELECT convert_to(repeat('x', {OUTBOX_BYTES}), 'UTF8'), 1 FROM changed;
"""


async def single_rate(servers: Servers, members: int, seconds: int) -> float:
    """Transactions, that is events, a second. Raises ProcessFailed."""
    return (await run_pgbench(servers, "loyalty", SCRIPT, seconds, {"members": members})).rate
