"""Events in exactly once, events out in order: the mechanism between a Kafka log and a PostgreSQL database.

The load-bearing rule: how far a topic has been read is a row in the same database, and in the same transaction, as
what the events changed. Everything else here serves that rule. See README.md for what is and is not guaranteed.
"""
