"""Signing in: a key of the API is typed once, and a session begins.

What a session is, is told in `sessions.py`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from moovitamix.serve.http.console.aside import Missing
from moovitamix.serve.http.console.page import Asked, Elsewhere, Page
from moovitamix.serve.http.console.sessions import sign
from moovitamix.serve.http.keys import KeyStore, recognize

SIGN_IN = "/console/sign-in"


class Entrance:
    """Lets people in.

    Args:
        keys: Those in force.
        secret: What sessions are signed with.
    """

    def __init__(self, keys: KeyStore, secret: Callable[[], Awaitable[bytes | Missing]]) -> None:
        self._keys = keys
        self._secret = secret

    async def sign_in(self, asked: Asked, *, posted: bool) -> Page | Elsewhere:
        """The form, or what came of it."""
        back = _ours((asked.form if posted else asked.query).get("back", "/"))
        if self._keys.keys is None:
            return Elsewhere(back)
        if not posted:
            return Page("sign_in.html", {"back": back, "fault": None})
        key = recognize(self._keys.keys, asked.form.get("key", "").strip())
        if key is None:
            fault = "This is no key that is in force. `moovitamix keys list` tells their names."
            return Page("sign_in.html", {"back": back, "fault": fault}, 401)
        secret = await self._secret()
        if isinstance(secret, Missing):
            return Page("sign_in.html", {"back": back, "fault": secret.why}, 503)
        return Elsewhere(back, cookie=sign(secret, key, time.time()))


def _ours(path: str) -> str:
    """A path of the console; the first page for anything else."""
    if path.startswith("/console/") and not path.startswith(SIGN_IN) and path.isprintable():
        return path
    return "/"
