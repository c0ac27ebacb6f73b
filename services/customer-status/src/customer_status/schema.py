"""The service's whole schema in one MetaData: what Alembic compares the migrations with."""

import sqlalchemy as sa
from eventing.tables import event_tables, forgotten_tables
from webapi.attempts import failed_attempt_table
from webapi.idempotency import idempotency_key_table
from webapi.keys import api_key_table

from customer_status.consents.tables import consents_tables
from customer_status.contacts.tables import contacts_tables
from customer_status.key_accounts.tables import key_accounts_tables
from customer_status.offers.tables import offers_tables
from customer_status.segments.tables import segments_tables
from customer_status.terms.tables import terms_tables
from customer_status.tiers.tables import tiers_tables

metadata = sa.MetaData()
event_tables(metadata)
forgotten_tables(metadata)
api_key_table(metadata)
idempotency_key_table(metadata)
failed_attempt_table(metadata)
tiers_tables(metadata)
terms_tables(metadata)
segments_tables(metadata)
key_accounts_tables(metadata)
offers_tables(metadata)
consents_tables(metadata)
contacts_tables(metadata)
