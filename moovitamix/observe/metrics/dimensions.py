"""Which kind of quality each check is about: completeness, validity, consistency.

As data people use the words: is what should be there, there (completeness); is each value one that
it can be (validity); do rows agree with each other and with other tables (consistency). Checks of
models and lists are of none of these.
"""

from __future__ import annotations

from typing import Literal

Dimension = Literal["completeness", "validity", "consistency"]

_BY_CHECK: dict[str, Dimension] = {
    "row_complete": "completeness",
    "not_empty": "completeness",
    "catalogue_whole": "completeness",
    "accounts_whole": "completeness",
    "tracks_have_genres": "completeness",
    "users_have_favorites": "completeness",
    "records_keep_the_contract": "validity",
    "email_like": "validity",
    "names_folded": "validity",
    "id_unique": "consistency",
    "play_unique": "consistency",
    "references_resolvable": "consistency",
    "few_in_quarantine": "consistency",
}

_BY_ENDING: dict[str, Dimension] = {"_present": "completeness", "_sane": "validity"}


def dimension_of(check: str) -> Dimension | None:
    """The kind of quality that a check is about; None: of none, or of how much there is."""
    for ending, dimension in _BY_ENDING.items():
        if check.endswith(ending):
            return dimension
    return _BY_CHECK.get(check)
