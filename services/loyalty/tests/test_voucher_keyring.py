"""A process that lacks a key that vouchers were issued under does not start."""

import os
from pathlib import Path

import asyncpg
import pytest
from devstack import ServiceDatabase
from devstack.forked_scripts import ForkedScripts
from eventing.failures import WorkerStopped
from loyalty.vouchers.codes import VoucherKeys, voucher_id
from loyalty.vouchers.keyring import refuse_wrong_keys

CONTRACTS = Path(__file__).parents[3] / "contracts"
OLD, NEW, OTHER = (bytes([n]) * 32 for n in range(3))
ISSUE = """
    INSERT INTO voucher (voucher_no, voucher_id, key_version, account_no, reward, value_cents, points, issued_at,
                         valid_until, posted_points)
    OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, 1, 'voucher-5', 500, 500, now(), now(), 500)
"""


@pytest.fixture
async def issued(conn: asyncpg.Connection) -> None:
    """By two versions of the key, the newer one between vouchers of the older one."""
    keys = VoucherKeys({3: OLD, 7: NEW})
    for number, version in ((1, 3), (2, 7), (5, 3)):
        await conn.execute(ISSUE, number, voucher_id(keys.code(number, version)), version)


async def test_all_keys_there_are(conn: asyncpg.Connection, issued: None) -> None:
    await refuse_wrong_keys(conn, VoucherKeys({3: OLD, 7: NEW}))
    await refuse_wrong_keys(conn, VoucherKeys({3: OLD, 7: NEW, 8: OTHER}))


async def test_before_the_first_voucher_any_key_will_do(conn: asyncpg.Connection) -> None:
    await refuse_wrong_keys(conn, VoucherKeys({1: OTHER}))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({7: NEW}, "lacks version 3,"),
        ({3: OLD}, "lacks version 7,"),
        ({3: OLD, 7: OTHER}, "another key of version 7 "),
        ({3: NEW, 7: OLD}, "another key of version 3 "),
    ],
)
async def test_a_key_that_is_missing_or_another_one(
    conn: asyncpg.Connection, issued: None, keys: dict[int, bytes], told: str
) -> None:
    with pytest.raises(WorkerStopped, match=told):
        await refuse_wrong_keys(conn, VoucherKeys(keys))


async def test_the_process_ends_with_one_line(
    database: ServiceDatabase, issued: None, scripts: ForkedScripts, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "LOYALTY_DATABASE_URL": database.app_url,
        "LOYALTY_ERASURE_KEY": "ee" * 32,
        "LOYALTY_VOUCHER_KEYS": f"7:{NEW.hex()}",
        "LOYALTY_HTTP_PORT": "0",
        "LOYALTY_METRICS_PORT": "0",
        "CONTRACTS_DIR": str(CONTRACTS),
    }
    done = scripts.run("loyalty", "api", env=environment, cwd=tmp_path, timeout=60)
    told = [line for line in done.stderr.splitlines() if "api_stopped" in line]
    assert (done.returncode, len(told)) == (1, 1)
    assert "LOYALTY_VOUCHER_KEYS lacks version 3" in told[0]
    assert "Traceback" not in done.stderr
    assert NEW.hex() not in done.stderr
