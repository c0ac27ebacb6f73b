"""The terms this service has worked by, so that an edit of the past is noticed (rules 3.11)."""

import sqlalchemy as sa
from eventing.tables import dated_documents_table


def terms_tables(metadata: sa.MetaData) -> None:
    """Add the table of the terms feature to `metadata`."""
    dated_documents_table(metadata, "terms")
