"""Whether the timelines that accounts are rated by are still on their topic: else a rebuild would rate wrong."""

from collections.abc import Iterable, Mapping

from eventing.batches import judge
from eventing.database import Connection
from eventing.kafka import KafkaConfig
from eventing.log_ends import read_end_offsets
from eventing.progress import Progress
from eventing.rebuild_log import LogReader, Tell
from eventing.records import Partition
from eventing.subscription import Decoded, Subscription
from programme.timeline import TimelineChanged

from loyalty.rebuild.store import timeline_versions
from loyalty.subscriptions import CUSTOMER_STATUS

_AT_ONCE = 5000


async def members_without_timeline(
    live: Connection, kafka: KafkaConfig, subscription: Subscription[TimelineChanged], tell: Tell
) -> list[str]:
    """Members who have a timeline that is newer than any on the topic.

    First what the accounts have, then the log to its end, so that a timeline that comes meanwhile is seen.
    """
    wanted = await _versions(live)
    ends = await read_end_offsets(kafka, [subscription.topic])
    async with LogReader(kafka, "loyalty-rebuild-timelines", tell) as log:
        for partition, end in ends.items():
            async for records in log.read(partition, await log.begins_at(partition), end, _AT_ONCE):
                for record in records:
                    judged = judge(subscription, record).judged
                    if isinstance(judged, Decoded):
                        change = judged.value
                        if wanted.get(change.member_id, (0, 0)) <= (change.generation, change.events):
                            wanted.pop(change.member_id, None)
    return sorted(wanted)


def unread_timelines(read: Iterable[Progress], ends: Mapping[Partition, int]) -> str | None:
    """What to know of a rebuild while the worker is behind on the timelines' topic, None if it is not.

    Only the newest timeline of a member is on the topic for certain. Where that one is not read yet, the copies are
    brought to an offset before it, and have none.
    """
    next_offsets = {row.partition: row.next_offset for row in read}
    unread = sum(max(0, end - next_offsets.get(partition, 0)) for partition, end in ends.items())
    if not unread:
        return None
    return (
        f"the worker has yet to read {unread:,} records of {CUSTOMER_STATUS}: members whose earlier timeline was"
        " compacted away meanwhile are shown as differing and stay as they are; look again when it has read them"
    )


async def _versions(live: Connection) -> dict[str, tuple[int, int]]:
    """The versions of the timelines that members have."""
    found, last = dict[str, tuple[int, int]](), ""
    while rows := await timeline_versions(live, last, _AT_ONCE):
        last = rows[-1][0]
        found |= {key: version for key, version in rows if version > (0, 0)}
    return found
