"""What a worker tells Prometheus. Labels are topics and outcomes, never identities."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

EVENTS: Final = Counter("eventing_events_total", "Records handled", ["topic", "outcome"])
MISPLACED: Final = Counter("eventing_misplaced_records_total", "Records not in their key's partition", ["topic"])
BATCH_SECONDS: Final = Histogram(
    "eventing_batch_seconds",
    "Duration of one batch's transaction",
    ["topic"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
RETRIES: Final = Counter("eventing_retries_total", "Work done again after a failure", ["step"])
LAG: Final = Gauge("eventing_lag_records", "Records not handled yet", ["topic", "partition"])
PAUSED: Final = Gauge("eventing_paused_partitions", "Assigned partitions that wait for an operator")
LAST_PROGRESS: Final = Gauge("eventing_last_progress_timestamp_seconds", "When a batch was last committed")
REBUILDS: Final = Counter("eventing_consumer_rebuilds_total", "Consumers thrown away and built anew", ["cause"])
DEAD_LETTERS_OPEN: Final = Gauge("eventing_dead_letters_open", "Dead letters nobody has decided about")
OUTBOX_MESSAGES: Final = Gauge("eventing_outbox_messages", "Messages not published yet")
OUTBOX_OLDEST_SECONDS: Final = Gauge("eventing_outbox_oldest_seconds", "Age of the oldest unpublished message")
RELAY_PUBLISHED: Final = Counter("eventing_relay_published_total", "Messages acknowledged by the broker", ["topic"])
RELAY_ACTIVE: Final = Gauge("eventing_relay_active", "1 in the one process whose relay publishes")
VERIFY_SAMPLED: Final = Counter("eventing_verify_sampled_total", "Accounts looked at by the continuous verify")
VERIFY_FAULTS: Final = Counter("eventing_verify_faults_total", "Faults it found", ["check"])
VERIFY_LAST_RUN: Final = Gauge("eventing_verify_last_run_timestamp_seconds", "When it last looked")
