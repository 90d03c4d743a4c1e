"""The stage's checks: the generation that readers find is complete, new to them, and playable.

The judgements themselves are in `judgements.py`; what they need is imported when a check runs.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from moovitamix.resources import Cache, Lake, Warehouse

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from moovitamix.serve.inspection import Inspection
    from moovitamix.serve.judgements import Judgement

USERS, TRACKS, POPULAR = "user_top_n", "similar_tracks", "popular_tracks"

CHECKS: dict[tuple[str, str], str] = {
    (USERS, "newest_generation_is_current"): "What is served is what was written last.",
    (USERS, "every_active_user_has_a_list"): "Each user of the matrix has a list.",
    (USERS, "no_list_is_short_without_reason"): (
        "A list has fewer entries than asked for only where there are no more tracks to choose "
        "from. On a sample."
    ),
    (USERS, "no_list_holds_what_was_heard"): "All that is recommended is new. On a sample.",
    (USERS, "no_list_holds_what_was_hidden"): (
        "Nobody is recommended what they have hidden, in either kind of list. On a sample of those "
        "who have hidden something."
    ),
    (USERS, "no_list_holds_a_withdrawn_track"): "All can be played. On a sample.",
    (USERS, "every_list_is_ranked"): "Scores fall, no track comes twice. On a sample.",
    (USERS, "lists_agree_with_fresh_ones"): (
        "Computed anew from champion and matrix, lists are what they are. On a sample."
    ),
    (USERS, "every_known_user_has_a_list_with_repeats"): (
        "Each user who has heard tracks of the champion, as long as ALS ranks."
    ),
    (USERS, "lists_with_repeats_agree_with_fresh_ones"): (
        "Computed anew from champion, matrix and own plays, lists are what they are. On a sample "
        "of users of whom no listens came late."
    ),
    (USERS, "lists_with_repeats_are_ranked"): "Scores fall, no track comes twice. On a sample.",
    (USERS, "lists_with_repeats_can_be_played"): "None holds a withdrawn track. On a sample.",
    (TRACKS, "every_track_has_a_list"): (
        "Each track of the champion has a list, and each new release that it does not know."
    ),
    (TRACKS, "no_track_is_similar_to_itself"): "A list is about other tracks. On a sample.",
    (TRACKS, "no_list_holds_a_withdrawn_track"): "All can be played. On a sample.",
    (TRACKS, "every_list_is_ranked"): "Scores fall, no track comes twice. On a sample.",
    (TRACKS, "lists_agree_with_fresh_ones"): (
        "Computed anew from the champion, lists are what they are; those of new releases from "
        "artist and genres. On a sample of both."
    ),
    (POPULAR, "popular_list_is_full"): "The list over all has all the entries it can have.",
    (POPULAR, "every_genre_has_a_list"): "Each genre with tracks to play has a list.",
    (POPULAR, "no_list_holds_a_withdrawn_track"): "All can be played.",
    (POPULAR, "every_list_is_ranked"): "Scores fall, no track comes twice.",
}


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(name, asset=asset, description=description)
        for (asset, name), description in CHECKS.items()
    ]
)
def published_generation(
    context: dg.AssetCheckExecutionContext, warehouse: Warehouse, lake: Lake, cache: Cache
) -> Iterator[dg.AssetCheckResult]:
    """Read the current generation back as its readers do."""
    from moovitamix.recommend.artifacts import load_current_matrix
    from moovitamix.recommend.champion import load_champion
    from moovitamix.recommend.track_features import read_track_features
    from moovitamix.serve import fresh, inspection, judgements
    from moovitamix.serve.catalogue import read_catalogue, read_wanted_releases
    from moovitamix.serve.fold import Folding
    from moovitamix.serve.fresh_releases import ReleasesRead
    from moovitamix.serve.generations import read_current

    store = lake.open()
    with cache.connect() as client:
        current = read_current(client, cache.prefix)
        served = judgements.the_newest_generation_is_current(
            current.name if current else None, _last_written(context.instance)
        )
        yield _result(USERS, "newest_generation_is_current", served)
        if current is None:
            yield from _unjudged("No generation is being served: `moovitamix run` publishes one.")
            return
        champion, matrix = load_champion(warehouse, store), load_current_matrix(store)
        if not inspection.was_made_from(current, champion, matrix):
            yield from _unjudged(
                f"{current.name} was made from another champion or matrix than there is now: "
                "`moovitamix run` publishes again."
            )
            return
        catalogue = read_catalogue(warehouse)
        releases = read_wanted_releases(warehouse, champion, matrix, catalogue.withdrawn)

        def own_plays(users: "NDArray[np.int64]") -> "fresh.OwnPlays":
            if champion.algorithm != "als" or not champion.blend.own_plays:
                return fresh.OwnPlays(users, None)
            folding = Folding.prepare(champion, matrix, catalogue, releases)
            return fresh.read_own_plays(warehouse, folding, users)

        found = inspection.inspect_generation(
            client,
            cache.prefix,
            current,
            champion=champion,
            matrix=matrix,
            catalogue=catalogue,
            own_plays=own_plays,
            releases=None
            if releases is None
            else ReleasesRead(releases, read_track_features(warehouse, matrix.as_of)),
        )
    for (asset, name), judgement in judge(found).items():
        yield _result(asset, name, judgement)


def judge(found: "Inspection") -> dict[tuple[str, str], "Judgement"]:
    """The judgement of every check but the first, by asset and name."""
    from moovitamix.serve import judgements as of

    users, repeats = found.users, found.repeats
    tracks, new, genres = found.tracks, found.new_tracks, found.genres
    similar = {**tracks.lists, **new.lists}
    n, withdrawn = found.generation.list_length, found.catalogue.withdrawn
    overall = {} if found.overall is None else {0: found.overall}  # 0: no genre has this id
    popular = {**genres.lists, **overall}
    return {
        (USERS, "every_active_user_has_a_list"): of.every_owner_has_a_list(
            users.owners, users.found
        ),
        (USERS, "no_list_is_short_without_reason"): of.no_list_is_short_without_reason(
            users.lists, found.unheard, n
        ),
        (USERS, "no_list_holds_what_was_heard"): of.no_list_holds_what_was_heard(
            users.lists, found.heard
        ),
        (USERS, "no_list_holds_what_was_hidden"): of.no_list_holds_what_was_hidden(
            found.of_hiders, found.hidden
        ),
        (USERS, "no_list_holds_a_withdrawn_track"): of.no_list_holds_a_withdrawn_track(
            users.lists, withdrawn
        ),
        (USERS, "every_list_is_ranked"): of.every_list_is_ranked(users.lists),
        (USERS, "lists_agree_with_fresh_ones"): of.lists_agree(users.lists, found.fresh),
        (USERS, "every_known_user_has_a_list_with_repeats"): of.every_owner_has_a_list(
            repeats.owners, repeats.found
        ),
        (USERS, "lists_with_repeats_agree_with_fresh_ones"): of.lists_agree(
            repeats.lists, found.fresh_repeats
        ),
        (USERS, "lists_with_repeats_are_ranked"): of.every_list_is_ranked(repeats.lists),
        (USERS, "lists_with_repeats_can_be_played"): of.no_list_holds_a_withdrawn_track(
            repeats.lists, withdrawn
        ),
        (TRACKS, "every_track_has_a_list"): of.every_owner_has_a_list(
            tracks.owners + new.owners, tracks.found + new.found
        ),
        (TRACKS, "no_track_is_similar_to_itself"): of.no_track_is_similar_to_itself(similar),
        (TRACKS, "no_list_holds_a_withdrawn_track"): of.no_list_holds_a_withdrawn_track(
            similar, withdrawn
        ),
        (TRACKS, "every_list_is_ranked"): of.every_list_is_ranked(similar),
        (TRACKS, "lists_agree_with_fresh_ones"): of.lists_agree(similar, found.fresh_tracks),
        (POPULAR, "popular_list_is_full"): of.the_popular_list_is_full(
            sum(len(found.ids) for found in overall.values()), len(found.catalogue.tracks), n
        ),
        (POPULAR, "every_genre_has_a_list"): of.every_owner_has_a_list(genres.owners, genres.found),
        (POPULAR, "no_list_holds_a_withdrawn_track"): of.no_list_holds_a_withdrawn_track(
            popular, withdrawn
        ),
        (POPULAR, "every_list_is_ranked"): of.every_list_is_ranked(popular),
    }


def _last_written(instance: dg.DagsterInstance) -> str | None:
    """The generation that the newest materialization names."""
    event = instance.get_latest_materialization_event(dg.AssetKey(USERS))
    if event is None or event.asset_materialization is None:
        return None
    named = event.asset_materialization.metadata.get("generation")
    return None if named is None else str(named.value)


def _unjudged(why: str) -> Iterator[dg.AssetCheckResult]:
    """All checks but the first as failed, for there is nothing that they could look at."""
    for asset, name in list(CHECKS)[1:]:
        yield dg.AssetCheckResult(passed=False, asset_key=asset, check_name=name, description=why)


def _result(asset: str, name: str, judgement: "Judgement") -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=judgement.passed, asset_key=asset, check_name=name, metadata=judgement.figures
    )
