"""Consents, recommended contacts, and surveys."""

from alembic import op
from eventing.migrations import app_role

revision = "20261122_contacts"
down_revision = "20261122_erasure"

STATEMENTS = (
    """
    CREATE TABLE consent (
        account_no bigint,
        channel text,
        decided_at timestamptz,
        granted boolean,
        source text NOT NULL,
        recorded_at timestamptz NOT NULL,
        recorded_by text NOT NULL,
        PRIMARY KEY (account_no, channel, decided_at, granted)
    )
    """,
    "COMMENT ON COLUMN consent.source IS 'where the member said so'",
    """
    CREATE TABLE contact (
        contact_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        account_no bigint NOT NULL,
        kind text NOT NULL,
        cause text NOT NULL,
        level text,
        told_at timestamptz NOT NULL,
        channels text[] NOT NULL,
        CONSTRAINT contact_key UNIQUE (account_no, kind, cause)
    )
    """,
    "COMMENT ON COLUMN contact.level IS 'of its reason, where that names one'",
    """
    CREATE TABLE contact_watch (
        account_no bigint PRIMARY KEY,
        wakes bigint NOT NULL DEFAULT 0,
        events bigint,
        generation integer,
        joined_at timestamptz,
        looked_at timestamptz NOT NULL DEFAULT '-infinity',
        look_at timestamptz NOT NULL DEFAULT '-infinity'
    )
    """,
    "COMMENT ON COLUMN contact_watch.wakes IS 'grows to ask for a new look'",
    "COMMENT ON COLUMN contact_watch.events IS 'as of the last look, like the two that follow'",
    """
    CREATE TABLE contact_notice (
        account_no bigint,
        kind text,
        cause text,
        event_no bigint NOT NULL,
        received_at timestamptz NOT NULL,
        ends_at timestamptz NOT NULL,
        reason jsonb NOT NULL,
        PRIMARY KEY (account_no, kind, cause)
    )
    """,
    "COMMENT ON COLUMN contact_notice.event_no IS 'of the member, as loyalty counts'",
    """
    CREATE TABLE survey (
        survey_id text PRIMARY KEY,
        account_no bigint NOT NULL,
        purchase_id text NOT NULL,
        best_score integer NOT NULL,
        asked_at timestamptz NOT NULL,
        score integer,
        answered_at timestamptz,
        CONSTRAINT survey_score_check CHECK (score BETWEEN 0 AND best_score),
        CONSTRAINT survey_answer_check CHECK ((score IS NULL) = (answered_at IS NULL))
    )
    """,
    "CREATE INDEX survey_account ON survey (account_no)",
)

# Rows are deleted when their member is erased, notices also when what they tell of is over.
GRANTS = {
    "consent": "SELECT, INSERT, DELETE",
    "contact": "SELECT, INSERT, DELETE",
    "contact_watch": "SELECT, INSERT, UPDATE, DELETE",
    "contact_notice": "SELECT, INSERT, UPDATE, DELETE",
    "survey": "SELECT, INSERT, UPDATE (score, answered_at), DELETE",
}


def upgrade() -> None:
    """Create them. What a member decided, was told and answered is never changed."""
    for statement in STATEMENTS:
        op.execute(statement)
    role = app_role()
    for table, rights in GRANTS.items():
        op.execute(f"GRANT {rights} ON {table} TO {role}")
