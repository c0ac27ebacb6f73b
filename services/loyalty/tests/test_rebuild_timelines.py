"""What `loyalty rebuild` says of timelines that the worker has not read."""

from eventing.progress import Progress
from eventing.records import Partition
from loyalty.rebuild.timelines import unread_timelines
from loyalty.subscriptions import CUSTOMER_STATUS, PURCHASES


def read(topic: str, number: int, next_offset: int) -> Progress:
    return Progress(Partition(topic, number), next_offset, 0, None, None)


def test_a_worker_behind_on_the_timelines_is_told_of() -> None:
    ends = {Partition(CUSTOMER_STATUS, 0): 1_500, Partition(CUSTOMER_STATUS, 1): 20, Partition(CUSTOMER_STATUS, 2): 7}
    rows = [read(CUSTOMER_STATUS, 0, 300), read(CUSTOMER_STATUS, 1, 25), read(PURCHASES, 2, 7)]
    warning = unread_timelines(rows, ends)
    assert warning is not None
    assert "has yet to read 1,207 records of kundenclub.customer-status" in warning


def test_a_worker_that_has_read_all_of_them_is_not() -> None:
    assert unread_timelines([read(CUSTOMER_STATUS, 0, 300)], {Partition(CUSTOMER_STATUS, 0): 300}) is None
