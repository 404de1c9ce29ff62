"""Findings pages as a reader opens them: rendered, then tried in a headless browser."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NBS = Path(__file__).resolve().parents[2] / "nbs"
PHASES = ("phase0", "phase1", "phase2", "phase3")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("smalldocs", reason="the preview of the site needs smalldocs (Python 3.11)")
    folder = tmp_path_factory.mktemp("findings")
    shutil.copytree(NBS / "findings", folder / "findings")
    for name in ("_quarto.yml", "styles.css", "index.ipynb"):
        shutil.copy(NBS / name, folder)
    done = subprocess.run(
        [Path(sys.executable).parent / "smalldocs", "render", "--quiet", folder],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "_site" / "findings"


@pytest.mark.parametrize("phase", PHASES)
def test_a_findings_page_shows_figures_gates_and_players(browser, site, phase):
    browser.errors.clear()
    browser.open((site / f"{phase}.html").as_uri())
    assert browser.js("document.querySelector('h1').textContent").startswith(f"Phase {phase[-1]}")
    pictures = browser.js(
        "[...document.querySelectorAll('main img')].map(i => [i.complete, i.naturalWidth, i.alt.length])"
    )
    assert len(pictures) >= 2 and all(
        done and width > 100 and alt for done, width, alt in pictures
    ), pictures
    tables = browser.js("[...document.querySelectorAll('main table')].map(t => t.innerText)")
    assert any("gate" in t and "passed" in t for t in tables)
    assert not [
        e for e in browser.errors if "net::ERR_" not in e
    ]  # what the preview's theme fetches from the network may be out of reach


@pytest.mark.parametrize("phase", ("phase0", "phase2", "phase3"))
def test_players_of_a_findings_page_can_play(browser, site, phase):
    "The sound is inside the page: each player knows its length after loading."
    browser.open((site / f"{phase}.html").as_uri())
    assert browser.js("document.querySelectorAll('audio').length") >= 4
    browser.js(
        "document.querySelectorAll('audio').forEach(a => { a.preload = 'auto'; a.load(); }); true"
    )
    browser.until(
        lambda: browser.js(
            "[...document.querySelectorAll('audio')].every(a => a.readyState >= 1 && a.duration > 1 && a.duration < 30)"
        ),
        "all players to load",
        30,
    )
    assert browser.js(
        "[...document.querySelectorAll('audio')].every(a => a.error === null && a.controls)"
    )


@pytest.mark.parametrize("page", sorted(p.name for p in (NBS / "findings").glob("features*.html")))
def test_the_feature_browser_searches_and_sorts(browser, page):
    browser.errors.clear()
    browser.open((NBS / "findings" / page).as_uri())
    count = lambda: browser.js("document.querySelectorAll('#list button').length")
    every = count()
    assert every > 10 and browser.js("document.querySelector('#card h2').textContent").startswith(
        "Feature"
    )
    set_to = "(i => v => { const e = document.getElementById(i); e.value = v; e.dispatchEvent(new Event('input')); return true })"
    for emotion in browser.js(
        "[...document.getElementById('emotion').options].map(o => o.value).filter(Boolean)"
    ):
        browser.js(f"{set_to}('emotion')('{emotion}')")
        assert count() == browser.js(
            f"JSON.parse(document.getElementById('data').textContent).features.filter(f => f.best === '{emotion}').length"
        )
    browser.js(f"{set_to}('emotion')(''), {set_to}('q')('no such word anywhere')")
    assert count() == 0 and "No feature matches" in browser.js(
        "document.getElementById('list').textContent"
    )
    browser.js(f"{set_to}('q')(''), {set_to}('sort')('feature')")
    order = browser.js("[...document.querySelectorAll('#list button')].map(b => +b.dataset.f)")
    assert len(order) == every and order == sorted(order)
    assert not browser.errors
