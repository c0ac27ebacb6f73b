"""`kundenclub simulate`: the pure rules over a file of events, without any server.

Prints what `loyalty state` or `customer-status state` prints once these events, and no others, were published; or
what other terms would have done to them. Events alone spend nothing, so `spent` and `adjusted` are 0.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
from customer_status.audit.state import MemberState as CustomerStatusState
from loyalty.audit.state import MemberState as LoyaltyState
from programme.state import MemberState, state_of
from programme.terms import Programme, ProgrammeError, load_programme
from programme.timeline import steps_to_json

from kundenclub.contracts import read_topic_by_type
from kundenclub.errors import Explained
from kundenclub.publish import opened
from kundenclub.simulate_reading import Account, Histories, History, read_histories
from kundenclub.simulate_what_if import WhatIf, compare, to_json, to_lines

Service = Literal["loyalty", "customer-status"]


def run(
    file: str, contracts: Path, at_us: int | None, service: Service, other_terms: Path | None, as_json: bool
) -> bool:
    """Print states to standard output, or the comparison with `other_terms`; the account of lines to standard error.

    False: some lines could not even be published. Raises Explained, OSError.
    """
    programme = _load(contracts / "programme.toml")
    other = None if other_terms is None else _load(other_terms)
    topic_by_type, now_us = read_topic_by_type(contracts), time.time_ns() // 1000
    with opened(file) as stream:
        histories, account = read_histories(stream, topic_by_type, received_us=now_us)
    if other is None:
        _print(state_lines(histories, account, programme, service, at_us, now_us))
    else:
        found = what_if(histories, account, programme, other, at_us, now_us)
        _print([msgspec.json.encode(to_json(found)).decode()] if as_json else to_lines(found))
    sys.stderr.writelines(f"{line}\n" for line in account.lines())
    return account.unreadable == 0


def state_lines(
    histories: Histories, account: Account, programme: Programme, service: Service, at_us: int | None, now_us: int
) -> Iterator[str]:
    """One JSON object a member; with `at_us` of what had happened by then, else with level and expiry of `now_us`.

    Repeats and conflicts are counted in `account` on the way.
    """
    encoder = msgspec.json.Encoder()
    for history in histories:
        account.count(history)
        state = _state(programme, history, at_us, now_us)
        if state is not None:
            told = _loyalty(state) if service == "loyalty" else _customer_status(state)
            yield encoder.encode(told).decode()


def what_if(
    histories: Histories, account: Account, programme: Programme, other: Programme, at_us: int | None, now_us: int
) -> WhatIf:
    """The same members under both programmes, added up. Counts repeats and conflicts in `account`."""

    def pairs() -> Iterator[tuple[MemberState, MemberState]]:
        for history in histories:
            account.count(history)
            before = _state(programme, history, at_us, now_us)
            after = _state(other, history, at_us, now_us)
            if before is not None and after is not None:
                yield before, after

    return compare(pairs())


def _state(programme: Programme, history: History, at_us: int | None, now_us: int) -> MemberState | None:
    """None: nothing of the member had happened by `at_us`."""
    facts = [fact for fact in history.facts if at_us is None or fact.occurred_us <= at_us]
    if not facts:
        return None
    [state] = state_of(programme, facts, now_us if at_us is None else at_us)
    return state


def _loyalty(state: MemberState) -> LoyaltyState:
    return LoyaltyState(
        member_id=state.member_id,
        balance=state.earned - state.expired,
        earned=state.earned,
        bonus=state.bonus,
        spent=0,
        expired=state.expired,
        adjusted=0,
        purchases=state.purchases,
        digest=state.digest,
    )


def _customer_status(state: MemberState) -> CustomerStatusState:
    return CustomerStatusState(
        member_id=state.member_id,
        level=state.level,
        timeline=steps_to_json(state.timeline),
        purchases=state.purchases,
        digest=state.digest,
    )


def _load(file: Path) -> Programme:
    try:
        return load_programme(file)
    except ProgrammeError as error:
        raise Explained(f"{file}: {error}") from None


def _print(lines: Iterable[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)
