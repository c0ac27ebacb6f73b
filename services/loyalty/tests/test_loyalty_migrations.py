"""The migrations and the models describe the same schema."""

import subprocess
import sys

from alembic import command
from alembic.script import ScriptDirectory
from devstack import ServiceDatabase
from eventing.migrations import alembic_config
from eventing.schema_version import versions
from loyalty.migrate import SCRIPTS


def test_models_and_migrations_agree(database: ServiceDatabase) -> None:
    command.check(alembic_config(SCRIPTS, database.owner_url, database.app_url))


def test_processes_read_the_versions_that_alembic_sees() -> None:
    directory = ScriptDirectory(str(SCRIPTS))
    assert versions(SCRIPTS).head == directory.get_current_head()
    assert versions(SCRIPTS).known == {script.revision for script in directory.walk_revisions()}


def test_no_process_loads_alembic() -> None:
    """It takes a third of the time of a start, and memory for as long as the process runs."""
    program = "import loyalty.main, loyalty.worker, sys; sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
