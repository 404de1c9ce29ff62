"""The listening kit keeps answers: tabs, names, keys, ids, and damaged answer files."""

import csv
import json
import random
import string
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_listening import SR, exported, make_clips

from musicgen_emotion.sound.answers import (
    check_answers,
    rater_report,
    read_answers,
    read_key,
    simulate_raters,
)
from musicgen_emotion.sound.listening import base_id, rater_plan, write_listening_test
from musicgen_emotion.sound.listening_clips import RESERVED_CONDITIONS
from musicgen_emotion.sound.rater_models import analyse_listening

AWKWARD_NAMES = (
    "seconds",
    "at",
    "constructor",
    "__proto__",
    "rater",
    "trial",
    "position",
    "toString",
    "hasOwnProperty",
    "valueOf",
    "length",
    "prototype",
    "choice",
    "scale",
    "answer",
    "value",
    "answers",
    "index",
    "lock",
    "where",
    "kind",
    "0",
    "NA",
    "null",
    "a/b",
    'say "a", b; c',
    "{{test}}",
    "größe",
    "</script>",
)


def make_test(path, clips=None, kind="rating", **settings):
    "A test of three tracks in two conditions; every clip counts as heard at once."
    clips = make_clips(3, 0.3) if clips is None else clips
    settings = dict(sample_rate=SR, min_listen_s=0) | settings
    return write_listening_test(clips, path, kind, **settings)


def scale(name):
    return dict(name=name, label=f"How {name}?", low="little", high="much")


# Several tabs of one rater


class Tab:
    "One tab of the browser's context, at the page of a test."

    def __init__(self, browser, url, rater):
        self.page = browser.context.new_page()
        self.page.on("pageerror", lambda error: browser.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: dialog.accept())
        self.url, self.rater = url, rater
        self.start()

    def js(self, code):
        return self.page.evaluate(code)

    def start(self):
        self.page.goto(self.url)
        self.page.fill("#rater", self.rater)
        self.page.click("#go")

    def answer(self, number, scale, value):
        "Answer a trial of the plan, as a click does."
        self.js(f"state.index = {number}; render(); true")
        chosen = f"b.scale === {json.dumps(scale)} && b.value === {json.dumps(value)}"
        self.js(f"boxes.find(b => {chosen}).input.click()")

    def kept(self):
        "Position and scale -> answer, as this tab has them."
        rows = self.js("state.plan.map(t => Object.entries(answerOf(t)))")
        kept = {}
        for number, given in enumerate(rows):
            for scale, value in given:
                kept[number, scale] = value
        return kept

    def close(self):
        self.page.goto("about:blank")
        self.page.close()


def check_kept(browser, made, rater, expected):
    "A fresh tab and the file that it exports hold the expected answers."
    browser.open(made.page.as_uri())
    browser.start(rater)
    answers = "state.plan.map(t => Object.entries(answerOf(t)))"

    def is_kept():
        rows = browser.js(answers)
        return expected == {(i, name): value for i, row in enumerate(rows) for name, value in row}

    browser.until(is_kept, "what other processes of the browser wrote a moment ago")
    file = browser.downloads / f"answers_{made.test_id}_{rater}.csv"
    file.unlink(missing_ok=True)
    table = read_answers(exported(browser, made, rater), made)
    read = {}
    for row in table.to_dict("records"):
        answer = row["choice"] if made.kind == "pairwise" else row["rating"]
        read[row["position"] - 1, row.get("scale", "choice")] = answer
    assert read == expected
    assert not browser.errors


@pytest.fixture(scope="module")
def two_scales(tmp_path_factory):
    return make_test(tmp_path_factory.mktemp("tabs") / "t.html")


@pytest.fixture(scope="module")
def pair_test(tmp_path_factory):
    return make_test(tmp_path_factory.mktemp("tabs") / "p.html", kind="pairwise")


@pytest.mark.parametrize("closed_first", ["older", "newer"])
@pytest.mark.parametrize("answered_first", ["older", "newer"])
def test_a_tab_that_closes_erases_nothing(browser, two_scales, closed_first, answered_first):
    rater = f"{closed_first}-{answered_first}"
    url = two_scales.page.as_uri()
    older = Tab(browser, url, rater)
    older.answer(0, "valence", 1)
    newer = Tab(browser, url, rater)
    tabs = [older, newer] if answered_first == "older" else [newer, older]
    tabs[0].answer(1, "valence", 2)
    tabs[1].answer(2, "arousal", 3)
    tabs[0].answer(0, "valence", 9)
    tabs[1].answer(1, "arousal", 4)
    expected = {(0, "valence"): 9, (1, "valence"): 2, (2, "arousal"): 3, (1, "arousal"): 4}
    browser.until(lambda: older.kept() == newer.kept() == expected, "both tabs to agree")
    for tab in [older, newer] if closed_first == "older" else [newer, older]:
        tab.close()
    check_kept(browser, two_scales, rater, expected)


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_three_tabs_keeps_the_newest_answers(browser, two_scales, pair_test, seed):
    draw = random.Random(seed)
    made = pair_test if seed % 2 else two_scales
    url, rater = made.page.as_uri(), f"order{seed}"
    tabs, expected = [], {}
    for _ in range(40):
        step = draw.choice(["answer"] * 6 + ["open", "close", "reload"])
        if step == "open" or not tabs:
            tabs.append(Tab(browser, url, rater))
        tab = draw.choice(tabs)
        if step == "close" or len(tabs) > 3:
            tabs.remove(tab)
            tab.close()
        elif step == "reload":
            tab.start()
        elif made.kind == "pairwise":
            number, value = draw.randrange(3), draw.choice(["left", "right"])
            tab.answer(number, "choice", value)
            expected[number, "choice"] = value
        else:
            number, value = draw.randrange(6), draw.randint(1, 9)
            name = draw.choice(["valence", "arousal"])
            tab.answer(number, name, value)
            expected[number, name] = value
    for tab in tabs:
        browser.until(lambda tab=tab: tab.kept() == expected, "an open tab to hear of all answers")
        tab.close()
    check_kept(browser, made, rater, expected)


def older_entry(made, rater, answers, minute):
    "What the page of an earlier release keeps: the whole state as one entry."
    plan = rater_plan(made.test_id, rater, read_key(made)["trials"])
    about = dict(at=f"2024-05-01T10:{minute:02d}:00.000Z", seconds=1.5)
    given = {plan[number]["trial"]: values | about for number, values in answers.items()}
    state = dict(test=made.test_id, rater=rater, plan=plan, answers=given, listened={}, index=0)
    entry = json.dumps([f"listening-test/{made.test_id}/{rater}", json.dumps(state)])
    return f"localStorage.setItem(...{entry})"


def test_a_tab_with_an_older_page_is_merged(browser, two_scales):
    rater = "older-page"
    browser.open(two_scales.page.as_uri())
    browser.js(older_entry(two_scales, rater, {0: dict(valence=1, arousal=1)}, 0))
    tab = Tab(browser, two_scales.page.as_uri(), rater)
    assert tab.kept() == {(0, "valence"): 1, (0, "arousal"): 1}
    tab.answer(0, "valence", 9)
    tab.answer(1, "valence", 2)

    # the older page goes on; what it only repeats does not count as new
    soon = {0: dict(valence=1, arousal=5), 2: dict(valence=6)}
    browser.js(older_entry(two_scales, rater, soon, 30).replace("2024", "2095"))
    expected = {(0, "valence"): 9, (0, "arousal"): 5, (1, "valence"): 2, (2, "valence"): 6}
    browser.until(lambda: tab.kept() == expected, "the answers of the older page")
    tab.close()
    browser.js(older_entry(two_scales, rater, {}, 40))  # and closes with what it had at its start
    check_kept(browser, two_scales, rater, expected)
    tab = Tab(browser, two_scales.page.as_uri(), rater)
    tab.answer(2, "valence", 3)  # newer than an answer from a clock that runs ahead
    tab.close()
    check_kept(browser, two_scales, rater, expected | {(2, "valence"): 3})


def test_choices_of_an_older_page_stay_with_their_clips(browser, pair_test):
    rater = "older-sides"
    plan = rater_plan(pair_test.test_id, rater, read_key(pair_test)["trials"])
    other = [dict(trial=step["trial"], clips=step["clips"][::-1]) for step in plan[:1]] + plan[1:]
    about = dict(choice="left", at="2024-05-01T10:00:00.000Z", seconds=1.5)
    state = dict(plan=other, answers={step["trial"]: about for step in plan})
    entry = json.dumps([f"listening-test/{pair_test.test_id}/{rater}", json.dumps(state)])
    browser.open(pair_test.page.as_uri())
    browser.js(f"localStorage.setItem(...{entry})")
    expected = {(0, "choice"): "right", (1, "choice"): "left", (2, "choice"): "left"}
    check_kept(browser, pair_test, rater, expected)


def test_damaged_entries_lose_only_themselves(browser, two_scales):
    rater = "damaged"
    tab = Tab(browser, two_scales.page.as_uri(), rater)
    tab.answer(0, "valence", 4)
    tab.answer(1, "valence", 5)
    tab.answer(2, "valence", 6)
    tab.close()
    home = f"listening-test/{base_id(two_scales.test_id)}/{rater}/"
    plan = rater_plan(two_scales.test_id, rater, read_key(two_scales)["trials"])
    browser.open(two_scales.page.as_uri())
    damaged = {
        f"answer/{plan[0]['trial']}/valence": '{"value": 4, "a',
        f"answer/{plan[3]['trial']}/valence": '{"value": 12, "at": "2095-01-01T00:00:00.000Z"}',
        f"answer/{plan[4]['trial']}/valence": '{"value": 2, "at": "tomorrow"}',
        f"answer/{plan[5]['trial']}/mood": '{"value": 2, "at": "2024-05-01T10:00:00.000Z"}',
        "trials": "many",
        "index": "-3",
        "heard/c0": "null",
        "older": "[7]",
    }
    for name, text in damaged.items():
        browser.js(f"localStorage.setItem(...{json.dumps([home + name, text])})")
    browser.js(f"localStorage.setItem('{home[:-1]}', 'null')")
    check_kept(browser, two_scales, rater, {(1, "valence"): 5, (2, "valence"): 6})


def test_erasing_reaches_the_other_tabs_and_no_other_rater(browser, two_scales):
    url = two_scales.page.as_uri()
    other = Tab(browser, url, "stays")
    other.answer(0, "valence", 7)
    first, second = Tab(browser, url, "goes"), Tab(browser, url, "goes")
    first.answer(0, "valence", 2)
    browser.until(lambda: second.kept() == {(0, "valence"): 2}, "the second tab")
    first.js("finish(); document.getElementById('erase').click(); true")
    browser.until(lambda: second.js("state === null"), "the second tab to forget")
    for tab in (first, second, other):
        tab.close()
    check_kept(browser, two_scales, "stays", {(0, "valence"): 7})
    browser.open(url)
    assert browser.js("Object.keys(localStorage).filter(k => k.includes('goes'))") == []


def test_storage_that_another_page_clears_is_filled_again(browser, two_scales):
    url = two_scales.page.as_uri()
    first, second = Tab(browser, url, "cleared"), Tab(browser, url, "cleared")
    first.answer(0, "valence", 2)
    browser.until(lambda: second.kept() == {(0, "valence"): 2}, "the second tab")
    second.js("localStorage.clear()")
    second.answer(1, "valence", 3)
    first.close()
    second.close()
    check_kept(browser, two_scales, "cleared", {(0, "valence"): 2, (1, "valence"): 3})


def test_a_browser_without_storage_still_exports(browser, two_scales):
    tab = Tab(browser, two_scales.page.as_uri(), "no-storage")
    fail = "() => { throw new Error('full') }"
    tab.js(f"Storage.prototype.setItem = {fail}; Storage.prototype.getItem = {fail}; true")
    tab.answer(0, "valence", 3)
    assert not tab.js("document.getElementById('unsaved').hidden")
    assert ",valence,3," in tab.js("csv()")
    tab.close()


# Names of scales and conditions


def test_scales_of_any_name_are_answered_and_read(browser, tmp_path):
    made = make_test(
        tmp_path / "t.html", make_clips(2, 0.3), scales=[scale(name) for name in AWKWARD_NAMES]
    )
    rater = "names"
    tab = Tab(browser, made.page.as_uri(), rater)
    assert tab.js("nAnswered()") == 0 and not tab.js("complete(current())")
    expected = {}
    for number in range(2):
        for i, name in enumerate(AWKWARD_NAMES):
            tab.answer(number, name, 1 + (i + number) % 9)
            expected[number, name] = 1 + (i + number) % 9
            assert tab.js("complete(current())") == (i == len(AWKWARD_NAMES) - 1)
    tab.close()
    check_kept(browser, made, rater, expected)


@pytest.mark.parametrize("name", AWKWARD_NAMES[:8])
def test_a_scale_of_such_a_name_alone_waits_for_its_answer(browser, tmp_path, name):
    made = make_test(tmp_path / "t.html", scales=[scale(name)])
    rater = "alone"
    browser.open(made.page.as_uri())
    browser.start(rater)
    assert browser.js("document.getElementById('next').disabled")
    for value in range(1, 7):
        browser.key(str(value))
        assert browser.text("count") == f"{value} of 6 answered"
        browser.key("Enter")
    check_kept(browser, made, rater, {(i, name): i + 1 for i in range(6)})


@pytest.mark.parametrize("name", ["", " ", " a", "a\n", "two\nlines", "a\0b", "\ud800", 5, None])
def test_scales_whose_name_is_no_line_of_text(tmp_path, name):
    with pytest.raises((ValueError, TypeError), match="scale"):
        make_test(tmp_path / "t.html", scales=[scale(name) | dict(name=name)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["rating", "pairwise"])
@pytest.mark.parametrize("name", sorted({*AWKWARD_NAMES, *RESERVED_CONDITIONS, "x", "left_left"}))
def test_conditions_of_any_name_are_refused_or_work(tmp_path, kind, name):
    clips = make_clips(4, 0.3).rename(columns=dict(condition="hidden"))
    clips[name] = clips.hidden
    settings = dict(conditions=[name], scales=["valence"])
    if name in RESERVED_CONDITIONS:
        with pytest.raises(ValueError, match="reserved") as error:
            make_test(tmp_path / "t.html", clips, kind, **settings)
        assert repr(name) in str(error.value) and "\n" not in str(error.value)
        assert not list(tmp_path.iterdir())
        return
    made = make_test(tmp_path / "t.html", clips, kind, **settings)
    answers = simulate_raters(made, 6, dict(unsteered=0, steered=1), condition=name)
    answers.to_csv(tmp_path / "a.csv", index=False)
    table = read_answers(tmp_path / "a.csv", made)
    levels = table[name] if kind == "rating" else table[f"{name}_left"]
    assert set(levels) == {"steered", "unsteered"}
    result = analyse_listening(table, effect=name, baseline="unsteered", n_boot=20)
    assert set(result.effects.level) == {"steered"}
    assert len(rater_report(table, made)) == 6


@pytest.mark.parametrize(
    "conditions", [["condition", "condition"], [0], [None], [""], [("a", "b")], ["audio"]]
)
def test_conditions_that_are_no_names(tmp_path, conditions):
    with pytest.raises((TypeError, ValueError), match="condition"):
        make_test(tmp_path / "t.html", conditions=conditions)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("column", ["condition", "track"])
@pytest.mark.parametrize(
    "values", [[1, "1"], [True, "True"], [1.5, "1.5"], [None, "a"], [float("nan"), 1]]
)
def test_levels_that_would_become_one(tmp_path, column, values):
    clips = make_clips(3, 0.3)
    clips[column] = pd.Series(values * 3, dtype=object)
    with pytest.raises(ValueError, match=column):
        make_test(tmp_path / "t.html", clips)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("level", [pd.Timestamp("2024"), [1], {}, b"a", np.inf, 1j, (1, 2)])
def test_levels_that_json_cannot_hold(tmp_path, level):
    clips = make_clips(3, 0.3)
    clips["condition"] = pd.Series([level, "plain"] * 3, dtype=object)
    with pytest.raises(ValueError, match="condition"):
        make_test(tmp_path / "t.html", clips)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("levels", [[0, 1], [0.5, -0.5], [True, False], ["a", ""]])
def test_levels_come_back_as_they_are(tmp_path, levels):
    clips = make_clips(3, 0.3).assign(condition=levels * 3)
    made = make_test(tmp_path / "t.html", clips)
    answers = simulate_raters(made, 2, {level: 0 for level in levels})
    answers.to_csv(tmp_path / "a.csv", index=False)
    assert set(read_answers(tmp_path / "a.csv", made).condition) == set(levels)


# The key, the page and the id of a test


def changed_sample(clips):
    clips = clips.copy()
    first = clips.audio[0].copy()
    first[100] += 1e-3
    clips["audio"] = [first, *clips.audio[1:]]
    return clips


CHANGES = dict(
    kind=dict(kind="pairwise"),
    question=dict(question="How is it?"),
    instructions=dict(instructions="Listen."),
    farewell=dict(farewell="Bye."),
    title=dict(title="Another"),
    lang=dict(lang="de"),
    scales=dict(scales=["valence"]),
    order_of_scales=dict(scales=["arousal", "valence"]),
    label=dict(scales=["valence", scale("arousal")]),
    n_per_rater=dict(n_per_rater=2),
    min_listen_s=dict(min_listen_s=0.1),
    seed=dict(seed=1),
    sample_rate=dict(sample_rate=SR // 2),
    sample=dict(clips=changed_sample(make_clips(3, 0.3))),
    levels=dict(clips=make_clips(3, 0.3).assign(condition=["steered", "unsteered"] * 3)),
    tracks=dict(clips=make_clips(3, 0.3).assign(track=[*"aabbcc"])),
    conditions=dict(clips=make_clips(3, 0.3).assign(b="x"), conditions=["condition", "b"]),
    fewer_clips=dict(clips=make_clips(2, 0.3)),
    order_of_clips=dict(clips=make_clips(3, 0.3)[::-1].reset_index(drop=True)),
)


def test_the_id_covers_all_that_is_asked(tmp_path):
    made = make_test(tmp_path / "t.html")
    ids = dict(same=made.test_id)
    for name, change in CHANGES.items():
        ids[name] = make_test(tmp_path / f"{name}.html", **change).test_id
    assert len(set(ids.values())) == len(ids), ids
    same = [name for name in ids if base_id(ids[name]) == base_id(made.test_id)]
    assert same == ["same", "n_per_rater"]
    again = make_test(tmp_path / "again.html", audio="files", audio_format="wav")
    assert again.test_id == made.test_id


@pytest.mark.parametrize("name", [*CHANGES])
def test_no_file_of_another_test_is_replaced(tmp_path, name):
    made = make_test(tmp_path / "t.html")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    change = CHANGES[name]
    if name == "n_per_rater":
        shorter = make_test(tmp_path / "t.html", **change)
        assert read_key(shorter)["n_per_rater"] == 2
        return
    with pytest.raises(ValueError, match=r"t\.key\.json is the key of another test") as error:
        make_test(tmp_path / "t.html", **change)
    assert made.test_id in str(error.value)
    with pytest.raises(ValueError, match=r"t\.html is the page of another test"):
        make_test(tmp_path / "t.html", key=tmp_path / "new.json", **change)
    with pytest.raises(ValueError, match=r"t\.key\.json is the key of another test"):
        make_test(tmp_path / "new.html", key=made.key, audio="files", **change)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\x00", b'{"test_id": 5}', b"<html>", b"[]"])
@pytest.mark.parametrize("name", ["t.html", "t.key.json"])
def test_a_file_that_is_none_of_ours_is_not_replaced(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} exists and is no"):
        make_test(tmp_path / "t.html", audio="files")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(name, content)]


def test_folders_and_one_path_for_both_are_refused(tmp_path):
    (tmp_path / "t.key.json").mkdir()
    (tmp_path / "u.html").mkdir()
    for out, key in (("t.html", None), ("u.html", None), ("v.html", tmp_path / "v.html")):
        with pytest.raises(ValueError, match=r"listening test|another file than the page"):
            make_test(tmp_path / out, key=key)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["t.key.json", "u.html"]


def test_without_a_key_there_is_no_page(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        make_test(tmp_path / "t.html", key=tmp_path / "file" / "key.json", audio="files")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_texts_are_put_into_the_page_as_they_are(browser, tmp_path):
    texts = dict(title="{{test}} {{lang}}", question="{{title}}", instructions="</script><b>")
    made = make_test(tmp_path / "t.html", **texts)
    browser.open(made.page.as_uri())
    assert browser.js("document.title") == texts["title"]
    assert browser.js("[test.question, test.instructions]") == ["{{title}}", "</script><b>"]
    for name in (*texts, "farewell", "lang"):
        with pytest.raises(TypeError, match=f"{name} must be (a )?text"):
            make_test(tmp_path / "x.html", **{name: 5})


def test_a_page_written_again_keeps_the_plans_of_returning_raters(browser, tmp_path):
    plans = {}
    for n_per_rater in (2, 5, 3, None):
        made = make_test(tmp_path / "t.html", n_per_rater=n_per_rater)
        trials = read_key(made)["trials"]
        for rater in ("anna", "ben"):
            plan = rater_plan(made.test_id, rater, trials, made.n_per_rater)
            known = plans.setdefault(rater, [])
            n_common = min(len(plan), len(known))
            assert plan[:n_common] == known[:n_common]
            plans[rater] = max(plan, known, key=len)

    made = make_test(tmp_path / "t.html", n_per_rater=3)
    tab = Tab(browser, made.page.as_uri(), "anna")
    expected = {(0, "valence"): 1, (1, "valence"): 2, (2, "valence"): 3}
    for (number, name), value in expected.items():
        tab.answer(number, name, value)
    longer = make_test(tmp_path / "t.html", n_per_rater=5)
    younger = Tab(browser, longer.page.as_uri(), "anna")
    younger.answer(4, "valence", 5)
    expected[4, "valence"] = 5
    browser.until(lambda: tab.kept() == expected, "the tab with the shorter page")
    younger.close()
    tab.close()
    shorter = make_test(tmp_path / "t.html", n_per_rater=2)
    check_kept(browser, shorter, "anna", expected)
    plan = browser.js("state.plan.map(p => ({trial: p.trial, clips: p.clips}))")
    assert plan == plans["anna"][:5]
    browser.open("about:blank")
    browser.open(shorter.page.as_uri())
    browser.start("cleo")
    assert browser.js("state.plan.length") == 2


# Answer files


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    "A test of each kind with the answers of two raters, as text of a file."
    folder = tmp_path_factory.mktemp("files")
    studies = {}
    for kind in ("rating", "pairwise"):
        made = make_test(folder / f"{kind}.html", kind=kind)
        answers = simulate_raters(made, 2, dict(unsteered=0, steered=1))
        answers["answered_at"] = "2024-05-01T10:00:00.000Z"
        studies[kind] = (made, answers)
    return studies


def check_refused_by_name(made, path, match=None):
    "One sentence with the name of the file, and the file is as it was."
    before = path.read_bytes()
    with pytest.raises(ValueError, match=match) as caught:
        read_answers(path, made)
    message = str(caught.value)
    assert path.name in message and "\n" not in message
    for inside in ("Error tokenizing", "codec", "Traceback", "KeyError", "dtype", "literal"):
        assert inside not in message
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["rating", "pairwise"])
def test_a_file_cut_anywhere_is_refused_or_read_up_to_there(studies, tmp_path, kind):
    made, answers = studies[kind]
    file = tmp_path / "cut.csv"
    data = answers[:4].to_csv(index=False, lineterminator="\r\n").encode()
    file.write_bytes(data)
    whole = read_answers(file, made)
    n_read = set()
    for n_bytes in range(len(data)):
        file.write_bytes(data[:n_bytes])
        try:
            table = read_answers(file, made)
        except ValueError as error:
            assert "cut.csv" in str(error) and "\n" not in str(error)
            continue
        pd.testing.assert_frame_equal(table, whole[: len(table)])
        n_read.add(len(table))
    assert n_read == {1, 2, 3, 4}


DAMAGES = dict(
    empty=(lambda text: b"", "empty"),
    blank=(lambda text: b"\r\n\r\n", "empty"),
    header_only=(lambda text: text.split("\n")[0].encode(), "no answer in the files"),
    zero_bytes=(lambda text: b"\0" * 500, "zero bytes"),
    zero_tail=(lambda text: text.encode() + b"\0" * 500, "zero bytes"),
    sound=(lambda text: b"fLaC\x00\x00\x00\x22\xff\xfe\x80", "cannot be read as CSV"),
    archive=(lambda text: b"PK\x03\x04\x14\x00\x06\x00\xb5\xe6", "cannot be read as CSV"),
    latin=(lambda text: text.replace("sim000", "jürgen").encode("latin-1"), "UTF-8"),
    odd_utf16=(lambda text: text.encode("utf-16")[:-1], "UTF-16"),
    json=(lambda text: b'{"a": [1, 2]}', "lacks the columns"),
    page=(lambda text: b"<!doctype html>\n<html>", "lacks the columns"),
    other_table=(lambda text: b"a,b\n1,2\n", "lacks the columns"),
    no_header=(lambda text: text.split("\n", 1)[1].encode(), "lacks the columns"),
    open_quote=(lambda text: text.replace("sim000", '"sim000', 1).encode(), "damaged"),
    extra_field=(lambda text: text.replace("sim000", "sim,000", 1).encode(), "13 of 12"),
    column_twice=(lambda text: doubled_column(text).encode(), "twice"),
    long_field=(lambda text: text.replace("sim000", "x" * 200_000, 1).encode(), "line 2"),
    merged=(lambda text: text.encode() + text.encode(), "line"),
)


def doubled_column(text):
    "Every line with its last field twice."
    return "\n".join(f"{line},{line.split(',')[-1]}" for line in text.splitlines()) + "\n"


@pytest.mark.parametrize("damage", [*DAMAGES])
@pytest.mark.parametrize("kind", ["rating", "pairwise"])
def test_damaged_and_foreign_files(studies, tmp_path, kind, damage):
    made, answers = studies[kind]
    change, match = DAMAGES[damage]
    file = tmp_path / "answers of someone.csv"
    file.write_bytes(change(answers.to_csv(index=False)))
    check_refused_by_name(made, file, match)
    (tmp_path / "good.csv").write_text(answers.to_csv(index=False))
    if damage != "header_only":  # of a rater who answered nothing
        with pytest.raises(ValueError, match=r"answers of someone\.csv"):
            read_answers(tmp_path, made)


@pytest.mark.parametrize("column", list(range(12)))
@pytest.mark.parametrize("rename", [str.upper, str.title, "{} ".format, "x_{}".format, "".format])
def test_renamed_columns(studies, tmp_path, column, rename):
    made, answers = studies["pairwise"]
    old = answers.columns[column]
    file = tmp_path / "renamed.csv"
    answers.rename(columns={old: rename(old)}).to_csv(file, index=False)
    check_refused_by_name(made, file, "lacks the columns")


@pytest.mark.parametrize(
    "first, second",
    [
        ("left", "right"),
        ("rater", "trial"),
        ("position", "trial"),
        ("scale", "answer"),
        ("left", "answer"),
        ("kind", "test_id"),
        ("seconds", "answered_at"),
        ("position", "answer"),
    ],
)
@pytest.mark.parametrize("kind", ["rating", "pairwise"])
def test_columns_that_changed_places(studies, tmp_path, kind, first, second):
    made, answers = studies[kind]
    file = tmp_path / "swapped.csv"
    swapped = {first: second, second: first}
    if (kind, first, second) == ("rating", "position", "answer"):
        answers = answers.assign(answer="9")
    answers.rename(columns=swapped).to_csv(file, index=False)
    check_refused_by_name(made, file)


BAD_VALUES = dict(
    position=["0", "-1", "1.5", "", "first", "99", "nan", "1e0", "²"],
    listened_s=["-1", "long", "nan", "inf", "1,5", "1.2.3"],
    seconds=["-0.1", "nan", "0x10", "1 s"],
    answered_at=["yesterday", "2024", "2024-05-01", "2024-05-01T10:00", "45413.4"],
    right=["nan", "left"],
    answer=["", "nan", "LEFT", "10", "0", "1.5", " 1", "١"],
)


@pytest.mark.parametrize("column, value", [(c, v) for c, vs in BAD_VALUES.items() for v in vs])
@pytest.mark.parametrize("kind", ["rating", "pairwise"])
def test_values_that_cannot_be_right(studies, tmp_path, kind, column, value):
    made, answers = studies[kind]
    answers = answers.astype(object)
    answers.loc[1, column] = value
    file = tmp_path / "values.csv"
    answers.to_csv(file, index=False)
    check_refused_by_name(made, file, r"values\.csv line 3")


@pytest.mark.parametrize("kind", ["rating", "pairwise"])
def test_what_spreadsheets_and_mail_do_is_read(studies, tmp_path, kind):
    made, answers = studies[kind]
    text = answers.assign(listened_s=2.25).to_csv(index=False)
    plain = tmp_path / "plain.csv"
    plain.write_text(text)
    expected = read_answers(plain, made)
    semicolons = text.replace(",", ";").replace("2.25", "2,25")
    forms = dict(
        bom=("\ufeff" + text).encode(),
        crlf=text.replace("\n", "\r\n").encode(),
        no_end=text.rstrip("\n").encode(),
        empty_rows=(text + "\n" + "," * 11 + "\n\n").encode(),
        semicolons=semicolons.encode(),
        tabs=text.replace(",", "\t").encode("utf-16"),
        utf16=text.encode("utf-16"),
        quoted=answers.assign(listened_s=2.25).to_csv(index=False, quoting=csv.QUOTE_ALL).encode(),
        reordered=answers.assign(listened_s=2.25)[answers.columns[::-1]].to_csv().encode(),
        more=answers.assign(listened_s=2.25, where="home", note="x").to_csv(index=False).encode(),
    )
    for name, data in forms.items():
        file = tmp_path / f"{name}.csv"
        file.write_bytes(data)
        pd.testing.assert_frame_equal(read_answers(file, made), expected, obj=name)
        assert file.read_bytes() == data


@pytest.mark.parametrize("kind", ["rating", "pairwise"])
def test_two_files_of_one_rater(studies, tmp_path, kind):
    made, answers = studies[kind]
    n_questions = len(answers)
    values = ("left", "right") if kind == "pairwise" else ("1", "9")
    early = answers.assign(answer=values[0], answered_at="2024-05-01T23:00:00.000Z")
    late = answers[:2].assign(answer=values[1], answered_at="2024-05-02T00:30:00.000+01:00")
    # the later file by time has the earlier name
    late.to_csv(tmp_path / "a.csv", index=False)
    early.to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(ValueError, match=r"b\.csv line 2 .* again .* after a\.csv line 2"):
        read_answers(tmp_path, made)
    table = read_answers(tmp_path, made, duplicates="last")
    column = "choice" if kind == "pairwise" else "rating"
    assert table[column].astype(str).tolist().count(values[1]) == 2
    assert len(table) == n_questions


def test_folders_with_other_files(studies, tmp_path):
    made, answers = studies["rating"]
    text = answers.to_csv(index=False)
    with pytest.raises(ValueError, match="no answer file in"):
        read_answers(tmp_path, made)
    for name in ("._a.csv", "~$a.csv", "notes.txt", "picture.png"):
        (tmp_path / name).write_bytes(b"\0\1")
    (tmp_path / "old.csv").mkdir()
    (tmp_path / "A.CSV").write_text(text)
    assert len(read_answers(tmp_path, made)) == len(answers)
    for suffix in (".part", ".crdownload", ".download"):
        unfinished = tmp_path / f"b.csv{suffix}"
        unfinished.write_text(text)
        with pytest.raises(ValueError, match=f"b.csv{suffix} is an unfinished download"):
            read_answers(tmp_path, made)
        unfinished.unlink()


def test_codes_of_raters_may_be_replaced(studies, tmp_path):
    made, answers = studies["pairwise"]
    renamed = answers.assign(rater=answers.rater.map(dict(sim000="P1", sim001="P2")))
    assert len(check_answers(renamed, read_key(made))) == len(answers)
    as_numbers = answers.copy()
    as_numbers["scale"] = np.nan  # as pandas reads an empty column
    assert len(check_answers(as_numbers, read_key(made))) == len(answers)


def damaged_keys(key):
    "Texts of files that are no key."
    yield from ("", "\0", "[]", "null", '"key"', "{", "a,b\n1,2\n", "{}")
    for part in ("test_id", "kind", "conditions", "clips", "trials", "n_per_rater"):
        yield json.dumps({name: value for name, value in key.items() if name != part})
        for wrong in (None, 7.5, "x", [], [5], {}):
            if part == "test_id" and wrong == "x":
                continue
            yield json.dumps(key | {part: wrong})
    yield json.dumps(key | dict(scales=[]))
    yield json.dumps(key | dict(clips=[dict(clip="c1")]))
    yield json.dumps(key | dict(clips=[*key["clips"], key["clips"][0]]))
    yield json.dumps(key | dict(clips=key["clips"][1:]))
    yield json.dumps(key | dict(trials=[dict(id="t0", clips=["c"])]))
    yield json.dumps(key | dict(trials=[dict(id="t0", clips=7)]))
    yield json.dumps(key)[:-30]


def test_damaged_keys(studies, tmp_path):
    made, _ = studies["rating"]
    file = tmp_path / "of me.json"
    for text in damaged_keys(read_key(made)):
        file.write_text(text)
        with pytest.raises(ValueError, match=r"of me\.json is not the key") as error:
            read_key(file)
        assert "delete" not in str(error.value) and "\n" not in str(error.value)
        assert file.read_text() == text
    file.write_bytes(b"\xff\xfe\x00")
    for path in (file, tmp_path, made.page):
        with pytest.raises(ValueError, match="is not the key"):
            read_key(path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_key(tmp_path / "none.json")


@pytest.mark.parametrize("files", [None, 5, [None], [b"a.csv"], pd.DataFrame(dict(rater=["a"]))])
def test_files_that_are_no_paths(studies, files):
    with pytest.raises(TypeError, match="files must be paths"):
        read_answers(files, studies["rating"][0])


@pytest.mark.parametrize("settings", [dict(scales=None), dict(scales=5), dict(conditions=None)])
def test_lists_that_are_none(tmp_path, settings):
    with pytest.raises(TypeError, match=f"{next(iter(settings))} must be (names|a list)"):
        make_test(tmp_path / "t.html", **settings)


@pytest.mark.parametrize("rater", ["001", "NA", "nan", "None", "__proto__", "constructor", "1e5"])
def test_codes_of_raters_stay_text(studies, tmp_path, rater):
    made, answers = studies["rating"]
    assert set(rater) <= set(string.ascii_letters + string.digits + "-_")
    own = answers[answers.rater == "sim000"].assign(rater=rater)
    own.to_csv(tmp_path / "a.csv", index=False)
    table = read_answers(Path(tmp_path / "a.csv"), made)
    assert table.rater.unique().tolist() == [rater]
    assert rater_report(table, made).rater.tolist() == [rater]
