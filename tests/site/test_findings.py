"""Findings pages as a reader opens them: rendered, then tried in a headless browser."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NBS = Path(__file__).resolve().parents[2] / "nbs"
PHASES = ("phase0", "phase1", "phase2", "phase3")
FEATURE_PAGES = sorted(path.name for path in (NBS / "findings").glob("features*.html"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("smalldocs", reason="the preview of the site needs smalldocs (Python 3.11)")
    folder = tmp_path_factory.mktemp("findings")
    shutil.copytree(NBS / "findings", folder / "findings")
    for name in ("_quarto.yml", "styles.css", "index.ipynb"):
        shutil.copy(NBS / name, folder)
    smalldocs = Path(sys.executable).parent / "smalldocs"
    done = subprocess.run(
        [smalldocs, "render", "--quiet", folder],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "_site" / "findings"


@pytest.mark.parametrize("phase", PHASES)
def test_a_findings_page_shows_figures_gates_and_players(browser, site, phase):
    browser.errors.clear()
    browser.open((site / f"{phase}.html").as_uri())
    title = browser.js("document.querySelector('h1').textContent")
    assert title.startswith(f"Phase {phase[-1]}")
    pictures = browser.js(
        "[...document.querySelectorAll('main img')]"
        ".map(image => [image.complete, image.naturalWidth, image.alt.length])"
    )
    assert len(pictures) >= 2
    for complete, width, alt_length in pictures:
        assert complete and width > 100 and alt_length, pictures
    tables = browser.js(
        "[...document.querySelectorAll('main table')].map(table => table.innerText)"
    )
    assert any("gate" in text and "passed" in text for text in tables)
    # what the preview's theme fetches from the network may be out of reach
    assert not [error for error in browser.errors if "net::ERR_" not in error]


@pytest.mark.parametrize("phase", ("phase0", "phase2", "phase3"))
def test_players_of_a_findings_page_can_play(browser, site, phase):
    "The sound is inside the page: each player knows its length after loading."
    players = "[...document.querySelectorAll('audio')]"
    is_loaded = "a => a.readyState >= 1 && a.duration > 1 && a.duration < 30"
    browser.open((site / f"{phase}.html").as_uri())
    assert browser.js(f"{players}.length") >= 4
    browser.js(f"{players}.forEach(a => {{ a.preload = 'auto'; a.load(); }}); true")
    browser.until(
        lambda: browser.js(f"{players}.every({is_loaded})"),
        "all players to load",
        30,
    )
    assert browser.js(f"{players}.every(a => a.error === null && a.controls)")


def set_control(browser, control, value):
    "Give a control of a feature page a value, as a reader's input would."
    browser.js(
        f"const control = document.getElementById('{control}'); control.value = '{value}';"
        " control.dispatchEvent(new Event('input')); true"
    )


def count_listed(browser):
    "Number of features in the list of a feature page."
    return browser.js("document.querySelectorAll('#list button').length")


@pytest.mark.parametrize("page", FEATURE_PAGES)
def test_the_feature_browser_searches_and_sorts(browser, page):
    browser.errors.clear()
    browser.open((NBS / "findings" / page).as_uri())
    n_features = count_listed(browser)
    assert n_features > 10
    heading = browser.js("document.querySelector('#card h2').textContent")
    assert heading.startswith("Feature")

    emotions = browser.js(
        "[...document.getElementById('emotion').options].map(o => o.value).filter(Boolean)"
    )
    best_emotions = browser.js(
        "JSON.parse(document.getElementById('data').textContent).features.map(f => f.best)"
    )
    for emotion in emotions:
        set_control(browser, "emotion", emotion)
        assert count_listed(browser) == best_emotions.count(emotion)

    set_control(browser, "emotion", "")
    set_control(browser, "q", "no such word anywhere")
    assert count_listed(browser) == 0
    assert "No feature matches" in browser.text("list")

    set_control(browser, "q", "")
    set_control(browser, "sort", "feature")
    order = browser.js("[...document.querySelectorAll('#list button')].map(b => +b.dataset.f)")
    assert len(order) == n_features
    assert order == sorted(order)
    assert not browser.errors
