"""From where a request to the console may come, as its headers tell.

A browser sends a form to us from wherever it is told to. `SameSite=Strict` keeps the session out of
what other sites send, and this refuses it altogether; without keys there is no session, and this is
what protects. Whose session it is, is told in `sessions.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from moovitamix.serve.http.server import is_loopback


def is_ours(headers: Mapping[str, str]) -> bool:
    """Whether a form comes from one of our own pages.

    Browsers say so by `Sec-Fetch-Site`, but not to a server without TLS on another machine; there
    `Origin` tells, which they send with every form. Something else than a browser, which has no
    session to be abused, says the same by one of the two.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    host = headers.get("host", "").lower()
    return bool(host) and urlsplit(headers.get("origin", "")).netloc.lower() == host


def is_named_locally(headers: Mapping[str, str]) -> bool:
    """Whether the page was asked for under a name of this machine.

    Where no keys are asked for, only this machine gets in; a page of elsewhere, whose name was made
    to lead here (DNS rebinding), would be this machine too, but for the name.
    """
    try:
        name = urlsplit(f"//{headers.get('host', '')}").hostname
    except ValueError:
        return False
    return name is not None and is_loopback(name)


def is_secure(headers: Mapping[str, str], scheme: str) -> bool:
    """Whether the browser speaks TLS, with us or with a proxy in front: then cookies need it."""
    return scheme == "https" or headers.get("x-forwarded-proto", "").lower() == "https"
