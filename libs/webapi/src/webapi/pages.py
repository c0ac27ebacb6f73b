"""Long lists in pages: a cursor says after which row the next one begins, so rows added meanwhile move nothing."""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

from fastapi import Depends, Query
from pydantic import ConfigDict

from webapi.models import Model
from webapi.problems import Malformed

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
MAX_CURSOR_CHARACTERS = 500

Item = TypeVar("Item")
Row = TypeVar("Row")
Key = tuple[int | str, ...]


class PageOf(Model, Generic[Item]):
    """`next_cursor` is null on the last page."""

    model_config = ConfigDict(json_schema_extra={"description": "One page; `next_cursor` is null on the last one."})

    items: list[Item]
    next_cursor: str | None


class Page(NamedTuple):
    """The page asked for: at most `limit` rows, those after the key `after`, the first ones if that is None."""

    limit: int
    after: Key | None

    @property
    def fetch(self) -> int:
        """How many rows to select: one more than are shown tells whether there is a next page."""
        return self.limit + 1

    def split(self, rows: Sequence[Row], key: Callable[[Row], Key]) -> tuple[Sequence[Row], str | None]:
        """Of `fetch` rows, in order: the ones to show and the cursor of the next page."""
        shown = rows[: self.limit]
        return shown, encode_cursor(key(shown[-1])) if len(rows) > self.limit else None


def paged(*kinds: type[int] | type[str]) -> Any:
    """Use as `page: Annotated[Page, paged(int)]`; `kinds` are the types of the columns the list is sorted by."""

    async def page(
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many at most")] = DEFAULT_LIMIT,
        cursor: Annotated[
            str | None, Query(max_length=MAX_CURSOR_CHARACTERS, description="The `next_cursor` of the page before")
        ] = None,
    ) -> Page:
        return Page(limit, None if cursor is None else decode_cursor(cursor, kinds))

    return Depends(page)


def encode_cursor(key: Key) -> str:
    text = json.dumps(key, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, kinds: Sequence[type[int] | type[str]]) -> Key:
    """Raises Malformed for anything that `encode_cursor` cannot have made of a key of these `kinds`."""
    try:
        key = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        key = None
    if not isinstance(key, list) or [type(value) for value in key] != list(kinds) or not all(map(_storable, key)):
        raise Malformed.at("query", "cursor", "use a next_cursor as it was given")
    return tuple(key)


def _storable(value: int | str) -> bool:
    """Whether a column could hold it: a forged cursor must not be the database's problem."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value.isprintable()  # so neither NUL nor half a surrogate pair
