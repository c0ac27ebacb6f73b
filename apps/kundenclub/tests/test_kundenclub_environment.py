"""Variables as shells read them, and ports that are taken."""

import socket
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from kundenclub.environment import PortsTaken, Secrets, free_ports, read_env_file, write_env_file

VALUES = {"PLAIN": "127.0.0.1:9092", "WITH_SPACES": "a b", "WITH_QUOTES": "it's $HOME", "API_KEY": "kc_a_b"}


def test_a_shell_reads_the_file_as_it_was_meant_and_nobody_else_can(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.touch(mode=0o644)
    write_env_file(file, VALUES)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    script = f'. {file}; printf \'%s\\n\' "$PLAIN" "$WITH_SPACES" "$WITH_QUOTES" "$API_KEY"'
    read = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert read.splitlines() == list(VALUES.values())
    assert read_env_file(file) == VALUES


def test_secrets_are_kept_with_the_data_and_new_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "env"
    first = Secrets.kept_in(file)
    assert first != Secrets.new()
    values = {
        "API_KEY": first.api_key,
        "LOYALTY_VOUCHER_KEYS": first.voucher_keys,
        "LOYALTY_ERASURE_KEY": first.loyalty_erasure_key,
        "CUSTOMER_STATUS_ERASURE_KEY": first.customer_status_erasure_key,
    }
    write_env_file(file, values)
    assert Secrets.kept_in(file) == first


def test_a_taken_port_is_named() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(PortsTaken, match=rf"{port} \(loyalty\)"):
            replace(free_ports(), loyalty=port).check_free()
