"""`loyalty migrate`: brings the schema up to date as the database's owner and grants to the application's role."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from alembic import command
from alembic.config import Config


def alembic_config(owner_url: str, app_role: str) -> Config:
    """Alembic's configuration in code: an installed package carries its migrations but no alembic.ini."""
    config = Config()
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    config.attributes.update(owner_url=owner_url, app_role=app_role)
    return config


def upgrade(owner_url: str, app_url: str) -> None:
    """Run the migrations that are missing. Raises `OSError` or an `asyncpg`/SQLAlchemy error."""
    command.upgrade(alembic_config(owner_url, role_of(app_url)), "head")


def role_of(url: str) -> str:
    """The role that a database URL logs in as."""
    return unquote(urlsplit(url).username or "")


def _migrations() -> Path:
    installed = Path(__file__).parent / "migrations"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "migrations"
