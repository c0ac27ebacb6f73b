"""Every message that a test makes a service store for publishing must be what contracts/ promises.

Messages pass one place, eventing.outbox.enqueue, in whichever process: here the tests' own is watched. What the
processes of a running system publish is read from Kafka at its end (tests/conftest.py). When everything was run, every
event type must have been seen at least once: a contract that nobody was held to is none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from published import Contract

SEEN = pytest.StashKey[set[str]]()
LIBRARIES = "libs/"


def _seen(config: pytest.Config) -> set[str]:
    return config.stash[SEEN]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SEEN] = set()


@pytest.fixture(scope="session")
def contract(request: pytest.FixtureRequest) -> Iterator[Contract]:
    """Judges the messages that services publish."""
    from published import Contract

    contract = Contract()
    yield contract
    _seen(request.config).update(contract.seen)


@pytest.fixture(autouse=True)
def _published_messages_keep_their_contract(request: pytest.FixtureRequest) -> Iterator[None]:
    outbox = sys.modules.get("eventing.outbox")
    if outbox is None or request.node.nodeid.startswith(LIBRARIES):  # those publish events of their own making
        yield
        return
    contract: Contract = request.getfixturevalue("contract")
    outbox.watchers.append(contract.watch)
    yield
    outbox.watchers.remove(contract.watch)
    complaints, contract.complaints = contract.complaints, []
    assert complaints == []


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _seen(node.config).update(getattr(node, "workeroutput", {}).get("published", ()))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["published"] = sorted(_seen(config))
    elif exitstatus == 0 and _everything_was_run(config) and (missing := _never_published(config)):
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"No test made a service publish {', '.join(missing)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _everything_was_run(config: pytest.Config) -> bool:
    options = config.option
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS and not (
        options.keyword or options.markexpr or options.collectonly or options.maxfail or config.getoption("lf", False)
    )


def _never_published(config: pytest.Config) -> list[str]:
    from published import Contract

    return sorted(Contract().own_types().difference(_seen(config)))
