"""`loyalty rebuild`, put together."""

from eventing import progress
from eventing.commands import Refused
from eventing.database import close, connect
from eventing.forgotten import Secret
from eventing.kafka import KafkaConfig
from eventing.log_ends import read_end_offsets
from eventing.rebuild import Rebuild
from eventing.rebuild_log import Tell
from eventing.rebuild_report import RebuildReport
from programme.terms import Programme

from loyalty.rebuild.sides import AccountSides
from loyalty.rebuild.timelines import members_without_timeline, unread_timelines
from loyalty.subscriptions import CUSTOMER_STATUS, subscriptions

SERVICE = "loyalty"
_SHOWN = 10


async def rebuild_all(
    owner_url: str,
    kafka: KafkaConfig,
    programme: Programme,
    secret: Secret,
    *,
    apply: bool,
    even_if_events_were_lost: bool,
    tell: Tell,
) -> RebuildReport:
    """Compare the whole database with the log, and repair it if `apply`.

    Timelines are read before purchases: then nearly every purchase gets its rate at once. Raises Refused if rates
    could not be repaired, because timelines are no longer on their topic.
    """
    by_topic = {subscription.topic: subscription for subscription in subscriptions(programme, secret)}
    timelines = by_topic.pop(CUSTOMER_STATUS)
    conn = await connect(owner_url, application_name=f"{SERVICE}-rebuild")
    try:
        read = await progress.load_all(conn)
        if warning := unread_timelines(read, await read_end_offsets(kafka, [CUSTOMER_STATUS])):
            tell(warning)
        missing = await members_without_timeline(conn, kafka, timelines, tell) if apply else []
    finally:
        await close(conn)
    if missing:
        some = ", ".join(missing[:_SHOWN]) + (" ..." if len(missing) > _SHOWN else "")
        raise Refused(
            f"the timelines of {len(missing):,} members are no longer on {CUSTOMER_STATUS} ({some}):"
            " run `customer-status republish` first"
        )
    rebuild = Rebuild(
        service=SERVICE,
        owner_url=owner_url,
        kafka=kafka,
        subscriptions=[timelines, *by_topic.values()],
        sides=AccountSides(),
        apply=apply,
        even_if_events_were_lost=even_if_events_were_lost,
        tell=tell,
    )
    return await rebuild.run()
