"""Members, purchases and returns; the tables of eventing and of the HTTP side; grants."""

from alembic import op
from eventing.migrations import app_role

revision = "20261122_first_tables"
down_revision = None

TIERS = (
    """
    CREATE TABLE member (
        account_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        member_id text COLLATE "C" UNIQUE,
        joined_at timestamptz,
        generation integer NOT NULL DEFAULT 1,
        events bigint NOT NULL DEFAULT 0,
        waiting_returns integer NOT NULL DEFAULT 0,
        state bytea,
        timeline jsonb
    ) WITH (fillfactor = 80)
    """,
    "COMMENT ON COLUMN member.member_id IS 'null once the member is erased'",
    "COMMENT ON COLUMN member.joined_at IS 'null: known by an event only'",
    "COMMENT ON COLUMN member.generation IS 'grows when timelines are computed anew from the log'",
    "COMMENT ON COLUMN member.events IS 'purchases and returns accepted'",
    "COMMENT ON COLUMN member.waiting_returns IS 'whose purchase is unknown'",
    "COMMENT ON COLUMN member.state IS 'packed level state (programme.levels); null: no purchase yet'",
    "COMMENT ON COLUMN member.timeline IS 'steps as published last; null: never, which means basis'",
    """
    CREATE TABLE purchase (
        account_no bigint,
        purchase_id text COLLATE "C",
        occurred_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        cents_by_class jsonb NOT NULL,
        vouchers text[] NOT NULL,
        eligible_cents bigint NOT NULL,
        returned_cents bigint NOT NULL,
        returned_completely boolean NOT NULL,
        PRIMARY KEY (account_no, purchase_id)
    )
    """,
    "COMMENT ON COLUMN purchase.received_at IS 'the record''s stamp in the log'",
    "COMMENT ON COLUMN purchase.eligible_cents IS 'by the terms at occurred_at'",
    "COMMENT ON COLUMN purchase.returned_cents IS 'eligible cents of all its returns'",
    """
    CREATE TABLE purchase_return (
        account_no bigint,
        return_id text COLLATE "C",
        purchase_id text COLLATE "C" NOT NULL,
        occurred_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        cents_by_class jsonb NOT NULL,
        complete boolean NOT NULL,
        PRIMARY KEY (account_no, return_id)
    )
    """,
    "COMMENT ON COLUMN purchase_return.received_at IS 'the record''s stamp in the log'",
)

EVENTING = (
    """
    CREATE TABLE event_progress (
        topic text,
        partition integer,
        next_offset bigint NOT NULL,
        failures_in_row integer NOT NULL DEFAULT 0,
        paused_at timestamptz,
        paused_reason text,
        PRIMARY KEY (topic, partition)
    )
    """,
    """
    CREATE TABLE dead_letter (
        dead_letter_id bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
        topic text NOT NULL,
        partition integer NOT NULL,
        record_offset bigint NOT NULL,
        received_at timestamptz NOT NULL,
        key bytea,
        value bytea,
        headers jsonb NOT NULL,
        event_id text,
        event_type text,
        reason text NOT NULL,
        detail text NOT NULL,
        state text NOT NULL DEFAULT 'open'
            CONSTRAINT dead_letter_state_check CHECK (state IN ('open', 'retried', 'discarded')),
        created_at timestamptz NOT NULL DEFAULT now(),
        decided_at timestamptz,
        CONSTRAINT dead_letter_record_key UNIQUE (topic, partition, record_offset)
    )
    """,
    """
    CREATE TABLE outbox (
        outbox_id bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
        messages bytea NOT NULL,
        message_count integer NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
)

WEBAPI = (
    """
    CREATE TABLE api_key (
        key_id text PRIMARY KEY,
        name text NOT NULL,
        secret_hash bytea NOT NULL,
        scopes text[] NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        revoked_at timestamptz
    )
    """,
    """
    CREATE TABLE idempotency_key (
        caller text,
        key text,
        request_hash bytea NOT NULL,
        status integer NOT NULL,
        body bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (caller, key)
    )
    """,
    "CREATE INDEX idempotency_key_created_at ON idempotency_key (created_at)",
)

# Purchases and returns are facts: what was bought is never changed or deleted, only what came back of it is added up.
GRANTS = {
    "member": "SELECT, INSERT, UPDATE",
    "purchase": "SELECT, INSERT, UPDATE (returned_cents, returned_completely)",
    "purchase_return": "SELECT, INSERT",
    "event_progress": "SELECT, INSERT, UPDATE",
    "dead_letter": "SELECT, INSERT, UPDATE",
    "outbox": "SELECT, INSERT, DELETE",
    "api_key": "SELECT, INSERT, UPDATE",
    "idempotency_key": "SELECT, INSERT, DELETE",
    "alembic_version": "SELECT",
}


def upgrade() -> None:
    for statement in (*TIERS, *EVENTING, *WEBAPI):
        op.execute(statement)
    role = app_role()
    for table, privileges in GRANTS.items():
        op.execute(f"GRANT {privileges} ON {table} TO {role}")
