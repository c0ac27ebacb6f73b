"""Every case that broke other loyalty systems and concerns events, through Kafka and both services' real databases.

A test is named after its case (the table is in README.md) and says above it which events happen; a decorator collects
them. All are published together before the first test, those of `then` once the services have settled on the others
and members have spent points, because some cases are about what came late.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import httpx
import pytest
from confluent_kafka import Message, Producer
from eventing.envelope import new_message

COMPLETED, RETURNED = "kundenclub.purchase.completed.v1", "kundenclub.purchase.returned.v1"
PURCHASES = "kundenclub.purchases"
AT = "2026-11-22T00:00:00Z"
IN_2029 = "2029-06-01T00:00:00Z"
TODAY = datetime.now(UTC) - timedelta(hours=1)

Event = dict[str, Any]
Test = TypeVar("Test", bound=Callable[..., None])

FIRST: list[Event] = []
THEN: list[Event] = []
SPENDERS: list[str] = []


def happens(*first: Event, then: Sequence[Event] = (), spender: str | None = None) -> Callable[[Test], Test]:
    """The events of a test; a `spender` turns 500 points into a voucher between the two."""
    FIRST.extend(first)
    THEN.extend(then)
    SPENDERS.extend([spender] if spender else [])
    return lambda test: test


def bought(member: str, number: str, at: str | datetime, cents: int = 0, **more: Any) -> Event:
    """Purchase `<member>-<number>`; `by_class` gives several lines, `cents` one of goods."""
    at = at if isinstance(at, str) else at.isoformat()
    by_class: Sequence[tuple[str, int]] = more.pop("by_class", [("goods", cents)])
    lines = [{"line": 1, "product_class": name, "quantity": 1, "amount_cents": amount} for name, amount in by_class]
    data = {"purchase_id": f"{member}-{number}", "member_id": member, "occurred_at": at, "currency": "EUR"}
    return {"type": COMPLETED, "data": data | {"lines": lines} | more}


def gave_back(member: str, number: str, at: str | datetime, cents: int, *, of: str, **more: Any) -> Event:
    """Return `<member>-<number>` of goods of the purchase `of`."""
    at = at if isinstance(at, str) else at.isoformat()
    line = {"line": 1, "product_class": "goods", "quantity": 1, "amount_cents": cents}
    data = {"return_id": f"{member}-{number}", "purchase_id": of, "member_id": member, "occurred_at": at}
    return {"type": RETURNED, "data": data | {"lines": [line]} | more}


@dataclass(frozen=True)
class Raw:
    """Bytes as a broken or hostile sender puts them into the log, and the reason both services refuse them for."""

    value: bytes | None
    reason: str | None
    type: str = COMPLETED
    headers: tuple[tuple[str, bytes | None], ...] | None = None
    member: str = "edge-poison"
    topic: str = PURCHASES

    def produced_headers(self) -> list[tuple[str, str | bytes | None]]:
        message = new_message(self.topic, type=self.type, source="urn:test", key=self.member, data=b"")
        return list(message.headers if self.headers is None else self.headers)


def odd_ids() -> Iterator[Raw]:
    for odd in ("two words", "\N{PARTY POPPER}", "x" * 10_240, "a'; DROP TABLE account;--"):
        data = bought("edge-poison", "p1", "2026-03-01T10:00:00Z", 100)["data"]
        yield Raw(json.dumps(data | {"purchase_id": odd}).encode(), "invalid_id")
        yield Raw(json.dumps(data | {"member_id": odd}).encode(), "invalid_id", member=odd)


POISON = [
    Raw(b"\xff\xfe is not JSON", "not_json"),
    Raw(b"\x00\x7f\xff\xff\xff claims 2 GB", "not_json"),
    Raw(b'{"member_id": "edge-poison", "purchase_id": 7, "lines": "none"}', "invalid_structure"),
    Raw(None, "no_value"),
    Raw(b"{}", "not_a_cloudevent", headers=()),
    Raw(b"{}", None, type="kundenclub.purchase.imagined.v9"),
]
ODD_IDS = list(odd_ids())
HOUR_AHEAD = Raw(
    json.dumps(
        bought("edge-clock", "ahead", datetime.now(UTC) + timedelta(hours=1), 100, till_id="07")["data"]
    ).encode(),
    "in_the_future",
    member="edge-clock",
)
OLD_TIMELINE = Raw(
    b'{"member_id": "edge-crossing", "generation": 1, "events": 0, "timeline": [{"after": null, "level": "basis"}]}',
    None,
    type="kundenclub.customer-status.changed.v1",
    member="edge-crossing",
    topic="kundenclub.customer-status",
)


@dataclass(frozen=True)
class Known:
    """What came out: states by member, and what only an operator or the member sees."""

    system: Any
    points: dict[str, dict[str, Any]]
    status: dict[str, dict[str, Any]]
    places: dict[Raw, str]
    dead_letters: dict[str, str]
    verified: str
    refused: dict[str, dict[str, Any]]
    client: httpx.Client

    def earned(self, *members: str) -> list[int]:
        return [self.points[member]["earned"] for member in members]

    def entries(self, member: str) -> list[tuple[str, int, str | None]]:
        """The ledger, oldest first: kind, points, purchase."""
        items = self.client.get(f"/v1/members/{member}/entries", params={"limit": 100}).json()["items"]
        return [(item["kind"], item["points"], item["purchase_id"]) for item in reversed(items)]

    def steps(self, member: str) -> list[tuple[str | None, str]]:
        return [(step["after"], step["level"]) for step in self.status[member]["timeline"]]

    def reason(self, service: str, raw: Raw) -> str | None:
        """Why a service made a dead letter of a record; None if it did not."""
        lines = [line for line in self.dead_letters[service].splitlines() if f" {self.places[raw]} " in line]
        return lines[0].split(f"{self.places[raw]}  ")[1].split(":")[0] if lines else None


def produce(bootstrap_servers: str, raws: Sequence[Raw]) -> dict[Raw, str]:
    """Where each record came to lie, as `dead-letters list` writes it."""
    places: dict[Raw, str] = {}

    def note(raw: Raw) -> Callable[[Any, Message], None]:
        def delivered(error: Any, message: Message) -> None:
            assert error is None, error
            places[raw] = f"{raw.topic}[{message.partition()}]@{message.offset()}"

        return delivered

    producer = Producer({"bootstrap.servers": bootstrap_servers, "partitioner": "murmur2_random", "acks": "all"})
    for raw in raws:
        producer.produce(
            raw.topic, raw.value, raw.member.encode(), headers=raw.produced_headers(), on_delivery=note(raw)
        )
    assert producer.flush(30) == 0
    return places


def listed(system: Any, service: str, *options: str) -> str:
    """The dead letters of a service, one a line."""
    done = system.run(service, "dead-letters", "list", "--limit", "1000", *options)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def spend(client: httpx.Client, member: str, key: str) -> httpx.Response:
    return client.post(
        f"/v1/members/{member}/rewards", json={"reward": "voucher-5"}, headers={"Idempotency-Key": f"{member}-{key}"}
    )


@pytest.fixture(scope="module")
def known(system: Any) -> Iterator[Known]:
    """Everything happens, in two waves; then the states are read once for all tests."""
    headers = {"Authorization": f"Bearer {system.environment['API_KEY']}"}
    with httpx.Client(base_url=system.environment["LOYALTY_URL"], headers=headers, trust_env=False) as client:
        system.publish(FIRST)
        places = produce(system.environment["KAFKA_BOOTSTRAP_SERVERS"], [*POISON, *ODD_IDS, HOUR_AHEAD])
        system.settle()
        for member in SPENDERS:
            assert spend(client, member, "edge-1").status_code == 201
        system.publish(THEN)
        places |= produce(system.environment["KAFKA_BOOTSTRAP_SERVERS"], [OLD_TIMELINE])
        system.settle()
        services = ("loyalty", "customer-status")
        yield Known(
            system=system,
            points=system.state("loyalty", prefix="edge-"),
            status=system.state("customer-status", at=AT, prefix="edge-"),
            places=places,
            dead_letters={
                name: system.run(name, "dead-letters", "list", "--limit", "1000").stdout for name in services
            },
            verified=system.run("loyalty", "verify").stdout,
            refused={member: spend(client, member, "edge-2").json() for member in SPENDERS},
            client=client,
        )


SAME = bought("edge-same", "p1", "2026-03-01T10:00:00Z", 2190)


@happens(SAME, SAME, then=[bought("edge-same", "p1", "2026-03-01T11:00:00+01:00", 2190, till_id="07")])
def test_same_event_twice_and_same_purchase_under_a_new_event_id_days_later(known: Known) -> None:
    assert (known.points["edge-same"]["purchases"], known.earned("edge-same")) == (1, [21])
    assert len(known.entries("edge-same")) == 1


@happens(
    bought("edge-other", "p1", "2026-03-01T10:00:00Z", 2190),
    bought("edge-other", "p1", "2026-03-01T10:00:00Z", 9900),
)
def test_same_purchase_id_other_content(known: Known) -> None:
    assert known.earned("edge-other") == [21]
    for letters in known.dead_letters.values():
        assert "conflict: " in next(line for line in letters.splitlines() if "edge-other-p1" in line)
    assert "anomaly, open dead letters: conflict" in known.verified


@happens(
    gave_back("edge-early", "r1", "2026-03-02T10:00:00Z", 1190, of="edge-early-p1"),
    bought("edge-early", "p1", "2026-03-01T10:00:00Z", 2190),
    bought("edge-late", "p1", "2026-03-01T10:00:00Z", 2190),
    gave_back("edge-late", "r1", "2026-03-02T10:00:00Z", 1190, of="edge-late-p1"),
)
def test_return_before_its_purchase(known: Known) -> None:
    """One entry when the return was waiting, two when it came after; the same points."""
    assert known.earned("edge-early", "edge-late") == [10, 10]
    assert known.entries("edge-early") == [("purchase", 10, "edge-early-p1")]
    assert known.entries("edge-late") == [("purchase", 21, "edge-late-p1"), ("return", -11, "edge-late-p1")]


@happens(
    bought("edge-offline", "p2", "2026-03-05T10:00:00Z", 4000),
    then=[bought("edge-offline", "p1", "2026-03-01T10:00:00Z", 100_000)],
)
def test_till_offline_for_days_late_purchase(known: Known) -> None:
    assert known.entries("edge-offline") == [
        ("purchase", 40, "edge-offline-p2"),
        ("purchase", 1000, "edge-offline-p1"),
        ("level", 4, "edge-offline-p2"),
    ]


@happens(
    bought("edge-lowers", "p1", "2026-03-01T10:00:00Z", 100_000),
    bought("edge-lowers", "p2", "2026-03-02T10:00:00Z", 10_000),
    bought("edge-lowers", "p3", "2026-03-04T10:00:00Z", 10_000),
    then=[gave_back("edge-lowers", "r1", "2026-03-03T10:00:00Z", 100_000, of="edge-lowers-p1")],
)
def test_late_return_lowers_a_level_from_its_own_instant_on_only(known: Known) -> None:
    assert known.entries("edge-lowers")[-1] == ("level", -10, "edge-lowers-p3")
    assert (known.points["edge-lowers"]["earned"], known.points["edge-lowers"]["bonus"]) == (110 + 100, 10)
    assert known.steps("edge-lowers") == [
        (None, "basis"),
        ("2026-03-01T10:00:00Z", "silver"),
        ("2026-03-03T10:00:00Z", "basis"),
    ]


@happens(
    bought("edge-tie", "p1", "2026-03-01T10:00:00.000001Z", 100_000),
    bought("edge-tie", "p2", "2026-03-01T11:00:00.000001+01:00", 100_000),
)
def test_two_purchases_at_the_same_instant(known: Known) -> None:
    assert (known.earned("edge-tie"), known.points["edge-tie"]["bonus"]) == ([2000], 0)


@happens(
    bought("edge-crossing", "p1", "2026-03-01T10:00:00Z", 100_000),
    bought("edge-crossing", "p2", "2026-03-01T10:00:00.000001Z", 200_000),
    bought("edge-crossing", "p3", "2026-03-02T10:00:00Z", 10_000),
)
def test_purchase_that_crosses_the_threshold(known: Known) -> None:
    """Basis wins silver, silver wins gold (1,000 + 2,200), and only then gold rates."""
    assert known.earned("edge-crossing") == [1000 + 2200 + 120]


def test_a_cut_off_relay_delivers_old_messages_after_its_successors_newer_ones(known: Known) -> None:
    """A timeline older than the one loyalty has, which would take all bonus back, is read and changes nothing."""
    partition, offset = known.places[OLD_TIMELINE].split("@")
    deadline = time.monotonic() + 30
    while not _has_passed(known.system, partition, int(offset)):
        assert time.monotonic() < deadline
    assert sum(points for _, points, _ in known.entries("edge-crossing")) == 1000 + 2200 + 120


def _has_passed(system: Any, partition: str, offset: int) -> bool:
    lines = system.run("loyalty", "partitions", "list").stdout.splitlines()
    return any(line.startswith(f"{partition} ") and int(line.rsplit(" ", 1)[1]) > offset for line in lines)


@happens(
    bought("edge-parts", "p1", "2026-03-01T10:00:00Z", 2190),
    *(gave_back("edge-parts", f"r{n}", "2026-03-02T10:00:00Z", 99, of="edge-parts-p1") for n in range(22)),
)
def test_22_partial_returns_of_99_cents_of_a_receipt_of_2190(known: Known) -> None:
    entries = known.entries("edge-parts")
    assert sum(points for kind, points, _ in entries if kind == "return") == -21
    assert known.earned("edge-parts") == [0]


@happens(
    bought("edge-rate", "p1", "2024-03-01T10:00:00Z", 100_000),
    bought("edge-rate", "p2", "2024-03-02T10:00:00Z", 10_000),
    gave_back("edge-rate", "r2", "2026-03-01T10:00:00Z", 4000, of="edge-rate-p2"),
)
def test_level_changed_between_purchase_and_return(known: Known) -> None:
    """Silver when bought, basis for a year when given back: 110 points become 66, not 70."""
    assert known.earned("edge-rate") == [1000 + 66]
    assert known.entries("edge-rate")[-1] in [("return", -44, "edge-rate-p2"), ("level", 6, "edge-rate-p2")]


@happens(
    bought("edge-spent", "p1", TODAY, 50_000),
    bought("edge-repaid", "p1", TODAY, 50_000),
    spender="edge-spent",
    then=[
        gave_back("edge-spent", "r1", TODAY, 10_000, of="edge-spent-p1"),
        gave_back("edge-repaid", "r1", TODAY, 10_000, of="edge-repaid-p1"),
        bought("edge-repaid", "p2", TODAY, 30_000),
    ],
)
@happens(spender="edge-repaid")
def test_return_after_the_points_were_spent(known: Known) -> None:
    assert [known.points[member]["balance"] for member in ("edge-spent", "edge-repaid")] == [-100, 200]
    refused = known.refused["edge-spent"]
    assert (refused["code"], refused["balance_points"]) == ("insufficient_points", -100)


ORDERS: dict[str, list[Event]] = {
    "edge-sum1": [
        gave_back("edge-sum1", "r1", TODAY, 50_000, of="edge-sum1-p1"),
        bought("edge-sum1", "p2", TODAY, 30_000),
    ],
    "edge-sum2": [
        bought("edge-sum2", "p2", TODAY, 30_000),
        gave_back("edge-sum2", "r1", TODAY, 50_000, of="edge-sum2-p1", complete=True),
    ],
}


@happens(bought("edge-sum1", "p1", TODAY, 50_000), then=ORDERS["edge-sum1"], spender="edge-sum1")
@happens(bought("edge-sum2", "p1", TODAY, 50_000), then=ORDERS["edge-sum2"], spender="edge-sum2")
def test_plus_500_minus_500_minus_500_plus_300(known: Known) -> None:
    assert [known.points[member]["balance"] for member in ORDERS] == [-200, -200]
    assert [sum(points for _, points, _ in known.entries(member)) for member in ORDERS] == [-200, -200]


@happens(
    bought("edge-negative", "p0", "2020-06-01T10:00:00Z", 10_000),
    bought("edge-negative", "p1", TODAY, 50_000),
    spender="edge-negative",
    then=[gave_back("edge-negative", "r1", TODAY, 50_000, of="edge-negative-p1")],
)
def test_negative_balance_and_expiry_together(known: Known) -> None:
    """The 100 points of 2020 were lost on 1 January 2024 and do not repay what is owed since."""
    state = known.points["edge-negative"]
    assert (state["earned"], state["spent"], state["expired"], state["balance"]) == (100, 500, 100, -500)
    assert known.client.get("/v1/members/edge-negative").json()["balance_points"] == -500


@happens(bought("edge-paid", "p1", "2026-03-01T10:00:00Z", 0), bought("edge-paid", "p2", "2026-03-02T10:00:00Z", 500))
@happens(gave_back("edge-paid", "r2", "2026-03-03T10:00:00Z", 0, of="edge-paid-p2", complete=True, lines=[]))
def test_a_basket_paid_wholly_by_a_voucher(known: Known) -> None:
    """A total of 0 makes a purchase like any other; only the return marked complete leaves nothing of its own one."""
    assert (known.points["edge-paid"]["purchases"], known.earned("edge-paid")) == (2, [0])


@happens(
    bought("edge-mine", "p1", "2026-03-01T10:00:00Z", 10_000),
    gave_back("edge-yours", "r1", "2026-03-02T10:00:00Z", 10_000, of="edge-mine-p1"),
)
def test_return_under_another_members_card(known: Known) -> None:
    assert known.earned("edge-mine", "edge-yours") == [100, 0]
    assert known.points["edge-yours"]["purchases"] == 0
    assert "anomaly, returns that wait for their purchase" in known.verified


@happens(
    bought("edge-card1", "p1", "2026-03-01T10:00:00Z", 10_000, purchase_id="edge-card"),
    bought("edge-card2", "p1", "2026-03-01T10:00:00Z", 10_000, purchase_id="edge-card"),
)
def test_same_receipt_sent_under_two_cards(known: Known) -> None:
    assert known.earned("edge-card1", "edge-card2") == [100, 100]
    assert "anomaly, purchase_id under two members" in known.verified


@happens(
    bought("edge-deposit", "p1", "2026-03-01T10:00:00Z", by_class=[("deposit", 5000)]),
    bought("edge-minus", "p1", "2026-03-01T10:00:00Z", by_class=[("goods", 1000), ("goods", -9000)]),
    bought("edge-exchange", "p1", "2026-03-01T10:00:00Z", by_class=[("goods", 5000), ("food", -2010), ("book", 900)]),
)
@pytest.mark.parametrize(
    ("case", "points"), [("edge-deposit", 0), ("edge-minus", 0), ("edge-exchange", 29)], ids=lambda value: str(value)
)
def test_deposit_only_receipt_negative_total_and_exchange(known: Known, case: str, points: int) -> None:
    assert (known.points[case]["purchases"], known.earned(case)) == (1, [points])


@happens(
    bought("edge-leap", "p1", "2024-02-29T12:00:00+01:00", 100_000),
    bought("edge-spring", "p1", "2025-03-30T03:00:00+02:00", 100_000),
    bought("edge-autumn", "p1", "2025-10-26T02:30:00+02:00", 100_000),
    bought("edge-autumn", "p2", "2025-10-26T02:30:00+01:00", 10_000),
)
@pytest.mark.parametrize(
    ("member", "steps"),
    [
        ("edge-leap", [("2024-02-29T11:00:00Z", "silver"), ("2025-02-28T23:00:00Z", "basis")]),
        ("edge-spring", [("2025-03-30T01:00:00Z", "silver"), ("2026-03-29T22:00:00Z", "basis")]),
        ("edge-autumn", [("2025-10-26T00:30:00Z", "silver"), ("2026-10-25T23:00:00Z", "basis")]),
    ],
)
def test_29_february_and_daylight_saving(known: Known, member: str, steps: list[tuple[str, str]]) -> None:
    """A level ends at midnight in Berlin, which is at another hour of UTC when the clocks have changed."""
    assert known.steps(member) == [(None, "basis"), *steps]
    assert known.points["edge-autumn"]["bonus"] == 10, "an hour lies between 02:30 and 02:30"


@happens(
    bought("edge-year1", "p1", "2025-12-31T23:59:59.999999+01:00", 10_000),
    bought("edge-year2", "p1", "2026-01-01T00:00:00+01:00", 10_000),
    bought("edge-year3", "p1", "2025-12-31T20:00:00-05:00", 10_000),
    bought("edge-year4", "p1", "2026-01-01T04:00:00+09:00", 10_000),
)
def test_year_boundary_and_occurred_at_with_other_offsets(known: Known) -> None:
    """The year is Berlin's, whatever the till wrote: those of 2025 are lost in 2029, those of 2026 a year later."""
    members = [f"edge-year{n}" for n in (1, 2, 3, 4)]
    later = known.system.state("loyalty", at=IN_2029, prefix="edge-year")
    assert [later[member]["expired"] for member in members] == [100, 0, 0, 100]


@happens(bought("edge-poison", "good", "2026-03-01T10:00:00Z", 10_000))
@pytest.mark.parametrize("raw", POISON, ids=lambda raw: raw.reason or raw.type)
def test_poison_event(known: Known, raw: Raw) -> None:
    """Both services refuse it for the same reason, or skip it; what lies beside it in the partition counts."""
    assert [known.reason(service, raw) for service in known.dead_letters] == [raw.reason, raw.reason]
    assert known.earned("edge-poison") == [100]


@pytest.mark.parametrize("service", ["LOYALTY", "CUSTOMER_STATUS"])
def test_poison_event_of_unknown_type_is_a_counted_skip(known: Known, service: str) -> None:
    port = known.system.environment[f"{service}_WORKER_METRICS_PORT"]
    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    labels = 'outcome="unknown_type",topic="kundenclub.purchases"'
    [line] = [line for line in metrics.splitlines() if labels in line and "_total{" in line]
    assert float(line.split()[-1]) >= 1


@pytest.mark.parametrize("raw", ODD_IDS, ids=range(len(ODD_IDS)))
def test_member_id_or_purchase_id_with_spaces_emoji_10_kb_sql_in_it(known: Known, raw: Raw) -> None:
    assert [known.reason(service, raw) for service in known.dead_letters] == ["invalid_id", "invalid_id"]


@happens(bought("edge-clock", "in-time", datetime.now(UTC) + timedelta(minutes=5), 200))
def test_till_clock_1_hour_ahead(known: Known) -> None:
    """Five minutes are let pass; an hour is a dead letter, and a retry publishes it for both services to judge anew."""
    assert [known.reason(service, HOUR_AHEAD) for service in known.dead_letters] == ["in_the_future"] * 2
    assert known.earned("edge-clock") == [2]
    [number] = [
        line.split()[0]
        for line in known.dead_letters["loyalty"].splitlines()
        if f" {known.places[HOUR_AHEAD]} " in line
    ]
    assert known.system.run("loyalty", "dead-letters", "retry", number).stdout == "1 published again\n"
    deadline = time.monotonic() + 30
    while len(letters := listed(known.system, "customer-status", "--reason", "in_the_future").splitlines()) < 2:
        assert time.monotonic() < deadline, letters
