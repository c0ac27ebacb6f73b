import base64
from collections.abc import Callable
from typing import Annotated

import asyncpg
import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from webapi import testing
from webapi.auth import require
from webapi.database import RequestSnapshot
from webapi.pages import MAX_LIMIT, Page, PageOf, decode_cursor, encode_cursor, paged
from webapi.problems import Malformed

router = APIRouter(dependencies=[require()])


@router.get("/v1/things")
async def list_things(snapshot: RequestSnapshot, page: Annotated[Page, paged(int, str)]) -> PageOf[str]:
    rows = await snapshot.fetch(
        """
        SELECT size, thing_id FROM thing WHERE $1::int IS NULL OR (size, thing_id) > ($1, $2)
        ORDER BY size, thing_id LIMIT $3
        """,
        *(page.after or (None, None)),
        page.fetch,
    )
    shown, next_cursor = page.split(rows, lambda row: (row["size"], row["thing_id"]))
    return PageOf(items=[row["thing_id"] for row in shown], next_cursor=next_cursor)


@pytest.mark.parametrize("limit", [1, 2, 5, 9, 10, 11, MAX_LIMIT])
async def test_walking_the_pages(build: Callable[..., FastAPI], connection: asyncpg.Connection, limit: int) -> None:
    things = [(f"t{number}", number // 4) for number in range(10)]
    await connection.executemany("INSERT INTO thing VALUES ($1, $2)", things)
    seen, parameters, pages = [], {"limit": str(limit)}, 0
    async with testing.running(build(router)) as client:
        client.headers.update(await testing.credential(connection, "things:read"))
        while pages <= len(things):
            page = (await client.get("/v1/things", params=parameters)).json()
            seen += page["items"]
            pages += 1
            if page["next_cursor"] is None:
                break
            parameters["cursor"] = page["next_cursor"]
    assert seen == [thing_id for thing_id, _ in things]
    assert pages == -(-len(things) // limit)


@pytest.mark.parametrize(
    "query", ["limit=0", f"limit={MAX_LIMIT + 1}", "limit=x", "cursor=", "cursor=%00", "cursor=" + "a" * 501]
)
async def test_wrong_questions(build: Callable[..., FastAPI], connection: asyncpg.Connection, query: str) -> None:
    async with testing.running(build(router)) as client:
        client.headers.update(await testing.credential(connection, "things:read"))
        answer = await client.get(f"/v1/things?{query}")
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["pointer"] == "#/" + query.partition("=")[0]


@given(st.integers(-(2**63), 2**63 - 1), st.text(st.characters(categories=["L", "N", "P"])))
def test_a_cursor_comes_back_as_it_was(number: int, text: str) -> None:
    assert decode_cursor(encode_cursor((number, text)), (int, str)) == (number, text)


@given(st.text(max_size=40))
def test_no_text_makes_decoding_fail_otherwise(cursor: str) -> None:
    with pytest.raises(Malformed):
        decode_cursor(cursor, (int, str, int))


@pytest.mark.parametrize(
    "forged",
    [
        "[1]",
        '["a",1]',
        '[1,"a",1]',
        '[true,"a"]',
        '[1.0,"a"]',
        "[1,null]",
        "{}",
        "7",
        "[" * 300,
        '[9223372036854775808,"a"]',
        '[1,"\\u0000"]',
        '[1,"\\ud800"]',
    ],
)
def test_forged_cursors(forged: str) -> None:
    with pytest.raises(Malformed):
        decode_cursor(base64.urlsafe_b64encode(forged.encode()).decode().rstrip("="), (int, str))
