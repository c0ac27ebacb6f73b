"""Schemathesis' requests made to reach further: known members and vouchers, keys that are new."""

import itertools
import json
import os
import re
from typing import Any

import schemathesis

KNOWN: dict[str, list[str]] = json.loads(os.environ["KUNDENCLUB_FUZZ_KNOWN"])
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,200}")

_numbers = itertools.count()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Every other request names what there is; the others keep what was made up.

    A used Idempotency-Key is refused for another request, whatever the document says, so it gets a number. And 5.0 is
    an integer to JSON Schema, but not to the services, which guess nothing.
    """
    number = next(_numbers)
    case.body = _without_fractions(case.body)
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and IDEMPOTENCY_KEY.fullmatch(key):
        case.headers["Idempotency-Key"] = f"{key}-{number}"
    if number % 2 or not _is_positive(case) or case.method == "DELETE":  # erased, they would be of no further use
        return
    for place in (case.path_parameters, case.body):
        for name, values in KNOWN.items():
            if isinstance(place, dict) and isinstance(place.get(name), str):
                place[name] = values[number // 2 % len(values)]


def _is_positive(case: Any) -> bool:
    return case.meta is not None and str(case.meta.generation.mode.value) == "positive"


def _without_fractions(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _without_fractions(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_fractions(each) for each in value]
    return value
