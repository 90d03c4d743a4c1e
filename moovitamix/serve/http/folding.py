"""Keeps at hand what users are folded in by: made anew when anything that it holds has changed.

Factors and matrix come from whoever loads them (`refresh.py`, `challenger.py`, `fold_loading.py`);
what may be served (nothing withdrawn, nothing blocked) is read here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from moovitamix.serve.fold import Folding, load_folding

if TYPE_CHECKING:
    from moovitamix.recommend.champion import Champion
    from moovitamix.recommend.matrix import UserItemMatrix
    from moovitamix.resources import Warehouse
    from moovitamix.serve.http.world import World


class Factors(Protocol):
    """What was loaded of a version; loaded again, it is another object."""

    @property
    def champion(self) -> Champion:
        """The version."""

    @property
    def matrix(self) -> UserItemMatrix:
        """The current one, made as the version needs it."""


class FoldingKept:
    """Of one version.

    Args:
        warehouse: With what may be served.
        world: Tells what was withdrawn or blocked since.
    """

    def __init__(self, warehouse: Warehouse, world: World) -> None:
        self._warehouse = warehouse
        self._world = world
        self._live: Factors | None = None
        self._made_for: tuple[object, ...] = ()
        self.folding: Folding | None = None

    def keep(self, live: Factors, generation: str | None) -> bool:
        """Bring it up to date; whether that took making it anew.

        Args:
            live: Factors and matrix.
            generation: The name of whose lists are replaced: what was published holds what could be
                served then.

        Raises:
            StoreUnavailable: When Postgres does not answer.
        """
        wanted = (generation, self._world.removed, self._world.withdrawn_users)
        if self._live is live and self._made_for == wanted:
            return False
        self.folding = load_folding(self._warehouse, live.champion, live.matrix)
        self._live, self._made_for = live, wanted
        return True

    def let_go(self) -> None:
        """Hold nothing: there is nothing to fold in by."""
        self._live, self.folding = None, None
