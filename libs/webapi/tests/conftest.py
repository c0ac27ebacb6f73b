"""A database with the library's own tables, a table of things, and applications over it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from devstack.databases import ServiceDatabase
from fastapi import APIRouter, FastAPI
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable
from webapi.app import build_app
from webapi.attempts import failed_attempt_table
from webapi.idempotency import idempotency_key_table
from webapi.keys import api_key_table

POOL_SIZE = 4
DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

THINGS = """
CREATE TABLE thing (thing_id text PRIMARY KEY, size int NOT NULL);
CREATE FUNCTION refuse_thing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.size = 13 THEN RAISE EXCEPTION 'no thing of size 13'; END IF;
    IF NEW.size = 14 THEN RAISE EXCEPTION 'busy' USING ERRCODE = 'serialization_failure'; END IF;
    IF NEW.size = 15 THEN RAISE EXCEPTION 'locked' USING ERRCODE = 'lock_not_available'; END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER refuse_thing AFTER INSERT ON thing
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_thing();
GRANT SELECT, INSERT ON thing TO webapi_app;
GRANT SELECT, INSERT, UPDATE ON api_key TO webapi_app;
GRANT SELECT, INSERT, DELETE ON idempotency_key TO webapi_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON failed_attempt TO webapi_app;
"""


def create_tables(database: ServiceDatabase) -> None:
    metadata = sa.MetaData()
    tables = [api_key_table(metadata), idempotency_key_table(metadata), failed_attempt_table(metadata)]
    statements = [str(CreateTable(table).compile(dialect=DIALECT)) for table in tables]

    async def run() -> None:
        connection = await asyncpg.connect(database.owner_url)
        try:
            await connection.execute(";".join([*statements, THINGS]))
        finally:
            await connection.close()

    asyncio.run(run())


@pytest.fixture
def database(service_database: Callable[..., ServiceDatabase]) -> ServiceDatabase:
    return service_database("webapi", prepare=create_tables)


@pytest.fixture
async def connection(database: ServiceDatabase) -> AsyncIterator[asyncpg.Connection]:
    """As the application, beside the application."""
    connection = await asyncpg.connect(database.app_url)
    yield connection
    await connection.close()


@pytest.fixture
async def owner(database: ServiceDatabase) -> AsyncIterator[asyncpg.Connection]:
    """As the owner of the tables, beside the application."""
    connection = await asyncpg.connect(database.owner_url)
    yield connection
    await connection.close()


@pytest.fixture
def build(database: ServiceDatabase) -> Callable[..., FastAPI]:
    """`build(router, ...)`: an application over the test's database."""

    async def open_pool() -> "asyncpg.Pool[asyncpg.Record]":
        return await asyncpg.create_pool(database.app_url, min_size=1, max_size=POOL_SIZE)

    def build(*routers: APIRouter, **options: Any) -> FastAPI:
        defaults = {"title": "things", "version": "1", "open_pool": open_pool, "development": False}
        return build_app(routers=routers, **{**defaults, **options})

    return build
