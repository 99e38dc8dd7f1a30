"""The page of the service in a browser; skipped without Chromium or axe, unless SNUG_BROWSER says that they must be."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from picture_files import KINDS
from servers import PATIENCE_S, serving

from snugnet_runtime.page import page

chromium = pytest.importorskip("chromium", reason="beside the tests of snugnet alone")
AXE = Path(os.environ.get("SNUG_AXE") or Path(__file__).parents[2] / ".venv" / "axe.min.js")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Tab]:
    program = chromium.find()
    if not program or not AXE.is_file():
        what = "Chromium or axe is missing"
        if os.environ.get("SNUG_BROWSER"):
            pytest.fail(f"SNUG_BROWSER is set, but {what}")
        pytest.skip(what)
    with chromium.browser(program, tmp_path_factory.mktemp("profile")) as found:
        yield found


def opened(tab: chromium.Tab, address: str, width: int, *, dark: bool) -> None:
    tab.events.clear()
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    tab.media(dark=dark)
    tab.call("Page.navigate", url=address)
    until(tab, "document.readyState === 'complete' && !!document.getElementById('choose')")


def until(tab: chromium.Tab, script: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not tab.run(script):
        assert time.monotonic() < end, script
        time.sleep(0.05)


def choose(tab: chromium.Tab, *files: Path) -> None:
    root = tab.call("DOM.getDocument")["root"]["nodeId"]
    node = tab.call("DOM.querySelector", nodeId=root, selector="#choose")["nodeId"]
    tab.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, True)])
def test_images_are_chosen_and_answered(tab, tmp_path: Path, model_file: Path, width: int, dark: bool):
    files = [tmp_path / "a <b>name.png", tmp_path / ("long" * 30 + ".jpg")]
    for file, kind in zip(files, ("rgb.png", "photo.jpg"), strict=True):
        file.write_bytes(KINDS[kind])
    with serving(model_file, SNUG_TOKEN="s3cret") as server:
        opened(tab, f"http://127.0.0.1:{server.port}/", width, dark=dark)
        choose(tab, *files)
        until(tab, "document.activeElement.id === 'secret'")  # it asks for the token, and the keyboard is there
        tab.run("secret.value = 's3cret'; secret.dispatchEvent(new Event('change'))")
        until(tab, "document.querySelectorAll('#answers li').length === 2")
        names = tab.run("[...document.querySelectorAll('#answers h2')].map(each => each.textContent)")
        assert names == [file.name for file in files]
        assert "a <b>name.png: " in tab.run("said.textContent")
        until(tab, "[...document.images].every(each => each.complete && each.naturalWidth)")
        assert tab.run("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the window"
        tab.run(AXE.read_text() + "; 0")
        found = tab.run(f"axe.run({{ runOnly: {RULES} }}).then(all => all.violations.map(each => each.id))")
        assert found == []
        complaints = [each for each in tab.complaints() if not re.search("401|'recommendation'", str(each))]
        assert complaints == []
        tab.picture(tmp_path / "page.png")


def test_what_is_refused_is_said(tab, tmp_path: Path, model_file: Path):
    letter = tmp_path / "letter.png"
    letter.write_text("Dear server,")
    with serving(model_file) as server:
        opened(tab, f"http://127.0.0.1:{server.port}/", 1200, dark=False)
        choose(tab, letter)
        until(tab, "said.textContent.startsWith('letter.png: is no image of a known format')")
        assert tab.run("document.getElementById('token').hidden")
    tab.run("ask(last)")
    assert tab.run("said.textContent").startswith("The server does not answer")


def test_the_page_names_nothing_elsewhere():
    text, policy = page()
    assert not re.search(r"//|@import|url\(", text)
    assert policy.count("sha256-") == 2
    assert "unsafe" not in policy
