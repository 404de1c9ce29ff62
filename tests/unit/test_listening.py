"""The listening test: its page in a real browser, its answers read back, its analysis against what was planted."""

import re

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from musicgen_emotion.sound.answers import read_answers, read_key, simulate_raters
from musicgen_emotion.sound.listening import rater_plan, write_listening_test
from musicgen_emotion.sound.rater_models import analyse_listening
from musicgen_emotion.sound.study_size import listening_power

SR = 8000


def make_clips(n=4, seconds=1.0):
    t = np.arange(int(seconds * SR)) / SR
    return pd.DataFrame(
        [
            dict(
                track=f"secret track {i}",
                condition=c,
                audio=(0.3 * np.sin(2 * np.pi * (200 + 40 * i + 7 * j) * t)).astype(np.float32),
            )
            for i in range(n)
            for j, c in enumerate(("unsteered", "steered"))
        ]
    )


@pytest.fixture(scope="module")
def rating(tmp_path_factory):
    return write_listening_test(
        make_clips(3),
        tmp_path_factory.mktemp("rating") / "test page.html",
        "rating",
        sample_rate=SR,
        min_listen_s=0.2,
        title="A <b>test</b> & more",
        lang="en",
    )


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_listening_test(
        make_clips(5),
        tmp_path_factory.mktemp("pairs") / "pairs.html",
        "pairwise",
        sample_rate=SR,
        min_listen_s=0,
        n_per_rater=3,
        audio="files",
        audio_format="wav",
    )


def test_a_rater_rates_reloads_goes_on_and_exports(browser, rating, tmp_path):
    url = rating.page.as_uri()
    browser.open(url)
    assert browser.js("document.title") == "A <b>test</b> & more"
    browser.start("rater-1")
    plan = rater_plan(rating.test_id, "rater-1", read_key(rating)["trials"], rating.n_per_rater)
    assert browser.js("state.plan.map(p => [p.trial, p.clips])") == [
        [p["trial"], p["clips"]] for p in plan
    ]
    browser.key("7")
    assert browser.js("document.getElementById('lock').disabled && nAnswered() === 0"), (
        "an answer was taken before the clip was heard"
    )
    for i in range(3):
        browser.key("p")
        browser.until(
            lambda: not browser.js("document.getElementById('lock').disabled"), "the clip to play"
        )
        browser.key("7")
        assert browser.js("document.getElementById('next').disabled"), (
            "next must wait for both scales"
        )
        browser.key(str(i + 1))
        assert browser.text("count") == f"{i + 1} of 6 answered"
        if i < 2:
            browser.key("Enter")
    assert browser.text("head") == "Clip 3 of 6"
    browser.call("Page.navigate", url="about:blank")
    browser.open(url)
    assert browser.js("document.getElementById('rater').value") == "rater-1"
    assert "keeps 3 answered of 6" in browser.text("known") and browser.text("go") == "Continue"
    browser.js("document.getElementById('go').click()")
    assert browser.text("head") == "Clip 3 of 6" and browser.text("count") == "3 of 6 answered"
    assert browser.js(
        "[...document.querySelectorAll('input:checked')].map(e => e.name + e.value)"
    ) == ["valence7", "arousal3"]
    for i in range(3, 6):
        browser.key("Enter")
        browser.js("document.querySelector('audio').play()")
        browser.until(
            lambda: not browser.js("document.getElementById('lock').disabled"), "the clip to play"
        )
        browser.key("2"), browser.key("9")
    browser.key("Enter")
    assert browser.js("!document.getElementById('end').hidden") and browser.text(
        "summary"
    ).startswith("6 of 6 answered.")
    browser.js("document.getElementById('export').click()")
    file = browser.downloads / f"answers_{rating.test_id}_rater-1.csv"
    browser.until(lambda: file.exists() and file.stat().st_size > 0, "the download")
    table = read_answers(file, rating)
    assert table.groupby("scale").rating.apply(list).to_dict() == dict(
        valence=[7, 7, 7, 2, 2, 2], arousal=[1, 2, 3, 9, 9, 9]
    )
    assert table["clip"][::2].tolist() == [p["clips"][0] for p in plan]
    assert (
        set(table.condition) == {"unsteered", "steered"}
        and (table.listened_s >= 0.2).all()
        and (table.seconds >= 0).all()
    )
    assert not browser.errors


def test_pairs_are_blind_and_chosen_by_keyboard(browser, pairs):
    browser.open(pairs.page.as_uri())
    browser.start("anna")
    plan = rater_plan(pairs.test_id, "anna", read_key(pairs)["trials"], 3)
    assert browser.js("state.plan.map(p => [p.trial, p.clips])") == [
        [p["trial"], p["clips"]] for p in plan
    ]
    browser.until(
        lambda: browser.js(
            "[...document.querySelectorAll('audio')].every(a => a.readyState > 0 && Math.abs(a.duration - 1) < .01)"
        ),
        "both sounds to load from their files",
    )
    for k in ("1", "2", "ArrowLeft"):
        browser.key(k), browser.key("Enter")
    assert browser.js("state.plan.map(t => state.answers[t.trial].choice)") == [
        "left",
        "right",
        "left",
    ]
    browser.js("document.getElementById('export').click()")
    file = browser.downloads / f"answers_{pairs.test_id}_anna.csv"
    browser.until(lambda: file.exists() and file.stat().st_size > 0, "the download")
    table = read_answers([file], pairs)
    assert table.chosen.tolist() == [p["clips"][s] for p, s in zip(plan, (0, 1, 0))]
    assert all(
        {a, b} == {"unsteered", "steered"}
        for a, b in zip(table.condition_left, table.condition_right)
    )
    browser.js("document.getElementById('erase').click()")
    browser.until(
        lambda: browser.js("!document.getElementById('start').hidden"), "the start screen"
    )
    assert browser.js("Object.keys(localStorage).filter(k => k.includes('anna')).length") == 0
    assert not browser.errors


def test_every_control_has_a_name_and_the_page_fits_a_phone(browser, rating):
    browser.open(rating.page.as_uri())
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=360,
        height=720,
        deviceScaleFactor=1,
        mobile=True,
    )
    browser.start("phone")
    try:
        assert browser.js("document.documentElement.scrollWidth") <= 360
        nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
        controls = [
            n
            for n in nodes
            if n.get("role", {}).get("value")
            in (
                "button",
                "radio",
                "textbox",
                "progressbar",
                "progressIndicator",
                "radiogroup",
                "group",
            )
            and not n.get("ignored")
        ]
        nameless = [n["role"]["value"] for n in controls if not n.get("name", {}).get("value")]
        assert len(controls) >= 20 and not nameless
        assert (
            browser.js("document.activeElement.id") == "head"
            and browser.js("document.documentElement.lang") == "en"
        )
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")


def test_two_raters_on_one_computer_do_not_mix(browser, rating):
    browser.open(rating.page.as_uri())
    browser.start("first")
    browser.js("state.listened[current().clips[0]] = 1; unlock(); true")
    browser.key("4")
    browser.open("about:blank"), browser.open(rating.page.as_uri())
    browser.start("second")
    assert browser.js("Object.keys(state.answers).length") == 0
    browser.open("about:blank"), browser.open(rating.page.as_uri())
    browser.start("first")
    assert browser.js("Object.values(state.answers)[0].valence") == 4


def test_the_page_tells_nothing(rating, pairs):
    for made in (rating, pairs):
        text = re.sub('base64,[^"]*', "", made.page.read_text())
        for secret in ("steered", "secret", "track 1", str(made.page.parent)):
            assert secret not in text
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), (
            "the page must not point anywhere"
        )
    names = sorted(f.name for f in (pairs.page.parent / "pairs_sounds").iterdir())
    assert names == sorted(f"{c['clip']}.wav" for c in read_key(pairs)["clips"])
    assert {
        sf.info(pairs.page.parent / "pairs_sounds" / n).extra_info.count("steered") for n in names
    } == {0}


def test_files_are_read_like_arrays(tmp_path):
    clips = make_clips(2)
    for i, w in enumerate(clips.audio):
        sf.write(tmp_path / f"{i}.flac", w, SR, subtype="PCM_16")
    made = write_listening_test(
        clips.assign(audio=[tmp_path / f"{i}.flac" for i in range(4)]), tmp_path / "t.html"
    )
    assert [c["source"] for c in read_key(made)["clips"]] == [
        str(tmp_path / f"{i}.flac") for i in range(4)
    ]
    assert made.n_trials == 4


def answers(made, n=3):
    return simulate_raters(made, n, dict(unsteered=0, steered=1))


@pytest.mark.parametrize(
    "change, match",
    [
        (dict(test_id="another"), "is of test 'another'"),
        (dict(kind="pairwise"), "has kind"),
        (dict(left="c0"), "unknown clip 'c0'"),
        (dict(trial="t999"), "unknown trial"),
        (dict(answer="0"), "rating '0'"),
        (dict(answer="5.5"), "rating '5.5'"),
        (dict(answer=""), "rating ''"),
        (dict(answer="10"), "rating '10'"),
        (dict(scale="mood"), "unknown scale"),
        (dict(rater=""), "no rater"),
    ],
)
def test_wrong_answers_are_named_by_line(rating, tmp_path, change, match):
    table = answers(rating)
    for k, v in change.items():
        table.loc[3, k] = v
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ValueError, match=match) as e:
        read_answers(tmp_path / "a.csv", rating)
    assert "a.csv line 5" in str(e.value)


def test_wrong_files(rating, pairs, tmp_path):
    table = answers(rating)
    table.to_csv(tmp_path / "a.csv", index=False)
    for files, match in (
        ([tmp_path / "a.csv"] * 2, "again for rater"),
        ([], "no answer file"),
        (tmp_path / "none", "does not exist"),
        ([rating.key], "lacks the columns|cannot be read"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=match):
            read_answers(files, rating)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="cannot be read as CSV"):
        read_answers(tmp_path / "empty.csv", rating)
    table[:0].to_csv(tmp_path / "none.csv", index=False)
    with pytest.raises(ValueError, match="no answer in the files"):
        read_answers(tmp_path / "none.csv", rating)
    swapped = answers(pairs).assign(answer="both")
    swapped.to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(ValueError, match="accepted: left, right"):
        read_answers(tmp_path / "p.csv", pairs)
    with pytest.raises(ValueError, match="not the key"):
        read_key(write_key(tmp_path))
    assert len(read_answers([tmp_path / "a.csv"] * 2, rating, duplicates="last")) == len(table)


def write_key(folder):
    (folder / "key.json").write_text("[1, 2]")
    return folder / "key.json"


@pytest.mark.parametrize(
    "kwargs, error, match",
    [
        (dict(kind="rank"), ValueError, "kind must be"),
        (dict(conditions=["mood"]), KeyError, "mood"),
        (dict(conditions=[]), ValueError, "at least one condition"),
        (dict(out="x.txt"), ValueError, "ending of out"),
        (dict(sample_rate=None), ValueError, "sample_rate must be given"),
        (dict(audio="stream"), ValueError, "audio must be"),
        (dict(audio_format="mp3"), ValueError, "audio_format"),
        (dict(n_per_rater=0), ValueError, "n_per_rater"),
        (dict(scales=[]), ValueError, "at least one"),
        (dict(scales=["joy"]), ValueError, "scale must be"),
        (dict(min_listen_s=-1), ValueError, "min_listen_s"),
        (dict(clips=make_clips(2)[:0]), ValueError, "needs clips"),
        (dict(clips=make_clips(2).assign(audio="nowhere.wav")), FileNotFoundError, "nowhere.wav"),
        (
            dict(clips=make_clips(2).assign(condition=[None, "a", "b", "a"])),
            ValueError,
            "missing entries",
        ),
        (dict(kind="pairwise", clips=make_clips(1)[:1]), ValueError, "no track has two"),
    ],
)
def test_what_makes_no_test(tmp_path, kwargs, error, match):
    args = dict(clips=make_clips(2), out="x.html", kind="rating", sample_rate=SR) | kwargs
    with pytest.raises(error, match=match):
        write_listening_test(**(args | dict(out=tmp_path / args["out"])))
    assert not list(tmp_path.iterdir())


def logit_by_quadrature(y, groups, b, sd):
    "Log likelihood of a logistic model with one random intercept, by 40-point Gauss-Hermite quadrature."
    z, w = np.polynomial.hermite_e.hermegauss(40)
    p = 1 / (1 + np.exp(-(b + sd * z)))
    k, n = (np.bincount(groups, v) for v in (y, np.ones(len(y))))
    return np.log((p ** k[:, None] * (1 - p) ** (n - k)[:, None] * w / w.sum()).sum(1)).sum()


def test_the_choice_model_agrees_with_quadrature():
    from musicgen_emotion.sound.rater_models import _laplace

    draw = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 20)
    y = (draw.random(600) < 1 / (1 + np.exp(-(0.7 + draw.normal(0, 0.8, 30)[groups])))).astype(
        float
    )
    for b, sd in ((0.7, 0.8), (0, 0.5), (1.2, 1.1)):
        theta = np.array([b, np.log(sd), -12.0])
        assert (
            abs(
                -_laplace(theta, y, np.ones((600, 1)), (groups, groups * 0), {})
                - logit_by_quadrature(y, groups, b, sd)
            )
            < 0.6
        )


def test_the_mixed_model_covers_the_truth_over_studies(tmp_path):
    clips = make_clips(12, 0.3)
    made = write_listening_test(
        clips, tmp_path / "t.html", "rating", sample_rate=SR, scales=["valence"], seed=1
    )
    hits, rows = 0, 0
    for seed in range(6):
        simulate_raters(
            made, 12, dict(unsteered=0, steered=0.8), sd_rater=0.6, sd_track=0.6, seed=seed
        ).to_csv(tmp_path / "a.csv", index=False)
        e = analyse_listening(
            read_answers(tmp_path / "a.csv", made), baseline="unsteered", n_boot=300
        ).effects.set_index("method")
        hits += e.loc["mixed", "low"] < 0.8 < e.loc["mixed", "high"]
        rows += e.loc["bootstrap", "low"] < 0.8 < e.loc["bootstrap", "high"]
    assert hits >= 5 and rows >= 5


def test_counting_answers_as_independent_finds_effects_in_nothing():
    kw = dict(n_raters=15, n_tracks=10, effect=0.0, sd_rater=0.5, sd_track=0.6, n_sims=1000)
    assert listening_power(**kw, method="rows").low > 0.2 and listening_power(**kw).value < 0.075


def test_three_conditions_and_clips_between_tracks(tmp_path):
    clips = make_clips(8, 0.3).assign(condition=["a", "b", "c", "a"] * 4)
    clips["track"] = [f"t{i}" for i in range(16)]
    made = write_listening_test(
        clips, tmp_path / "t.html", "rating", sample_rate=SR, scales=["arousal"]
    )
    simulate_raters(made, 10, dict(a=0, b=1.5, c=-1.5), sd_track=0.2).to_csv(
        tmp_path / "a.csv", index=False
    )
    r = analyse_listening(read_answers(tmp_path / "a.csv", made), baseline="a", n_boot=200)
    mixed = r.effects[r.effects.method == "mixed"].set_index("level").estimate
    assert (
        mixed["b"] > 0.7 and mixed["c"] < -0.7 and "track x effect" not in set(r.variance.component)
    )
    p = r.power([0.1, 2.0], n_sims=200)
    assert (
        set(p.design) == {"between"}
        and len(p) == 4
        and (p[p.effect == 2].power.to_numpy() >= p[p.effect == 0.1].power.to_numpy()).all()
        and np.isfinite(p[["sd_rater", "sd_track", "sd_residual"]]).all(None)
    )


def test_power_of_the_study_is_that_of_its_fitted_spreads(tmp_path):
    made = write_listening_test(
        make_clips(8, 0.3),
        tmp_path / "t.html",
        "rating",
        sample_rate=SR,
        scales=["valence", "arousal"],
        n_per_rater=12,
    )
    simulate_raters(made, 10, dict(unsteered=0, steered=0.6), sd_rater=0.6, sd_track=0.6).to_csv(
        tmp_path / "a.csv", index=False
    )
    r = analyse_listening(read_answers(tmp_path / "a.csv", made), baseline="unsteered", n_boot=100)
    assert set(r.effects.design) == {"within"} and (r.effects.n_per_rater < 8).all()
    p = r.power(0.7, n_sims=300).set_index("scale")
    for scale, row in p.iterrows():
        sd = r.variance[r.variance.scale == scale].set_index("component").sd
        want = listening_power(
            10,
            8,
            0.7,
            sd["rater x effect"],
            sd["track x effect"],
            sd["residual"],
            "within",
            int(row.n_per_rater),
            n_sims=300,
        )
        assert (row.power, row.low, row.high) == (want.value, want.low, want.high)
    more = r.power(0.7, n_raters=40, n_tracks=32, n_sims=300).set_index("scale")
    assert (
        (more.power >= p.power).all()
        and more.power.sum() > p.power.sum()
        and set(more.n_tracks) == {32}
    )


def test_when_everyone_chooses_the_same_nothing_breaks(pairs, tmp_path):
    simulate_raters(pairs, 8, dict(unsteered=0, steered=60), sd_rater=0, sd_track=0).to_csv(
        tmp_path / "a.csv", index=False
    )
    e = analyse_listening(
        read_answers(tmp_path / "a.csv", pairs), baseline="unsteered", n_boot=100
    ).effects.set_index("method")
    assert (
        e.loc["bootstrap", "estimate"] == 1
        and np.isnan(e.loc["clustered", "p"])
        and e.loc["mixed", "estimate"] > 2
        and not 0 <= e.loc["mixed", "p"] < 1e-9
    )
