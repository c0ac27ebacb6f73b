"""Contacts on a real database: once each, only as members agreed, and nothing depends on when the job runs."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
from customer_status.contacts import job, store
from customer_status.contacts.job import ContactJob, tell_some
from customer_status.contacts.notices import TakeNotices, read_notice
from customer_status.contacts.service import held_back_this_month
from customer_status.main import build
from customer_status.parameters import now_us
from customer_status.settings import ApiSettings
from devstack import ServiceDatabase
from eventing.database import close, connect
from eventing.envelope import new_message, read_event
from eventing.failures import Invalid
from eventing.forgotten import Secret
from eventing.outbox import unpack
from eventing.records import Message, Record
from eventing.subscription import Decoded
from eventing.testing import wait_until
from eventing.transaction import Transaction
from jsonschema import Draft202012Validator, FormatChecker
from programme.instants import parse_instant
from programme.terms import Programme
from webapi.testing import credential, running

WON = "2026-03-10T10:00:00Z"
SOON = "2026-03-10T10:00:05Z"
SECRET = Secret.parse("ee" * 32)
VOUCHER = "9f86d081884c7d659a2feaa0c55ad015"


class Club:
    """The API at a time the test sets, the job run by hand, and what was published."""

    def __init__(self, client: httpx.AsyncClient, headers: dict[str, str], conn: Any, programme: Programme) -> None:
        self.client = client
        self.headers = headers
        self.conn = conn
        self.programme = programme
        self.now = SOON
        self.event_no = 0

    async def __call__(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return await self.client.request(method, f"/v1{path}", headers=self.headers, **arguments)

    async def consent(self, member_id: str, channel: str = "email", granted: bool = True, at: str | None = None) -> Any:
        body = {"channel": channel, "granted": granted, "source": "webshop", "decided_at": at or self.now}
        answer = await self("PUT", f"/members/{member_id}/consent", json={"consents": [body]})
        assert answer.status_code == 200, answer.text
        return answer.json()["consents"]

    async def look(self, at: str | None = None) -> list[dict[str, Any]]:
        """One pass of the job; returns the data of the contacts that it published."""
        self.now = at or self.now
        after: int | None = 0
        while after is not None:
            after = await tell_some(self.conn, self.programme, parse_instant(self.now), after)
        return [msgspec.json.decode(message.value or b"") for message in await self.published()]

    async def published(self) -> list[Message]:
        rows = await self.conn.fetch("DELETE FROM outbox RETURNING outbox_id, messages")
        messages = [m for row in sorted(rows, key=lambda row: row["outbox_id"]) for m in unpack(row["messages"])]
        return [message for message in messages if message.topic == "kundenclub.contacts"]

    async def notice(self, type: str, **data: Any) -> None:
        """An event of loyalty, taken by the handler."""
        self.event_no += 1
        data = {"member_id": "M1", "event_no": self.event_no} | data
        encoded = json.dumps(data).encode()
        key = str(data["member_id"])
        message = new_message("kundenclub.loyalty", type=type, source="urn:t", key=key, data=encoded)
        record = Record(message.topic, 0, 0, parse_instant(self.now), message.key, message.value, message.headers)
        event = read_event(record)
        async with self.conn.transaction():
            transaction = Transaction(self.conn)
            await TakeNotices(SECRET)(transaction, [Decoded(event, read_notice(event))])
            await transaction.flush()


def kinds(contacts: list[dict[str, Any]]) -> list[str]:
    return [contact["kind"] for contact in contacts]


@pytest.fixture
async def club(database: ServiceDatabase, programme: Programme, conn: asyncpg.Connection) -> AsyncIterator[Club]:
    app = build(ApiSettings(database_url=database.app_url), programme)
    scopes = ("consents:write", "offers:write", "surveys:write", "members:read", "operations:read", "claims:write")
    async with running(app) as client:
        club = Club(client, await credential(conn, *scopes), conn, programme)
        app.dependency_overrides[now_us] = lambda: parse_instant(club.now)
        yield club


async def test_a_promotion_is_told_once_with_its_reason_and_as_the_contract_says(
    club: Club, feed: Any, contracts: Any
) -> None:
    await feed.bought("M1", "p1", WON, 100_000)
    await club.consent("M1")
    await club.consent("M1", "push")
    async with club.conn.transaction():
        await club.conn.execute("DELETE FROM outbox")
    [contact] = await club.look()
    assert contact == {
        "contact_no": contact["contact_no"],
        "member_id": "M1",
        "kind": "promotion",
        "cause": f"silver:{WON}",
        "channels": ["email", "push"],
        "recommended_at": SOON,
        "until": "2026-03-24T23:00:00Z",
        "reason": {"level": "silver", "previous_level": "basis", "since": WON},
    }
    schema = json.loads((contracts / "schemas/kundenclub.contact.recommended.v1.schema.json").read_bytes())
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(contact)
    assert await club.look() == []
    assert await club.look("2026-03-11T10:00:00Z") == []
    listed = (await club("GET", "/members/M1/contacts")).json()["items"]
    assert [(each["kind"], each["channels"]) for each in listed] == [("promotion", ["email", "push"])]


async def test_nobody_is_told_anything_without_consent_and_later_consent_is_soon_enough(club: Club, feed: Any) -> None:
    await feed.bought("M1", "p1", WON, 100_000)
    assert await club.look() == []
    await club.consent("M1", granted=False)
    assert await club.look() == []
    club.now = "2026-03-10T10:00:06Z"
    await club.consent("M1", at="2026-03-10T10:00:04Z")
    assert await club.look() == [], "the refusal is the later decision, whatever was recorded last"
    await club.consent("M1", "sms")
    assert [contact["channels"] for contact in await club.look()] == [["sms"]]


async def test_of_two_decisions_at_one_instant_the_refusal_counts(club: Club, feed: Any) -> None:
    await feed.bought("M1", "p1", WON, 100)
    await club.consent("M1", granted=False)
    club.now = "2026-03-10T10:00:06Z"
    [consent] = await club.consent("M1", granted=True, at=SOON)
    assert consent == {"channel": "email", "granted": False, "source": "webshop", "decided_at": SOON}
    assert (await club("GET", "/members/M1/consent")).json() == {"member_id": "M1", "consents": [consent]}


async def test_a_service_that_was_down_tells_what_is_not_long_over_and_nothing_else(club: Club, feed: Any) -> None:
    await feed(feed.purchase("M1", "p1", WON, 100_000), feed.purchase("M2", "p1", "2025-03-10T10:00:00Z", 100_000))
    await club.consent("M1")
    await club.consent("M2")
    found = await club.look("2026-03-24T22:59:59Z")
    # M2 won Silver a year ago, and lost it on 10 March: only that is still of interest.
    assert sorted((each["member_id"], each["kind"]) for each in found) == [
        ("M1", "promotion"),
        ("M1", "survey"),
        ("M2", "lapse"),
    ]


async def test_history_that_arrives_late_and_is_long_over_is_not_told(club: Club, feed: Any) -> None:
    await feed.bought("M1", "p1", "2026-01-10T10:00:00Z", 100)
    await club.consent("M1")
    assert await club.look() == []
    await feed.bought("M1", "p2", "2025-06-01T10:00:00Z", 100_000)
    assert await club.look("2026-03-10T10:00:10Z") == []


async def test_each_look_finds_what_came_since(club: Club, feed: Any) -> None:
    """The whole story of one member, with a job that runs when it likes."""
    await feed.bought("M1", "p1", WON, 100_000)
    await club.consent("M1")
    assert kinds(await club.look()) == ["promotion"]
    assert kinds(await club.look("2026-03-12T22:59:59Z")) == []
    assert kinds(await club.look("2026-03-13T04:00:00Z")) == ["survey"]
    assert kinds(await club.look("2026-03-13T05:00:00Z")) == []
    await feed(feed.joined("M1", "2026-03-13T05:00:00Z"))
    assert kinds(await club.look("2026-03-13T05:00:01Z")) == ["welcome"]
    [warning] = await club.look("2027-01-09T04:00:00Z")
    assert (warning["kind"], warning["reason"]["days_before"]) == ("lapse_warning", 60)
    assert warning["reason"]["missing_points"] == 1, "the 1,000 points still live then; any purchase worth one keeps it"
    [warning] = await club.look("2027-03-01T04:00:00Z")
    assert warning["reason"]["days_before"] == 14
    assert kinds(await club.look("2027-03-09T22:59:59Z")) == []
    assert kinds(await club.look("2027-03-10T04:00:00Z")) == ["lapse"]
    assert kinds(await club.look("2027-05-01T04:00:00Z")) == []


async def test_a_month_has_room_for_so_many(club: Club, feed: Any) -> None:
    await feed.bought("M1", "p1", WON, 100)
    await club.consent("M1")
    for number in range(6):
        voucher = {"voucher_id": f"{number:032}", "value_cents": 500, "valid_until": "2026-04-30T22:00:00Z"}
        await club.notice("kundenclub.voucher.expiring-soon.v1", **voucher)
    assert len(await club.look()) == 4
    [held] = (await held_back_this_month(club.conn, club.programme, parse_instant(club.now))).values()
    assert [each.kind for each in held] == ["voucher_expiring"] * 2
    assert len(await club.look("2026-03-31T21:59:59Z")) == 0
    assert len(await club.look("2026-03-31T22:00:01Z")) == 2


async def test_what_loyalty_says_will_end_is_told_unless_it_is_used_before(club: Club, feed: Any) -> None:
    await feed.bought("M1", "p1", WON, 100)
    await club.consent("M1")
    voucher = {"voucher_id": VOUCHER, "value_cents": 500, "valid_until": "2026-12-31T23:00:00Z"}
    await club.notice("kundenclub.voucher.expiring-soon.v1", **voucher)
    await club.notice("kundenclub.points.expiring-soon.v1", points=420, expires_at="2026-12-31T23:00:00Z")
    await club.notice("kundenclub.voucher.redeemed.v1", voucher_id=VOUCHER)
    [contact] = await club.look()
    assert (contact["kind"], contact["reason"]["points"]) == ("points_expiring", 420)
    await club.notice("kundenclub.points.expiring-soon.v1", points=430, expires_at="2026-12-31T23:00:00Z")
    assert await club.look() == [], "told once a boundary"
    await club.look("2026-12-31T23:00:00Z")
    assert await club.conn.fetchval("SELECT count(*) FROM contact_notice") == 0


async def test_what_came_after_the_moment_of_a_look_is_told_by_the_next(club: Club, feed: Any) -> None:
    """The broker's clock, a till's and the job's differ, and a notice may be read by a look that began before it."""
    await feed.bought("M1", "p1", "2026-03-10T10:05:00Z", 100_000)
    await club.consent("M1")
    club.now = "2026-03-10T10:00:07Z"
    await club.notice("kundenclub.points.expiring-soon.v1", points=420, expires_at="2026-12-31T23:00:00Z")
    assert await club.look("2026-03-10T10:00:06Z") == []
    assert kinds(await club.look("2026-03-10T10:00:08Z")) == ["points_expiring"]
    assert kinds(await club.look("2026-03-10T10:05:01Z")) == ["promotion"]
    await feed(feed.joined("M1", "2026-03-10T10:06:00Z"))
    assert await club.look("2026-03-10T10:05:59Z") == []
    assert kinds(await club.look("2026-03-10T10:06:01Z")) == ["welcome"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"points": 1}, "invalid_structure"),
        ({"points": 1, "expires_at": "tomorrow"}, "invalid_instant"),
        ({"points": 1, "expires_at": "2026-12-31T23:00:00Z", "member_id": "M 1"}, "invalid_id"),
    ],
)
async def test_a_notice_that_breaks_its_contract_is_invalid(club: Club, data: dict[str, Any], reason: str) -> None:
    with pytest.raises(Invalid) as invalid:
        await club.notice("kundenclub.points.expiring-soon.v1", **data)
    assert invalid.value.reason == reason


async def test_members_are_invited_to_an_offer_of_their_level_once(club: Club, feed: Any) -> None:
    await feed(feed.purchase("M1", "p1", "2026-02-01T10:00:00Z", 300_000), feed.purchase("M2", "p1", WON, 100))
    await club.consent("M1")
    await club.consent("M2")
    assert await club.look() == []
    offer = {"kind": "event", "title": "Late", "least_level": "gold", "opens_at": "2026-03-11T00:00:00Z"}
    offer |= {"closes_at": "2026-05-01T00:00:00Z", "capacity": 1}  # type: ignore[dict-item]
    club.headers["Idempotency-Key"] = "1"
    assert (await club("POST", "/offers", json=offer)).status_code == 201
    assert await club.look("2026-03-10T20:00:00Z") == []
    [contact] = await club.look("2026-03-11T00:00:00Z")
    assert (contact["member_id"], contact["kind"], contact["reason"]["title"]) == ("M1", "invitation", "Late")
    assert kinds(await club.look("2026-04-20T00:00:00Z")) == []


async def test_a_survey_is_answered_once(club: Club, feed: Any) -> None:
    await feed.bought("M1", "p1", "2026-03-08T10:00:00Z", 100)
    await club.consent("M1")
    [contact] = await club.look("2026-03-11T04:00:00Z")
    survey = contact["reason"]["survey_id"]
    assert contact["reason"] == {"purchase_id": "p1", "best_score": 10, "survey_id": survey}
    path = f"/surveys/{survey}/answer"
    for score, status, code in ((11, 422, "malformed"), (-1, 422, "malformed"), (9, 200, None), (9, 200, None)):
        answer = await club("POST", path, json={"score": score})
        assert (answer.status_code, answer.json().get("code")) == (status, code)
    other = await club("POST", path, json={"score": 3})
    assert (other.status_code, other.json()["code"], other.json()["score"]) == (409, "survey_answered", 9)
    unknown = await club("POST", f"/surveys/{'0' * 32}/answer", json={"score": 1})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "survey_not_found")
    assert (await club("POST", "/surveys/x/answer", json={"score": 1})).status_code == 422
    report = "/reports/satisfaction?from=2026-03-01T00:00:00Z&to=2026-04-01T00:00:00Z"
    assert (await club("GET", report)).json() == {"asked": 1, "answered": 1, "by_score": {"9": 1}}


async def test_bad_consents_are_refused_by_name(club: Club, feed: Any) -> None:
    await feed.bought("M1", "p1", WON, 100)
    good = {"channel": "email", "granted": True, "source": "till", "decided_at": SOON}
    for wrong in (
        {"channel": "pigeon"},
        {"channel": "E-Mail"},
        {"granted": "yes"},
        {"source": ""},
        {"decided_at": "2026-03-10T10:10:05.000001Z"},
        {"decided_at": "2026-03-10"},
        {"until": SOON},
    ):
        answer = await club("PUT", "/members/M1/consent", json={"consents": [good | wrong]})
        assert (answer.status_code, answer.json()["code"]) == (422, "malformed"), wrong
    assert (await club("PUT", "/members/M1/consent", json={"consents": []})).status_code == 422
    on_time = good | {"decided_at": "2026-03-10T10:10:05Z"}
    assert (await club("PUT", "/members/M1/consent", json={"consents": [on_time]})).status_code == 200
    for method, path in (("PUT", "consent"), ("GET", "consent"), ("GET", "contacts")):
        body = {"json": {"consents": [good]}} if method == "PUT" else {}
        assert (await club(method, f"/members/nobody/{path}", **body)).json()["code"] == "member_not_found"
    club.headers = await credential(club.conn, "surveys:write", client="other")
    assert (await club("PUT", "/members/M1/consent", json={"consents": [good]})).status_code == 403


async def test_erasing_a_member_leaves_nothing_to_tell(club: Club, feed: Any) -> None:
    await feed.bought("M1", "p1", WON, 100_000)
    await club.consent("M1")
    await club.notice("kundenclub.points.expiring-soon.v1", points=4, expires_at="2026-12-31T23:00:00Z")
    await club.look("2026-03-14T00:00:00Z")
    account_no = await club.conn.fetchval("SELECT account_no FROM member")
    async with club.conn.transaction():
        await store.forget(club.conn, [account_no])
    for table in ("contact", "contact_watch", "contact_notice", "survey"):
        assert await club.conn.fetchval(f"SELECT count(*) FROM {table}") == 0, table


async def test_many_jobs_at_once_and_killed_ones_tell_each_thing_once(
    club: Club, feed: Any, database: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four jobs over the same members; some of their transactions are cut off just before they would commit."""
    monkeypatch.setattr(job, "LOOKS_AT_ONCE", 3)
    members = [f"M{number:02}" for number in range(12)]
    await feed(*(feed.purchase(member_id, "p1", WON, 100_000) for member_id in members))
    for member_id in members:
        await club.consent(member_id)

    async def pass_over(number: int) -> None:
        for attempt in range(6):
            conn = await connect(database.app_url, application_name=f"job-{number}", posting=True)
            after: int | None = 0
            while after is not None:
                if (number + attempt) % 3 == 0:
                    transaction = conn.transaction()
                    await transaction.start()
                    await tell_some(conn, club.programme, parse_instant(SOON), after)
                    conn.terminate()
                    break
                after = await tell_some(conn, club.programme, parse_instant(SOON), after)
            await close(conn)

    await asyncio.gather(*(pass_over(number) for number in range(4)))
    told = [msgspec.json.decode(message.value or b"") for message in await club.published()]
    assert sorted(each["member_id"] for each in told) == members
    assert await club.conn.fetchval("SELECT count(*) FROM contact") == len(members)


async def test_consent_withdrawn_while_the_job_decides_is_respected(
    club: Club, feed: Any, database: ServiceDatabase
) -> None:
    """The job has looked, and waits for the member whom a request holds that records a refusal."""
    await feed.bought("M1", "p1", WON, 100_000)
    await club.consent("M1", at="2026-03-10T10:00:01Z")
    other = await connect(database.app_url, application_name="tests", posting=True)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT FROM member FOR UPDATE")
    looking = asyncio.create_task(club.look())

    async def it_waits() -> bool:
        return bool(await other.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))

    await wait_until(it_waits)
    await other.execute(
        """
        INSERT INTO consent (account_no, channel, decided_at, granted, source, recorded_at, recorded_by)
        SELECT account_no, channel, decided_at + interval '1 s', false, '', recorded_at, '' FROM consent"""
    )
    await transaction.commit()
    await close(other)
    assert await looking == []


async def test_the_workers_part_goes_on_after_a_failure_and_runs_until_it_is_stopped(
    club: Club, feed: Any, database: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "LOOKS_AT_ONCE", 1)
    await feed(feed.purchase("M1", "p1", WON, 100_000), feed.purchase("M2", "p1", WON, 100_000))
    await club.consent("M1")
    await club.consent("M2")
    await club.conn.execute("UPDATE member SET timeline = '[]' WHERE member_id = 'M1'")
    stop = asyncio.Event()
    at_us = parse_instant(SOON)
    task = asyncio.create_task(ContactJob(database.app_url, club.programme, 0.05, clock=lambda: at_us).run(stop))

    async def told() -> bool:
        return bool(await club.conn.fetchval("SELECT count(*) FROM contact") == 1)

    await wait_until(told)
    stop.set()
    await task
