"""What a request asks for: its path and query as typed values, or a problem that tells why not.

What becomes of it is told in `tiers.py`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl

from moovitamix.serve.http.problems import ProblemError

MAX_LIMIT = 100
MAX_EXCLUDED = 1_000
MAX_GENRES = 20
MAX_GENRE_LENGTH = 100
_INT64 = 1 << 63
CACHED_QUERY = 64
_WHOLE = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_TRUE, _FALSE = ("true", "1"), ("false", "0")


class Ask(NamedTuple):
    """The query of a request for a list.

    Attributes:
        limit: How many tracks.
        genres: Ids or names; empty: all.
        every_genre: A track has to be in all of `genres`, not in any.
        exclude: Tracks to leave out.
        repeats: Tracks that the user has heard may be in the list.
        per_artist: At most so many tracks of an artist; None: any number.
        explain: Say which listens weigh most.
    """

    limit: int = 20
    genres: tuple[str, ...] = ()
    every_genre: bool = False
    exclude: frozenset[int] = frozenset()
    repeats: bool = False
    per_artist: int | None = None
    explain: bool = False

    @property
    def filtered(self) -> bool:
        """Whether a list has to be gone through track by track."""
        return bool(self.genres or self.exclude or self.per_artist is not None)

    @property
    def plain(self) -> bool:
        """Whether the beginning of a list answers it."""
        return not (self.filtered or self.explain)


def read_id(text: str) -> int:
    """An id out of a path.

    Raises:
        ProblemError: When it is no 64-bit integer.
    """
    found = _integer(text)
    if found is None:
        raise ProblemError(
            422,
            "The id in the path has to be an integer of 64 bits.",
            errors=[{"parameter": "id", "detail": "not an integer of 64 bits"}],
        )
    return found


def read_query(query: bytes, allowed: frozenset[str]) -> Ask:
    """The query of a request; parameters that are not known are passed over.

    Args:
        query: As it came.
        allowed: The names of parameters that this route has.

    Raises:
        ProblemError: When a parameter cannot be used; all of them are named.
    """
    if len(query) <= CACHED_QUERY:
        return _remembered(query, allowed)
    return _parse(query, allowed)


def _parse(query: bytes, allowed: frozenset[str]) -> Ask:
    given: dict[str, list[str]] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name in allowed:
            given.setdefault(name, []).append(value)
    found: dict[str, Any] = {}
    errors = []
    for name, values in given.items():
        try:
            field, value = _READERS[name](values)
            found[field] = value
        except ValueError as error:
            errors.append({"parameter": name, "detail": str(error)})
    if errors:
        names = ", ".join(error["parameter"] for error in errors)
        raise ProblemError(422, f"Correct these parameters: {names}. See /docs.", errors=errors)
    return Ask(**found)


_remembered = lru_cache(maxsize=4_096)(_parse)


def _integer(text: str) -> int | None:
    if not _WHOLE.fullmatch(text):
        return None
    found = int(text)
    return found if -_INT64 <= found < _INT64 else None


def _one(values: list[str]) -> str:
    if len(values) > 1:
        raise ValueError("give it once")
    return values[0]


def _within(values: list[str], least: int, most: int) -> int:
    found = _integer(_one(values))
    if found is None or not least <= found <= most:
        raise ValueError(f"give an integer from {least} to {most}")
    return found


def _flag(values: list[str]) -> bool:
    text = _one(values)
    if text not in (*_TRUE, *_FALSE):
        raise ValueError("give true or false")
    return text in _TRUE


def _excluded(values: list[str]) -> frozenset[int]:
    found = [_integer(part.strip()) for value in values for part in value.split(",")]
    if None in found:
        raise ValueError("give ids of tracks, separated by commas or one a parameter")
    if len(found) > MAX_EXCLUDED:
        raise ValueError(f"give at most {MAX_EXCLUDED} ids")
    return frozenset(track for track in found if track is not None)


def _genres(values: list[str]) -> tuple[str, ...]:
    found = [part for value in values for part in value.split(",")]
    if len(found) > MAX_GENRES:
        raise ValueError(f"give at most {MAX_GENRES} genres")
    if any(not part.strip() or len(part) > MAX_GENRE_LENGTH for part in found):
        raise ValueError("give names or ids of genres, separated by commas or one a parameter")
    return tuple(found)


def _match(values: list[str]) -> Literal["any", "all"]:
    text = _one(values)
    if text == "any":
        return "any"
    if text == "all":
        return "all"
    raise ValueError("give any or all")


_READERS: dict[str, Any] = {
    "limit": lambda values: ("limit", _within(values, 1, MAX_LIMIT)),
    "genre": lambda values: ("genres", _genres(values)),
    "genre_match": lambda values: ("every_genre", _match(values) == "all"),
    "exclude": lambda values: ("exclude", _excluded(values)),
    "repeats": lambda values: ("repeats", _flag(values)),
    "per_artist": lambda values: ("per_artist", _within(values, 1, MAX_LIMIT)),
    "explain": lambda values: ("explain", _flag(values)),
}
