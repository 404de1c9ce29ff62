"The front page: its numbers are those of a run, and what a reader meets comes in order."

import json
import re
from pathlib import Path

import pytest

import musicgen_emotion
from musicgen_emotion.lab.files import read_json
from musicgen_emotion.studies.headline import (
    headline_sentence,
    read_headline,
    with_interval,
)

ROOT = Path(musicgen_emotion.__path__[0]).parent
NBS = ROOT / "nbs"
if not NBS.is_dir():
    pytest.skip(
        "needs a checkout of the project: there is no nbs/ beside the package",
        allow_module_level=True,
    )
HEADLINE = NBS / "findings" / "headline.json"


def page(name):
    return json.loads((NBS / name).read_text())["cells"]


def sources(cells, kind):
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def shown(cells, kind):
    "Stored outputs of one kind."
    found = []
    for cell in cells:
        for output in cell.get("outputs", []):
            if kind in output.get("data", {}):
                found.append("".join(output["data"][kind]))
    return found


def test_the_page_and_the_readme_show_the_numbers_of_the_run():
    sentence = read_headline(HEADLINE)
    assert sentence in shown(page("index.ipynb"), "text/markdown")
    assert sentence in (ROOT / "README.md").read_text()


def test_the_sentence_has_every_score_of_the_summary():
    summary = read_json(HEADLINE)
    sentence = read_headline(HEADLINE)
    for name in ("decoder", "random_weights", "inputs", "unseen"):
        assert with_interval(summary[name]) in sentence
    assert f"n = {summary['n_clips']} clips" in sentence
    assert f"chance {summary['chance']:.2f}" in sentence


def test_the_decoder_is_compared_by_the_paired_difference():
    summary = read_json(HEADLINE)
    clear = summary | dict(above=summary["above"] | dict(low=0.01))
    assert "The decoder lies above the strongest baseline (codec tokens" in headline_sentence(clear)
    unclear = summary | dict(above=summary["above"] | dict(low=-0.01))
    told = headline_sentence(unclear)
    assert "does not lie clearly above the strongest baseline" in told
    assert "no evidence that its layers add emotion" in told


def test_the_findings_page_shows_the_same_run():
    decoder = read_json(HEADLINE)["decoder"]
    text = "\n".join(shown(page("findings/phase0.ipynb"), "text/markdown"))
    assert f"({decoder['score']:.2f}, {decoder['low']:.2f} to {decoder['high']:.2f})" in text
    assert f"random weights reaches {read_json(HEADLINE)['random_weights']['score']:.2f}" in text


@pytest.mark.parametrize("name", ("index.ipynb", "quick_test.ipynb"))
def test_no_score_is_typed_by_hand(name):
    "0.999 is a bar for a cosine and not a score."
    typed = [re.findall(r"(?<!\d)0?\.\d\d+", text) for text in sources(page(name), "markdown")]
    assert {number for numbers in typed for number in numbers} <= {"0.999"}


def test_two_players_and_a_figure_come_before_make():
    cells = page("index.ipynb")
    first_make = next(
        number for number, cell in enumerate(cells) if "make run" in "".join(cell["source"])
    )
    before = cells[:first_make]
    players = [text for text in shown(before, "text/html") if "<audio" in text]
    assert len(players) == 2
    assert "![" in "\n".join(sources(before, "markdown")[2:])
    lesson = sources(before, "code")[0]
    assert len([line for line in lesson.splitlines() if line.strip()]) <= 12
    assert "colab.research.google.com" in sources(before, "markdown")[1]
    assert "nbs/quick_test.ipynb" in sources(before, "markdown")[1]
    assert "How to cite" in "\n".join(sources(cells, "markdown"))
