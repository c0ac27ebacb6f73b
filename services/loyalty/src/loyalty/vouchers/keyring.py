"""Refusing to work without a key that vouchers were issued under: their codes could not be shown or repeated."""

from eventing.failures import WorkerStopped

from loyalty.points.store import Connection
from loyalty.vouchers import key_store
from loyalty.vouchers.codes import VoucherKeys, voucher_id


async def refuse_wrong_keys(conn: Connection, keys: VoucherKeys) -> None:
    """At the start of the HTTP process. Raises WorkerStopped if a key is missing or is not the one it was."""
    for issued in await key_store.newest_by_key_version(conn):
        version = issued.key_version
        if version not in keys.keys:
            raise WorkerStopped(f"LOYALTY_VOUCHER_KEYS lacks version {version}, under which vouchers were issued")
        if voucher_id(keys.code(issued.voucher_no, version)) != issued.voucher_id:
            raise WorkerStopped(f"LOYALTY_VOUCHER_KEYS has another key of version {version} than vouchers were made by")
