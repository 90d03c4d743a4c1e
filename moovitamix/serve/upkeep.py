"""What has to be done so that something is served tomorrow too: pure, from what there is now.

Who looks, and does it, is told in `automation.py`; how a life is prolonged, in `life.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from moovitamix.serve.generations import Generation
from moovitamix.serve.life import RENEW_BELOW

Need = Literal["publish", "renew"]


@dataclass(frozen=True)
class Upkeep:
    """What is to be done, or why nothing is.

    Attributes:
        need: What; None where nothing is.
        key: The same for the same need within an hour, so that it is asked for once; and once
            more when an hour later it still has not been seen to.
        why: A sentence.
    """

    need: Need | None
    key: str
    why: str


def upkeep(
    current: Generation | None,
    champion: int | None,
    now: datetime,
    *,
    under_way: bool,
    news: str | None = None,
    loading: bool = False,
) -> Upkeep:
    """What the served lists need.

    Args:
        current: What is served; None when it was flushed, evicted, or has expired.
        champion: The registry's version; None when there is none.
        now: UTC.
        under_way: Whether a publication is queued or running.
        news: What `current` lacks, in a sentence; see `news.py`.
        loading: Whether days are being loaded: one publication follows all of them.
    """
    if champion is None:
        return Upkeep(None, "", "There is no champion yet: `moovitamix run` trains one.")
    hour = f"{now:%Y-%m-%dT%H}"
    left = None if current is None else current.expires_at - now
    # First of all: a publication may hang, or fail each time it is asked for.
    if current is not None and left is not None and left < RENEW_BELOW:
        why = f"{current.name} would expire in {left.total_seconds() / 3600:.1f} h: renew it."
        return Upkeep("renew", f"renew:{current.name}:{hour}", why)
    if under_way:
        return Upkeep(None, "", "A publication is under way.")
    if current is None:
        return Upkeep("publish", f"publish:{champion}:{hour}", "Nothing is served: publish again.")
    if news is not None and not loading:
        return Upkeep("publish", f"publish:{champion}:{current.name}:{hour}", news)
    return Upkeep(None, "", f"{current.name} is served until {current.expires_at:%Y-%m-%d %H:%M}.")
