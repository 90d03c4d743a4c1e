"""Reads a page as a browser's parser would, and finds what is wrong with its structure."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

import httpx

HERE = "http://127.0.0.1"
_VOID = {"meta", "link", "input", "br"}


class Structure(HTMLParser):
    """What a page is built of.

    Attributes:
        faults: What is wrong with it.
        seen: The tags, each with its attributes, in their order.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag in self._open]
        ids = [found["id"] for _, found in self.seen if "id" in found]
        self.faults += [f"id {one} twice" for one in set(ids) if ids.count(one) > 1]
        for tag, found in self.seen:
            for name in ("aria-labelledby", "aria-describedby", "for"):
                if name in found and found[name] not in ids:
                    self.faults.append(f"<{tag} {name}={found[name]}> points nowhere")
            if tag == "script" or any(one.startswith("on") or one == "style" for one in found):
                self.faults.append(f"<{tag}> has what the policy forbids")
        labelled = {found.get("for") for tag, found in self.seen if tag == "label"}
        for tag, found in self.seen:
            hidden = found.get("type") == "hidden" or "hidden" in found
            if tag == "input" and not hidden and found.get("id") not in labelled:
                self.faults.append("a field has no label")
        for tag in ("main", "header", "footer", "h1", "title"):
            if (count := sum(one == tag for one, _ in self.seen)) != 1:
                self.faults.append(f"<{tag}> {count} times")
        tables = sum(tag == "table" for tag, _ in self.seen)
        if sum(tag == "caption" for tag, _ in self.seen) != tables:
            self.faults.append("a table has no caption")
        self.faults += [
            "a table's head has no scope"
            for tag, found in self.seen
            if tag == "th" and "scope" not in found
        ]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes something else")


def said(page: httpx.Response, status: int = 200) -> str:
    """What people read of a page, which has to be whole."""
    assert page.status_code == status, page.text
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert Structure(page.text).faults == []
    main = page.text[page.text.index("<main") : page.text.index("</main>")]
    words = " ".join(unescape(re.sub(r"<[^>]*>", " ", main)).split())
    return re.sub(r" ([,.:])", r"\1", words)
