"""Names of people, artists, albums and tracks, each made from one random word of 64 bits.

The words themselves are in `vocabulary`.
"""

from collections.abc import Sequence
from typing import Final

from moovitamix.embedded.demo_source.vocabulary import (
    ADJECTIVES,
    FIRST_NAMES,
    LAST_NAMES,
    NOUNS,
    VERBS,
)

_MAIL_DOMAINS: Final = ("example.com", "example.org", "example.net")
_TITLES: Final = (
    "{adjective} {noun}",
    "{noun}",
    "{verb} the {noun}",
    "{noun} and {other}",
    "{verb} Me",
    "{adjective} {noun} ({noun2} Remix)",
    "The {noun}",
    "{verb} Your {noun}",
    "{noun} in the {other}",
    "Another {adjective} {noun}",
    "{adjective}",
    "Don't {verb}",
    "{noun} of {first}",
    "{adjective} {other}s",
)
_ALBUMS: Final = (
    "{adjective} {noun}",
    "The {adjective} {other}",
    "{noun}s & {other}s",
    "{noun}",
    "Songs from the {noun}",
    "{verb} and {verb2}",
)
_ARTISTS: Final = (
    "{first} {last}",
    "{first} {last}",
    "The {adjective} {noun}s",
    "{adjective} {noun}",
    "{noun} {other}",
    "{first} & the {noun}s",
    "{last} {noun} Trio",
    "DJ {noun}",
)


def _fill(patterns: Sequence[str], bits: int) -> str:
    words: dict[str, str] = {}
    bits, chosen = divmod(bits, len(patterns))
    for name, of in (
        ("adjective", ADJECTIVES),
        ("noun", NOUNS),
        ("other", NOUNS),
        ("verb", VERBS),
        ("first", FIRST_NAMES),
        ("last", LAST_NAMES),
        ("noun2", NOUNS),
        ("verb2", VERBS),
    ):
        bits, at = divmod(bits, len(of))
        # The same word twice in a name would look like a mistake.
        words[name] = of[at] if of[at] not in words.values() else of[at - 1]
    return patterns[chosen].format_map(words)


def track_title(bits: int) -> str:
    """Return a track's name."""
    return _fill(_TITLES, bits)


def album_title(bits: int) -> str:
    """Return an album's name."""
    return _fill(_ALBUMS, bits)


def artist_name(bits: int) -> str:
    """Return the name of a band or a solo artist."""
    return _fill(_ARTISTS, bits)


def person(bits: int) -> tuple[str, str]:
    """Return a first and a last name."""
    bits, first = divmod(bits, len(FIRST_NAMES))
    return FIRST_NAMES[first], LAST_NAMES[bits % len(LAST_NAMES)]


def email(first: str, last: str, bits: int) -> str:
    """Return an address at one of the domains reserved for examples (RFC 2606, section 3)."""
    bits, domain = divmod(bits, len(_MAIL_DOMAINS))
    bits, style = divmod(bits, 3)
    local = (f"{first}.{last}", f"{first[0]}{last}", f"{first}{last[0]}")[style].lower()
    return f"{local}{bits % 10_000}@{_MAIL_DOMAINS[domain]}"
