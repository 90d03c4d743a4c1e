"""The stage's three assets, made together: one generation of lists in Redis.

How it is filled and made current is told in `publish.py` and `writer.py`. These, and with them
SciPy, implicit and redis, are imported when an asset runs, so that definitions load at once.
"""

from collections.abc import Iterator
from inspect import cleandoc
from typing import TYPE_CHECKING, Any

import dagster as dg

from moovitamix.resources import Cache, Lake, Warehouse

if TYPE_CHECKING:
    from moovitamix.serve.publish import Publication, Written

_CHAMPION_AND_MATRIX = ["champion_model", "user_item_matrix"]


def _spec(key: str, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        deps=_CHAMPION_AND_MATRIX,
        group_name="serve",
        kinds={"redis"},
        owners=["team:platform"],
        description=cleandoc(description),
    )


@dg.multi_asset(
    specs=[
        _spec(
            "user_top_n",
            """What to play next, for every user with listens: the 100 tracks that the champion
            ranks highest among those not heard yet; beside it, the same with those heard.

            Their factors are folded in from the current matrix, so that a user who came after the
            champion was trained has a list too. Users without listens have none: their stated
            genres are kept instead, and readers follow these to `popular_tracks`.""",
        ),
        _spec(
            "similar_tracks",
            """For every track that the champion knows, the 100 whose factors point the same way.

            The score is the cosine. Withdrawn tracks are in no list.""",
        ),
        _spec(
            "popular_tracks",
            """The 100 tracks that most users have heard, over all and in each genre.

            The score is the number of users. It answers wherever there is no list of one's own.""",
        ),
    ],
    can_subset=False,
    pool="publication",
)
def generation(
    context: dg.AssetExecutionContext, warehouse: Warehouse, lake: Lake, cache: Cache
) -> Iterator[dg.MaterializeResult[Any]]:
    """Publish a new generation; until it is verified, readers see the one before."""
    from moovitamix.recommend.artifacts import load_current_matrix
    from moovitamix.recommend.champion import load_champion
    from moovitamix.serve.experiment import republish_experiment
    from moovitamix.serve.whole import publish_version

    store = lake.open()
    with cache.connect() as client:
        with warehouse.hold_erasures():
            champion, matrix = load_champion(warehouse, store), load_current_matrix(store)
            tell = context.log.info
            whole = publish_version(warehouse, client, cache.prefix, champion, matrix, tell)
        del champion, matrix  # the challenger needs the memory
        told = republish_experiment(warehouse, store, client, cache.prefix, tell)
    if told:
        context.log.info(told)
    published = whole.publication
    by_tier = {f"users by {tier}": count for tier, count in published.users_by_tier.items()}
    more: dict[str, int | str] = {**by_tier, "keys with repeats": published.repeats.keys}
    more["hidden tracks"] = whole.hidden
    more["new releases"] = whole.releases
    more["users with newer listens"] = whole.caught_up
    more["experiment"] = told or "none runs"
    yield _materialized("user_top_n", published, published.users, more)
    yield _materialized("similar_tracks", published, published.tracks)
    yield _materialized("popular_tracks", published, published.popular)


def _materialized(
    key: str,
    published: "Publication",
    written: "Written",
    more: dict[str, int | str] | None = None,
) -> dg.MaterializeResult[Any]:
    generation = published.generation
    metadata: dict[str, Any] = {
        "keys": written.keys,
        "entries per list": written.entries / max(written.keys, 1),
        "bytes per list": written.bytes / max(written.keys, 1),
        "seconds": written.seconds,
        "generation": generation.name,
        "model version": generation.model_version,
        "algorithm": generation.algorithm,
        "as of": generation.as_of.isoformat(),
        "expires at": dg.MetadataValue.timestamp(generation.expires_at),
        **(more or {}),
    }
    return dg.MaterializeResult(asset_key=key, metadata=metadata)
