"""Every test's published messages are judged: contracts/tests/support/published_plugin.py."""

pytest_plugins = ["published_plugin"]
