"""The service's whole schema in one MetaData: what Alembic compares the migrations with."""

import sqlalchemy as sa
from eventing.tables import event_tables, forgotten_tables
from webapi.attempts import failed_attempt_table
from webapi.idempotency import idempotency_key_table
from webapi.keys import api_key_table

from loyalty.adjustments.tables import adjustment_tables
from loyalty.points.tables import points_tables
from loyalty.rewards.tables import reward_tables
from loyalty.terms.tables import terms_tables
from loyalty.vouchers.tables import voucher_tables

metadata = sa.MetaData()
event_tables(metadata)
forgotten_tables(metadata)
api_key_table(metadata)
idempotency_key_table(metadata)
failed_attempt_table(metadata)
points_tables(metadata)
voucher_tables(metadata)
adjustment_tables(metadata)
reward_tables(metadata)
terms_tables(metadata)
