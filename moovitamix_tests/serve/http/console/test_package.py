"""What the pages are made of goes into the distribution, and asks nothing of other servers."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import moovitamix
from moovitamix.serve.http.console import rendering

PACKAGE = Path(moovitamix.__file__).parent
HERE = Path(rendering.__file__).parent
FILES = sorted([*HERE.glob("templates/*"), *HERE.glob("static/*")])


def test_every_file_of_the_pages_is_in_the_distribution() -> None:
    setup = configparser.ConfigParser()
    setup.read(PACKAGE.parent / "setup.cfg")
    patterns = setup["options.package_data"]["moovitamix"].split()
    shipped = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    assert len(FILES) > 8
    assert set(FILES) <= shipped


def test_pages_work_without_other_servers_and_without_scripts() -> None:
    for path in FILES:
        text = path.read_text()
        assert not re.search(r"<script|javascript:|@import|url\(| style=| on[a-z]+=", text), path
        assert not re.search(r"(src|href)=\"(https?:)?//", text), path
