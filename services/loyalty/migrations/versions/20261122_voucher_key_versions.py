"""Finding the versions of the keys that vouchers were issued under, without reading all vouchers."""

from alembic import op

revision = "20261122_voucher_key_versions"
down_revision = "20261122_erasure"


def upgrade() -> None:
    """Add the index."""
    op.create_index("voucher_key_versions", "voucher", ["key_version", "voucher_no"])
