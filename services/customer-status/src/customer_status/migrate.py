"""Brings the database to the newest schema as its owner, and grants the application role what it needs."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import make_url


def alembic_config(owner_url: str, app_role: str) -> Config:
    """Alembic's settings in code: an installed wheel carries the migrations, but no alembic.ini."""
    config = Config()
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    config.attributes.update(owner_url=owner_url, app_role=app_role)
    return config


def upgrade(owner_url: str, app_url: str) -> None:
    """Run the migrations that are missing. Raises OSError or an asyncpg or SQLAlchemy error."""
    command.upgrade(alembic_config(owner_url, role_of(app_url)), "head")


def role_of(app_url: str) -> str:
    """The role the service works as: the user its address names. It must exist."""
    return make_url(app_url).username or ""


def _migrations() -> Path:
    """In a wheel they are part of the package, in the source tree they stand beside `src`."""
    installed = Path(__file__).parent / "migrations"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "migrations"
