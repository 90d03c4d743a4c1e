"""A real Chromium without a window, driven over its DevTools protocol: it opens, types, clicks.

By `aiohttp`, which is here anyway: no driver has to be installed that fits the browser.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 20.0

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # which root has to say
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
_KEYS = {"Tab": (9, ""), "Enter": (13, "\r")}


def installed() -> str | None:
    """The browser of this machine, if it has one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """One page of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._loads = 0
        self.console: list[str] = []

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command, and wait for its answer."""
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            told = await self._next()
            if told.get("id") == number:
                assert "error" not in told, told
                found: dict[str, Any] = told["result"]
                return found

    async def open(self, url: str) -> None:
        """Open an address, and wait until it is there."""
        before = self._loads
        await self.ask("Page.navigate", url=url)
        await self._loaded(before)

    async def click(self, selector: str, *, loads: bool = True) -> None:
        """Click the middle of an element, and wait for the page that follows.

        A page that moves while it is being laid out may be missed, on busy cores: then again.
        """
        before = self._loads
        await self._click(selector)
        if not loads:
            return
        for _ in range(2):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._loaded(before), PATIENCE / 2)
                return
            await self._click(selector)
        await self._loaded(before)

    async def _click(self, selector: str) -> None:
        place = await self.value(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const r = e.getClientRects()[0];"
            " return [r.left + r.width / 2, r.top + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.ask(
                "Input.dispatchMouseEvent",
                type=kind,
                x=place[0],
                y=place[1],
                button="left",
                clickCount=1,
            )

    async def type(self, selector: str, text: str) -> None:
        """Type into a field."""
        await self.click(selector, loads=False)
        await self.ask("Input.insertText", text=text)

    async def press(self, key: str, *, loads: bool = False) -> None:
        """Press a key, and wait for the page that follows where one does."""
        before = self._loads
        code, text = _KEYS[key]
        for kind in ("keyDown", "keyUp"):
            extra = {"text": text} if text and kind == "keyDown" else {}
            await self.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **extra,
            )
        if loads:
            await self._loaded(before)

    async def value(self, expression: str) -> Any:
        """What an expression comes to in the page."""
        told = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def text(self, selector: str = "main") -> str:
        """What people read of an element."""
        found = await self.value(f"document.querySelector({json.dumps(selector)}).innerText")
        return " ".join(str(found).split())

    async def look(self, width: int, height: int, scheme: str) -> None:
        """Be a window of a size, of a reader who likes light or dark."""
        await self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.ask("Emulation.setEmulatedMedia", features=features)

    async def picture(self, *, whole: bool = True) -> bytes:
        """What is seen, as a PNG."""
        told = await self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(told["data"])

    async def _loaded(self, before: int) -> None:
        while self._loads <= before:
            await self._next()

    async def _next(self) -> dict[str, Any]:
        told: dict[str, Any] = await self._socket.receive_json(timeout=PATIENCE)
        if told.get("method") == "Page.loadEventFired":
            self._loads += 1
        elif told.get("method") == "Log.entryAdded":
            self.console.append(told["params"]["entry"]["text"])
        return told


@asynccontextmanager
async def browsing(folder: Path) -> AsyncIterator[Tab]:
    """A browser with one empty page; its profile is in the folder, and gone with it."""
    program = installed()
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        program,
        *_OPTIONS,
        f"--user-data-dir={folder}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        port = await _port(folder / "DevToolsActivePort", process)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            async with session.get("/json/list") as answer:
                pages = [one for one in await answer.json() if one["type"] == "page"]
            async with session.ws_connect(
                pages[0]["webSocketDebuggerUrl"], max_msg_size=0
            ) as socket:
                tab = Tab(socket)
                for domain in ("Page", "Log", "Accessibility"):
                    await tab.ask(f"{domain}.enable")
                yield tab
                with suppress(AssertionError, TypeError, aiohttp.ClientError):
                    await tab.ask("Browser.close")
    finally:
        try:
            await asyncio.wait_for(process.wait(), timeout=5)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _port(file: Path, process: asyncio.subprocess.Process) -> int:
    """The port that the browser has chosen, as soon as it has said so."""
    async with asyncio.timeout(PATIENCE):
        while True:
            assert process.returncode is None, "The browser ended."
            with suppress(FileNotFoundError, IndexError, ValueError):
                return int((await asyncio.to_thread(file.read_text)).splitlines()[0])
            await asyncio.sleep(0.02)
