"""`kundenclub simulate` without any server: what is read, what is printed, what other terms would have changed."""

import json
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from devstack.forked_scripts import ForkedScripts
from kundenclub.contracts import read_topic_by_type
from kundenclub.simulate import state_lines, what_if
from kundenclub.simulate_reading import Account, Histories, first_of_each, read_histories
from kundenclub.simulate_what_if import compare, to_json, to_lines
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED, Purchase, Return
from programme.instants import parse_instant
from programme.state import MemberState
from programme.terms import load_programme, parse_programme
from programme.timeline import BASIS

CONTRACTS = Path(__file__).parents[3] / "contracts"
TOML = (CONTRACTS / "programme.toml").read_text(encoding="utf-8")
PROGRAMME = load_programme(CONTRACTS / "programme.toml")
LOWER_SILVER = TOML.replace("silver = 1000", "silver = 100")
TOPICS = read_topic_by_type(CONTRACTS)
NOW_US = parse_instant("2026-11-22T00:00:00Z")
CASES = [json.loads(line) for line in (CONTRACTS / "conformance" / "cases.jsonl").read_text().splitlines()]
LOYALTY_KEYS = ("member_id", "balance", "earned", "bonus", "spent", "expired", "adjusted", "purchases", "digest")
CUSTOMER_STATUS_KEYS = ("member_id", "level", "timeline", "purchases", "digest")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def bought(
    purchase_id: str, cents: int, member_id: str = "M1", at: str = "2026-01-10T10:00:00Z", **extra: Any
) -> bytes:
    line = {"line": 1, "product_class": "goods", "quantity": 1, "amount_cents": cents}
    data = {"purchase_id": purchase_id, "member_id": member_id, "occurred_at": at, "currency": "EUR", "lines": [line]}
    return json.dumps({"type": PURCHASE_COMPLETED, "data": data | extra}).encode() + b"\n"


def gave_back(return_id: str, of: str, member_id: str = "M1", at: str = "2026-02-10T10:00:00Z") -> bytes:
    data = {"return_id": return_id, "purchase_id": of, "member_id": member_id, "occurred_at": at, "complete": True}
    return json.dumps({"type": PURCHASE_RETURNED, "data": data | {"lines": []}}).encode() + b"\n"


def read(*lines: bytes) -> tuple[Histories, Account]:
    return read_histories(lines, TOPICS, NOW_US)


def loyalty_states(*lines: bytes, at: str | None = None) -> list[dict[str, Any]]:
    at_us = None if at is None else parse_instant(at)
    return [json.loads(text) for text in state_lines(*read(*lines), PROGRAMME, "loyalty", at_us, NOW_US)]


@pytest.fixture
def run(tmp_path: Path, scripts: ForkedScripts) -> Run:
    """`run(*arguments, lines=...)`: the command; `lines` are its standard input."""

    def run(*arguments: str, lines: bytes = b"") -> "subprocess.CompletedProcess[str]":
        env = {"CONTRACTS_DIR": str(CONTRACTS)}
        return scripts.run("kundenclub", "simulate", *arguments, env=env, cwd=tmp_path, input=lines, timeout=60)

    return run


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_every_conformance_case_is_told_in_the_words_of_both_services(case: dict[str, Any]) -> None:
    lines = [json.dumps(event).encode() for event in case["events"]]
    now_us = parse_instant(case["now"])
    for service, keys in (("loyalty", LOYALTY_KEYS), ("customer-status", CUSTOMER_STATUS_KEYS)):
        printed = [
            json.loads(line)
            for line in state_lines(*read(*lines), PROGRAMME, service, None, now_us)  # type: ignore[arg-type]
        ]
        told = {"spent": 0, "adjusted": 0}
        expected = [
            told | {"balance": each.get("earned", 0) - each.get("expired", 0)} | each for each in case["expect"]
        ]
        assert [tuple(state) for state in printed] == [keys] * len(expected)
        assert printed == [{key: each[key] for key in keys} for each in expected]


def test_members_come_by_their_bytes_and_each_keeps_what_was_packed() -> None:
    voucher = "0" * 31 + "a"
    histories, account = read(
        bought("p1", 2190, "a", vouchers=[voucher]), bought("p1", 100, "B"), gave_back("r1", "p1", "a")
    )
    assert [(history.member_id, len(history.facts)) for history in histories] == [("B", 1), ("a", 2)]
    assert account.accepted == 3
    assert list(histories)[1].facts == [
        Purchase("a", "p1", parse_instant("2026-01-10T10:00:00Z"), {"goods": 2190}, (voucher,)),
        Return("a", "r1", "p1", parse_instant("2026-02-10T10:00:00Z"), {}, True),
    ]


def test_of_one_key_the_first_event_counts() -> None:
    first, other = (Purchase("M1", "x", 0, {"goods": cents}, ()) for cents in (1, 2))
    same_name = Return("M1", "x", "x", 0, {"goods": 1}, False)
    history = first_of_each("M1", [first, Purchase("M1", "x", 0, {"goods": 1}, ()), other, same_name, other])
    assert (history.facts, history.repeats, history.conflicts) == ([first, same_name], 1, 2)


def test_a_conflict_with_a_later_date_does_not_bring_back_the_one_it_lost_to() -> None:
    """The first in the log stays, also where only the other lies before the instant asked for."""
    first, other = bought("p1", 100, at="2026-03-01T10:00:00Z"), bought("p1", 900, at="2026-01-01T10:00:00Z")
    assert loyalty_states(first, other, at="2026-02-01T00:00:00Z") == []
    assert [state["earned"] for state in loyalty_states(first, other)] == [1]


def test_at_leaves_out_what_happened_later_and_whom_nothing_had_happened_to() -> None:
    lines = (bought("p1", 2190), gave_back("r1", "p1"), bought("p2", 100, "M2", at="2026-02-01T10:00:00Z"))
    assert [(s["member_id"], s["earned"]) for s in loyalty_states(*lines, at="2026-01-31T00:00:00Z")] == [("M1", 21)]
    assert [(s["member_id"], s["earned"]) for s in loyalty_states(*lines)] == [("M1", 0), ("M2", 1)]


def test_points_expire_as_of_the_instant_asked_for() -> None:
    line = bought("p1", 2190, at="2021-01-10T10:00:00Z")
    [before], [after] = loyalty_states(line, at="2024-12-31T22:59:59Z"), loyalty_states(line)
    assert (before["balance"], before["expired"]) == (21, 0)
    assert (after["balance"], after["expired"]) == (0, 21)


def test_every_line_is_accounted_for() -> None:
    histories, account = read(
        bought("p1", 100),
        b"\n",
        bought("p1", 100),
        bought("p1", 200),
        bought("p2", 100, currency="USD"),
        bought("p3", 100, at="2026-11-22T00:10:00.000001Z"),
        b"no JSON\n",
        json.dumps({"type": "kundenclub.member.joined.v1", "data": {"member_id": "M9"}}).encode(),
        json.dumps({"type": PURCHASE_COMPLETED, "data": {"purchase_id": "p9"}}).encode(),
    )
    list(state_lines(histories, account, PROGRAMME, "loyalty", None, NOW_US))
    told = list(account.lines())
    assert told[:8] == [
        "3 events accepted",
        "  1 repeats: they do nothing",
        "  1 conflicts: the first event of each key counts",
        "  1 purchases without a member",
        "  1 events that are no purchases: left out",
        "  1 refused: in_the_future",
        "  1 refused: unsupported_currency",
        "  1 lines that cannot be published",
    ]
    assert [line.split(":")[0] for line in told[8:]] == ["  line 5", "  line 6", "  line 7"]


def test_many_refused_lines_are_counted_and_the_first_ones_named() -> None:
    _, account = read(*[bought("p1", 100, currency="USD")] * 30)
    told = list(account.lines())
    assert told[1] == "  30 refused: unsupported_currency"
    assert (len(told), told[-1]) == (13, "  ... and 20 lines more")


def test_a_kept_event_is_hardly_larger_than_its_ids() -> None:
    """Years of a chain have to fit into memory; as Python objects the same events take more than five times as much."""
    ids = [(f"s0367-t02-20261122-{number:06}", f"M{number % 250:07}") for number in range(5_000)]
    tracemalloc.start()
    histories, _ = read_histories(
        (bought(purchase_id, 2190, member_id) for purchase_id, member_id in ids), TOPICS, NOW_US
    )
    kept_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(len(history.facts) for history in histories) == 5_000
    assert kept_bytes / 5_000 < 100


def state(level: str, earned: int, bonus: int = 0, expired: int = 0) -> MemberState:
    return MemberState("M", 1, earned, bonus, expired, "", level, BASIS)


def test_members_are_added_up_by_level_before_and_after() -> None:
    found = compare(
        [
            (state("basis", 100), state("silver", 110, 10)),
            (state("silver", 50, 5, 1), state("silver", 60, 15, 2)),
            (state("silver", 7), state("basis", 7)),
        ]
    )
    assert found.moved == {("basis", "silver"): 1, ("silver", "basis"): 1}
    assert found.by_level["silver"].before == (2, 2, 57, 5, 1)
    assert found.by_level["silver"].after == (2, 2, 170, 25, 2)
    assert (found.total.before, found.total.after) == ((3, 3, 157, 5, 1), (3, 3, 177, 25, 2))
    told = to_json(found)
    assert told["levels"]["basis"]["earned"] == {"before": 100, "after": 7, "difference": -93}
    assert told["levels"]["gold"]["members"] == {"before": 0, "after": 0, "difference": 0}
    assert told["total"]["bonus"] == {"before": 5, "after": 25, "difference": 20}
    assert told["moved"] == [
        {"from": "basis", "to": "silver", "members": 1},
        {"from": "silver", "to": "basis", "members": 1},
    ]
    table = [line.split() for line in to_lines(found)]
    assert ["points", "earned", "157", "177", "+20"] in table
    assert ["basis", "to", "silver", "1"] in table


def test_other_terms_rate_the_same_history_anew() -> None:
    lines = [bought("p1", 10_000), bought("p2", 10_000, at="2026-03-01T10:00:00Z"), bought("p3", 5_000, "M2")]
    found = what_if(*read(*lines), PROGRAMME, parse_programme(LOWER_SILVER), None, NOW_US)
    assert found.total.before == (2, 3, 250, 0, 0)
    assert found.total.after == (2, 3, 260, 10, 0)
    assert found.moved == {("basis", "silver"): 1}


def test_standard_input_is_a_file_like_any_other(run: Run, tmp_path: Path) -> None:
    lines = bought("p1", 2190) + bought("p2", 100, currency="USD")
    (tmp_path / "events.jsonl").write_bytes(lines)
    piped, named = run("-", lines=lines), run("events.jsonl")
    assert (piped.returncode, piped.stdout, piped.stderr) == (named.returncode, named.stdout, named.stderr)
    assert (piped.returncode, json.loads(piped.stdout)["earned"]) == (0, 21)
    assert piped.stderr.splitlines()[:2] == ["1 events accepted", "  1 refused: unsupported_currency"]
    assert json.loads(run("-", "--service", "customer-status", lines=lines).stdout)["level"] == "basis"
    assert run("-", "--at", "2026-01-01T00:00:00Z", lines=lines).stdout == ""


def test_a_line_that_publish_would_not_take_is_exit_status_1(run: Run) -> None:
    done = run("-", lines=bought("p1", 2190) + b"no JSON\n")
    assert (done.returncode, json.loads(done.stdout)["earned"]) == (1, 21)


def test_what_if_is_a_table_or_json(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(LOWER_SILVER)
    lines = bought("p1", 10_000) + bought("p2", 10_000, at="2026-03-01T10:00:00Z")
    told = json.loads(run("-", "--programme", "other.toml", "--json", lines=lines).stdout)
    assert told["total"]["earned"] == {"before": 200, "after": 210, "difference": 10}
    table = run("-", "--programme", "other.toml", lines=lines)
    assert (table.returncode, table.stdout.split()[:3]) == (0, ["before", "after", "difference"])


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["missing.jsonl"], 1, "missing.jsonl: No such file or directory"),
        (["-", "--programme", "bad.toml"], 1, "bad.toml: gap: the first terms must be valid from 2000-01-01"),
        (["-", "--at", "yesterday"], 2, "not an RFC 3339 instant"),
        (["-", "--json"], 2, "goes with --programme"),
        (["-", "--programme", "bad.toml", "--service", "loyalty"], 2, "--programme compares"),
    ],
)
def test_what_cannot_be_done_is_told(arguments: list[str], code: int, told: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(TOML.replace("2000-01-01", "2001-01-01"))
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
