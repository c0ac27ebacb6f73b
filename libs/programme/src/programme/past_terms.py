"""What has begun stays as it was (rules 3.11): terms are remembered as plain data and compared at every start.

Without this, an edit of terms that are in force would make a service rate by other numbers than it rated by before,
and every purchase worth something else than what was posted for it.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import msgspec

from programme.calendar import day_of, midnight_us
from programme.terms import Programme, ProgrammeError, Terms

Content = Mapping[str, Any]
"""One version of the terms as plain JSON data; equal numbers make equal data."""


def content_of(terms: Terms) -> dict[str, Any]:
    """The content of one version; what is a set in the rules is a sorted list."""
    content: dict[str, Any] = _plain(terms)
    return content


def keep_terms(kept: Mapping[date, Content], programme: Programme, at_us: int) -> dict[date, Content]:
    """What to keep after a start at `at_us`, given what is kept. Raises ProgrammeError for an edit of the past.

    Terms that begin later may change, vanish or be added. Numbers that a newer version of the software adds to terms
    that have begun are kept with them; those of a newer one that this one does not know stay.
    """
    new = {terms.valid_from: terms for terms in programme.terms}
    if not kept:
        return {valid_from: content_of(terms) for valid_from, terms in new.items()}
    edits = list(_edits(kept, new, at_us))
    if edits:
        raise ProgrammeError("programme.toml: the past cannot be edited: " + "; ".join(edits))
    return {
        valid_from: _with_additions(kept.get(valid_from, {}), content_of(terms))
        if _has_begun(valid_from, at_us)
        else content_of(terms)
        for valid_from, terms in new.items()
    }


def _edits(kept: Mapping[date, Content], new: Mapping[date, Terms], at_us: int) -> Iterator[str]:
    for valid_from in sorted(kept.keys() | new.keys()):
        if not _has_begun(valid_from, at_us):
            continue
        if valid_from not in new:
            yield f"terms valid from {valid_from} have begun and are gone"
        elif valid_from not in kept:
            yield f"terms valid from {valid_from} were added after they had begun"
        else:
            for change in _changes("", kept[valid_from], new[valid_from]):
                yield f"terms valid from {valid_from} have begun: {change}"


def _has_begun(valid_from: date, at_us: int) -> bool:
    return midnight_us(day_of(valid_from)) <= at_us


def _changes(path: str, kept: Any, new: Any) -> Iterator[str]:
    """Where `new`, as the rules take it, says something else than the plain data that was kept of it.

    The fields of a struct are the software's: one that is on one side only came or went with its version. The keys of
    a mapping are the programme's own.
    """
    if isinstance(new, msgspec.Struct):
        for name in new.__struct_fields__:
            if name in kept:
                yield from _changes(f"{path}.{name}", kept[name], getattr(new, name))
    elif isinstance(new, Mapping):
        for name in sorted(kept.keys() | new.keys()):
            if name in kept and name in new:
                yield from _changes(f"{path}.{name}", kept[name], new[name])
            else:
                yield f"{path}.{name} was {'removed' if name in kept else 'added'}".lstrip(".")
    else:
        plain = _plain(new)
        if plain != kept:
            yield f"{path} was {_text(kept)} and is {_text(plain)}".lstrip(".")


def _plain(value: Any) -> Any:
    """As it comes back from where it is kept: a tuple is a list."""
    return msgspec.json.decode(msgspec.json.encode(value, order="deterministic"))


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _with_additions(kept: Any, new: Any) -> Any:
    """What was kept, and what only `new` has."""
    if isinstance(kept, Mapping) and isinstance(new, Mapping):
        return {
            name: _with_additions(kept[name], new[name]) if name in kept and name in new else {**new, **kept}[name]
            for name in {**kept, **new}
        }
    return kept
