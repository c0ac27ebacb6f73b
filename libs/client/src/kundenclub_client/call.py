"""A call as a value: what is asked of a service, before anybody asks."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

import msgspec

Result = TypeVar("Result")

IDEMPOTENCY_KEY = "Idempotency-Key"


@dataclass(frozen=True)
class Versioned(Generic[Result]):
    """An answer and what it is recognised by; `etag` is None where the service gives none."""

    value: Result
    etag: str | None


@dataclass(frozen=True)
class Call(Generic[Result]):
    """Sent by a client, once or again: every call here may be repeated without doing anything twice.

    Those that would do more the second time carry an Idempotency-Key, made with the call. So keep a call whose answer
    got lost, and send the same one again; a new call with a new key is a new thing to do.
    """

    operation_id: str
    method: str
    template: str
    result: Any = field(repr=False)
    """The type of the result, as msgspec decodes it; None: there is none."""
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str | int] = field(default_factory=dict)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    """Not shown: voucher codes are secrets."""
    idempotency_key: str | None = None

    @property
    def url(self) -> str:
        """The path with its parameters in it."""
        return self.template.format(**{name: quote(value, safe="") for name, value in self.path.items()})

    @property
    def headers(self) -> dict[str, str]:
        """Those of this call alone."""
        return {} if self.idempotency_key is None else {IDEMPOTENCY_KEY: self.idempotency_key}

    def read(self, content: bytes) -> Result:
        """The result in an answer's body. Raises msgspec.DecodeError; fields it does not know are passed over."""
        if self.result is None:
            return cast(Result, None)
        result: Result = msgspec.json.decode(content, type=self.result)
        return result


def new_key() -> str:
    """A key for something that is to happen once."""
    return str(uuid.uuid4())


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
