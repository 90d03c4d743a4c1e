"""The console in a real browser: by keyboard and mouse, light and dark, wide and narrow."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from moovitamix.serve.http.app import Features, build_api
from moovitamix.serve.http.gate import Limits
from moovitamix.serve.http.keys import KeyStore, make_key
from moovitamix_tests.serve.http.console.browser import Tab, browsing, installed
from moovitamix_tests.serve.http.console.conftest import Succession
from moovitamix_tests.serve.http.serving import refreshed, running

# Every text that is seen, against the first ground behind it: WCAG 2.2, 1.4.3.
_PALE = """
(() => {
  const part = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const read = text => text.match(/[\\d.]+/g).map(Number);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = read(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const pale = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = walk.nextNode(); n; n = walk.nextNode()) {
    if (!n.textContent.trim()) continue;
    const e = n.parentElement, a = light(read(getComputedStyle(e).color)), b = light(ground(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) pale.push([ratio.toFixed(2), e.outerHTML.slice(0, 120)]);
  }
  return pale;
})()
"""

_LANDMARKS = {"banner", "navigation", "main", "contentinfo"}
_NAMED = {"textbox", "searchbox", "button", "link", "table", "region", "form", "search"}


async def examine(tab: Tab, url: str) -> None:
    """Look at a page on a desk and on a phone, light and dark."""
    for width, scheme in ((1280, "light"), (390, "dark")):
        await tab.look(width, 844, scheme)
        await tab.open(url)
        assert await tab.value(_PALE) == []
        assert await tab.value("document.documentElement.scrollWidth") <= width
    tree = (await tab.ask("Accessibility.getFullAXTree"))["nodes"]
    told = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node["ignored"]
    ]
    assert {role for role, _ in told} >= _LANDMARKS
    assert [role for role, name in told if role in _NAMED and not name.strip()] == []


async def go_through(tab: Tab, address: str, secret: str, succession: Succession) -> None:
    """What an operator does: sign in, look, understand, roll back, sign out."""
    await tab.look(1280, 844, "light")
    await tab.open(f"{address}/console/users?id=5")
    assert await tab.text("h1") == "Sign in"
    await tab.type("#key", "mvx_wrong")
    await tab.press("Enter", loads=True)
    assert "no key that is in force" in await tab.text("[role=alert]")
    await tab.type("#key", secret)
    await tab.press("Enter", loads=True)
    assert await tab.text("h1") == "User 5"
    assert "because they heard" in await tab.text()

    await tab.press("Tab")
    assert await tab.value("document.activeElement.innerText") == "Skip to the content"
    assert await tab.value("document.activeElement.getBoundingClientRect().left") >= 0
    await tab.press("Enter")
    assert await tab.value("document.activeElement.id") == "content"
    await tab.press("Tab")
    assert await tab.value("document.activeElement.id") == "id"
    assert await tab.value("getComputedStyle(document.activeElement).outlineWidth") == "3px"

    await tab.click(".items a")
    assert "Neighbours" in await tab.text()
    await tab.click("nav a[href='/console/tracks']")
    await tab.type("#q", "track 10")
    await tab.press("Enter", loads=True)
    assert "10, the most heard first" in await tab.text()

    for path in ("/", "/console/users?id=5", "/console/tracks/102", "/console/rollback"):
        await examine(tab, f"{address}{path}")

    await tab.look(390, 844, "dark")
    await tab.open(f"{address}/")
    assert succession.latter in await tab.text()
    await tab.click("a.button")
    await tab.type("#reason", "Seen in a browser.")
    await tab.click("button.danger")
    assert f"Version {succession.first} is the champion again" in await tab.text()
    assert succession.former in await tab.text()
    await tab.click("form.out button")
    assert await tab.text("h1") == "Sign in"
    await tab.open(f"{address}/")
    assert await tab.text("h1") == "Sign in"
    # What a browser complains of, such as what the policy forbids; a wrong key is answered by 401.
    assert [one for one in tab.console if "401" not in one] == []


def test_an_operator_signs_in_looks_around_and_rolls_back(
    succession: Succession, tmp_path: Path
) -> None:
    if installed() is None:
        pytest.skip("NOT CHECKED: the console in a browser. Install Chromium to have it checked.")
    secret, key = make_key("ops", "admin")
    world = succession.world

    async def run() -> None:
        api = build_api(
            world.stores,
            keys=KeyStore(key.entry(), world.home),
            limits=Limits(),
            features=Features(access_log=False),
            background=False,
        )
        await asyncio.to_thread(refreshed, api)
        async with running(api) as address, browsing(tmp_path / "profile") as tab:
            await go_through(tab, address, secret, succession)

    asyncio.run(run())
