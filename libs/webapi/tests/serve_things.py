"""A small service as a program: `serve_things.py DATABASE_URL PORT METRICS_PORT`."""

import sys
from typing import Annotated

import asyncpg
from fastapi import APIRouter
from webapi.app import build_app
from webapi.auth import Caller, require
from webapi.database import RequestTransaction
from webapi.models import Model
from webapi.server import serve


class Text(Model):
    text: str


router = APIRouter()


@router.post("/v1/wait")
async def wait(transaction: RequestTransaction, caller: Annotated[Caller, require("things:write")]) -> str:
    await transaction.execute("SELECT pg_advisory_xact_lock(7)")
    return "waited"


@router.post("/v1/echo")
async def echo(text: Text, caller: Annotated[Caller, require("things:write")]) -> str:
    return text.text


def main(url: str, port: str, metrics_port: str) -> None:
    async def open_pool() -> "asyncpg.Pool[asyncpg.Record]":
        return await asyncpg.create_pool(url, min_size=1, max_size=2)

    app = build_app(title="things", version="1", routers=[router], open_pool=open_pool, development=False)
    serve(app, "127.0.0.1", int(port), int(metrics_port))


if __name__ == "__main__":
    main(*sys.argv[1:])
