"""Offers, their slots and claims."""

from alembic import op
from eventing.migrations import app_role

revision = "20261122_offers"
down_revision = "20261122_safety"

STATEMENTS = (
    """
    CREATE TABLE offer (
        offer_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind text NOT NULL CONSTRAINT offer_kind_check CHECK (kind IN ('discount', 'consultation', 'event')),
        title text NOT NULL,
        description text NOT NULL,
        least_level text NOT NULL CONSTRAINT offer_least_level_check CHECK (least_level IN ('silver', 'gold')),
        opens_at timestamptz NOT NULL,
        closes_at timestamptz NOT NULL,
        capacity integer,
        claimed integer NOT NULL DEFAULT 0,
        invites boolean NOT NULL,
        closed_at timestamptz,
        changed_at timestamptz NOT NULL,
        changed_by text NOT NULL,
        CONSTRAINT offer_period_check CHECK (closes_at > opens_at),
        CONSTRAINT offer_capacity_check CHECK (claimed >= 0 AND claimed <= capacity)
    )
    """,
    "COMMENT ON COLUMN offer.closes_at IS 'no longer claimed from then on'",
    "COMMENT ON COLUMN offer.capacity IS 'seats; null: no limit, or that of the slots'",
    "COMMENT ON COLUMN offer.claimed IS 'claims that are not cancelled'",
    "COMMENT ON COLUMN offer.invites IS 'whether members are told of it'",
    "COMMENT ON COLUMN offer.closed_at IS 'when staff closed it before its end'",
    """
    CREATE TABLE offer_slot (
        offer_id bigint REFERENCES offer (offer_id),
        slot_no integer,
        starts_at timestamptz NOT NULL,
        ends_at timestamptz NOT NULL,
        label text NOT NULL,
        removed_at timestamptz,
        PRIMARY KEY (offer_id, slot_no),
        CONSTRAINT offer_slot_time_check CHECK (ends_at > starts_at),
        CONSTRAINT offer_slot_key UNIQUE (offer_id, starts_at, label)
    )
    """,
    "COMMENT ON COLUMN offer_slot.label IS 'with whom or where'",
    "COMMENT ON COLUMN offer_slot.removed_at IS 'no longer offered; its number is not used again'",
    """
    CREATE TABLE offer_claim (
        claim_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        offer_id bigint NOT NULL REFERENCES offer (offer_id),
        account_no bigint NOT NULL,
        slot_no integer,
        level text NOT NULL,
        claimed_at timestamptz NOT NULL,
        cancelled_at timestamptz
    )
    """,
    "COMMENT ON COLUMN offer_claim.level IS 'the member''s when it was claimed'",
    """
    CREATE UNIQUE INDEX offer_claim_member_key ON offer_claim (offer_id, account_no)
    WHERE cancelled_at IS NULL
    """,
    "CREATE UNIQUE INDEX offer_claim_slot_key ON offer_claim (offer_id, slot_no) WHERE cancelled_at IS NULL",
    "CREATE INDEX offer_claim_account ON offer_claim (account_no, claim_no)",
)


def upgrade() -> None:
    """Create them. What was claimed is never deleted; of an offer everything but its kind may change."""
    for statement in STATEMENTS:
        op.execute(statement)
    role = app_role()
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON offer TO {role}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE (removed_at) ON offer_slot TO {role}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE (cancelled_at) ON offer_claim TO {role}")
