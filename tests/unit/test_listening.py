"""The listening test: its page in a real browser, its answers, its analysis against the truth."""

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from musicgen_emotion.sound.answers import read_answers, read_key, simulate_raters
from musicgen_emotion.sound.listening import rater_plan, write_listening_test
from musicgen_emotion.sound.rater_models import CrossedLogit, analyse_listening
from musicgen_emotion.sound.study_size import listening_power

SR = 8000


def make_clips(n_tracks=4, seconds=1.0):
    "Pure tones, two conditions a track."
    time = np.arange(int(seconds * SR)) / SR
    rows = []
    for track, (j, condition) in product(range(n_tracks), enumerate(("unsteered", "steered"))):
        wave = 0.3 * np.sin(2 * np.pi * (200 + 40 * track + 7 * j) * time)
        row = dict(track=f"secret track {track}", condition=condition)
        rows.append(row | dict(audio=wave.astype(np.float32)))
    return pd.DataFrame(rows)


def simulate_to_file(made, path, n_raters, effect=None, **settings):
    "Answers of simulated raters in one file."
    effect = dict(unsteered=0, steered=1) if effect is None else effect
    simulate_raters(made, n_raters, effect, **settings).to_csv(path, index=False)
    return path


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


# The page in a browser


def page_plan(browser):
    "Trials and sides as the page shows them."
    return browser.js("state.plan.map(p => [p.trial, p.clips])")


def expected_plan(made, rater, n_per_rater):
    plan = rater_plan(made.test_id, rater, read_key(made)["trials"], n_per_rater)
    return [[trial["trial"], trial["clips"]] for trial in plan]


def is_locked(browser):
    return browser.js("document.getElementById('lock').disabled")


def click(browser, element):
    browser.js(f"document.getElementById('{element}').click()")


def exported(browser, made, rater):
    "The answer file that the page downloads."
    click(browser, "export")
    file = browser.downloads / f"answers_{made.test_id}_{rater}.csv"
    browser.until(lambda: file.exists() and file.stat().st_size > 0, "the download")
    return file


def test_a_rater_rates_reloads_goes_on_and_exports(browser, rating):
    url = rating.page.as_uri()
    browser.open(url)
    assert browser.js("document.title") == "A <b>test</b> & more"
    browser.start("rater-1")
    plan = expected_plan(rating, "rater-1", rating.n_per_rater)
    assert page_plan(browser) == plan
    browser.key("7")
    no_answer_yet = browser.js("nAnswered() === 0")
    assert is_locked(browser) and no_answer_yet, "an answer was taken before the clip was heard"
    for i in range(3):
        browser.key("p")
        browser.until(lambda: not is_locked(browser), "the clip to play")
        browser.key("7")
        next_waits = browser.js("document.getElementById('next').disabled")
        assert next_waits, "next must wait for both scales"
        browser.key(str(i + 1))
        assert browser.text("count") == f"{i + 1} of 6 answered"
        if i < 2:
            browser.key("Enter")
    assert browser.text("head") == "Clip 3 of 6"

    browser.open("about:blank")
    browser.open(url)
    kept = "document.getElementById('rater').value === 'rater-1'"
    browser.until(lambda: browser.js(kept), "the code that the browser keeps")
    assert "keeps 3 answered of 6" in browser.text("known")
    assert browser.text("go") == "Continue"
    click(browser, "go")
    assert browser.text("head") == "Clip 3 of 6"
    assert browser.text("count") == "3 of 6 answered"
    checked = browser.js("[...document.querySelectorAll('input:checked')].map(e => e.name+e.value)")
    assert checked == ["valence7", "arousal3"]

    for _ in range(3, 6):
        browser.key("Enter")
        browser.js("document.querySelector('audio').play()")
        browser.until(lambda: not is_locked(browser), "the clip to play")
        browser.key("2")
        browser.key("9")
    browser.key("Enter")
    assert browser.js("!document.getElementById('end').hidden")
    assert browser.text("summary").startswith("6 of 6 answered.")

    table = read_answers(exported(browser, rating, "rater-1"), rating)
    by_scale = table.groupby("scale").rating.apply(list).to_dict()
    assert by_scale == dict(valence=[7, 7, 7, 2, 2, 2], arousal=[1, 2, 3, 9, 9, 9])
    assert table["clip"][::2].tolist() == [clips[0] for _, clips in plan]
    assert set(table.condition) == {"unsteered", "steered"}
    assert (table.listened_s >= 0.2).all() and (table.seconds >= 0).all()
    assert not browser.errors


def test_pairs_are_blind_and_chosen_by_keyboard(browser, pairs):
    browser.open(pairs.page.as_uri())
    browser.start("anna")
    plan = expected_plan(pairs, "anna", 3)
    assert page_plan(browser) == plan
    all_loaded = (
        "[...document.querySelectorAll('audio')]"
        ".every(a => a.readyState > 0 && Math.abs(a.duration - 1) < .01)"
    )
    browser.until(lambda: browser.js(all_loaded), "both sounds to load from their files")
    for key in ("1", "2", "ArrowLeft"):
        browser.key(key)
        browser.key("Enter")
    choices = browser.js("state.plan.map(t => state.answers[t.trial].choice)")
    assert choices == ["left", "right", "left"]

    table = read_answers([exported(browser, pairs, "anna")], pairs)
    assert table.chosen.tolist() == [clips[side] for (_, clips), side in zip(plan, (0, 1, 0))]
    for left, right in zip(table.condition_left, table.condition_right):
        assert {left, right} == {"unsteered", "steered"}
    click(browser, "erase")
    start_is_shown = "!document.getElementById('start').hidden"
    browser.until(lambda: browser.js(start_is_shown), "the start screen")
    assert browser.js("Object.keys(localStorage).filter(k => k.includes('anna')).length") == 0
    assert not browser.errors


def test_every_control_has_a_name_and_the_page_fits_a_phone(browser, rating):
    browser.open(rating.page.as_uri())
    phone = dict(width=360, height=720, deviceScaleFactor=1, mobile=True)
    browser.call("Emulation.setDeviceMetricsOverride", **phone)
    browser.start("phone")
    control_roles = {
        "button",
        "radio",
        "textbox",
        "progressbar",
        "progressIndicator",
        "radiogroup",
        "group",
    }
    try:
        assert browser.js("document.documentElement.scrollWidth") <= 360
        nameless = []
        n_controls = 0
        for node in browser.call("Accessibility.getFullAXTree")["nodes"]:
            role = node.get("role", {}).get("value")
            if role in control_roles and not node.get("ignored"):
                n_controls += 1
                if not node.get("name", {}).get("value"):
                    nameless.append(role)
        assert n_controls >= 20 and not nameless
        assert browser.js("document.activeElement.id") == "head"
        assert browser.js("document.documentElement.lang") == "en"
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")


def test_two_raters_on_one_computer_do_not_mix(browser, rating):
    browser.open(rating.page.as_uri())
    browser.start("first")
    browser.js("state.listened[current().clips[0]] = 1; unlock(); true")
    browser.key("4")
    browser.open("about:blank")
    browser.open(rating.page.as_uri())
    browser.start("second")
    assert browser.js("Object.keys(state.answers).length") == 0
    browser.open("about:blank")
    browser.open(rating.page.as_uri())
    browser.start("first")
    assert browser.js("Object.values(state.answers)[0].valence") == 4


# What is written


def test_the_page_tells_nothing(rating, pairs):
    for made in (rating, pairs):
        text = re.sub('base64,[^"]*', "", made.page.read_text())
        for secret in ("steered", "secret", "track 1", str(made.page.parent)):
            assert secret not in text
        links = re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
        assert not links, "the page must not point anywhere"
    folder = pairs.page.parent / "pairs_sounds"
    names = sorted(file.name for file in folder.iterdir())
    assert names == sorted(f"{clip['clip']}.wav" for clip in read_key(pairs)["clips"])
    assert not any("steered" in sf.info(folder / name).extra_info for name in names)


def test_files_are_read_like_arrays(tmp_path):
    clips = make_clips(2)
    files = [tmp_path / f"{i}.flac" for i in range(4)]
    for file, wave in zip(files, clips.audio):
        sf.write(file, wave, SR, subtype="PCM_16")
    made = write_listening_test(clips.assign(audio=files), tmp_path / "t.html")
    assert [clip["source"] for clip in read_key(made)["clips"]] == list(map(str, files))
    assert made.n_trials == 4


@pytest.mark.parametrize(
    "settings, error, match",
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
def test_what_makes_no_test(tmp_path, settings, error, match):
    usual = dict(clips=make_clips(2), out="x.html", kind="rating", sample_rate=SR)
    settings = usual | settings
    settings["out"] = tmp_path / settings["out"]
    with pytest.raises(error, match=match):
        write_listening_test(**settings)
    assert not list(tmp_path.iterdir())


# What is read


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
    table = simulate_raters(rating, 3, dict(unsteered=0, steered=1))
    for column, value in change.items():
        table.loc[3, column] = value
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ValueError, match=match) as error:
        read_answers(tmp_path / "a.csv", rating)
    assert "a.csv line 5" in str(error.value)


def test_wrong_files(rating, pairs, tmp_path):
    file = simulate_to_file(rating, tmp_path / "a.csv", 3)
    for files, match in (
        ([file] * 2, "again for rater"),
        ([], "no answer file"),
        (tmp_path / "none", "does not exist"),
        ([rating.key], "lacks the columns|cannot be read"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=match):
            read_answers(files, rating)

    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="cannot be read as CSV"):
        read_answers(tmp_path / "empty.csv", rating)
    pd.read_csv(file)[:0].to_csv(tmp_path / "none.csv", index=False)
    with pytest.raises(ValueError, match="no answer in the files"):
        read_answers(tmp_path / "none.csv", rating)
    both = simulate_raters(pairs, 3, dict(unsteered=0, steered=1)).assign(answer="both")
    both.to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(ValueError, match="accepted: left, right"):
        read_answers(tmp_path / "p.csv", pairs)
    (tmp_path / "key.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="not the key"):
        read_key(tmp_path / "key.json")
    twice = read_answers([file] * 2, rating, duplicates="last")
    assert len(twice) == len(read_answers(file, rating))


# The analysis


def crossed_ratings(seed=3, n_raters=12, n_tracks=10, effect=0.8):
    "A balanced crossed study: every rater rates every track in both conditions."
    draw = np.random.default_rng(seed)
    rows = product(range(n_raters), range(n_tracks), (-0.5, 0.5))
    table = pd.DataFrame(rows, columns=["rater", "track", "x"])
    mean = draw.normal(0, 0.7, n_raters)[table.rater] + draw.normal(0, 0.5, n_tracks)[table.track]
    of_rater = draw.normal(0, 0.6, n_raters)[table.rater]
    of_track = draw.normal(0, 0.6, n_tracks)[table.track]
    response = (effect + of_rater + of_track) * table.x
    return table.assign(
        scale="valence",
        condition=np.where(table.x > 0, "steered", "plain"),
        rating=5 + mean + response + draw.normal(0, 1, len(table)),
    )


def variance_analysis(table):
    "Estimate, standard error and spreads by the textbook's two-way analysis of differences."
    wide = table.pivot(index="rater", columns=["track", "x"], values="rating")
    differences = (wide.xs(0.5, axis=1, level="x") - wide.xs(-0.5, axis=1, level="x")).to_numpy()
    n_raters, n_tracks = differences.shape
    estimate = differences.mean()
    of_raters = differences.mean(1) - estimate
    of_tracks = differences.mean(0) - estimate
    residual = differences - estimate - of_raters[:, None] - of_tracks
    ms_raters = n_tracks * (of_raters**2).sum() / (n_raters - 1)
    ms_tracks = n_raters * (of_tracks**2).sum() / (n_tracks - 1)
    ms_residual = (residual**2).sum() / ((n_raters - 1) * (n_tracks - 1))
    variance = (ms_raters + ms_tracks - ms_residual) / differences.size
    return dict(
        estimate=estimate,
        se=np.sqrt(variance),
        sd_rater=np.sqrt((ms_raters - ms_residual) / n_tracks),
        sd_track=np.sqrt((ms_tracks - ms_residual) / n_raters),
    )


def test_the_mixed_model_agrees_with_mixedlm_and_with_analysis_of_variance():
    from statsmodels.regression.mixed_linear_model import MixedLM

    table = crossed_ratings()
    result = analyse_listening(table, baseline="plain", n_boot=50)
    ours = result.effects.set_index("method").loc["mixed"]
    sd = result.variance.set_index("component").sd

    components = {
        "rater": "0 + C(rater)",
        "rater x": "0 + C(rater):x",
        "track": "0 + C(track)",
        "track x": "0 + C(track):x",
    }
    model = MixedLM.from_formula(
        "rating ~ x", groups=np.ones(len(table)), vc_formula=components, data=table
    )
    theirs = model.fit()
    assert ours.estimate == pytest.approx(theirs.fe_params["x"], abs=1e-6)
    assert ours.se == pytest.approx(theirs.bse["x"], rel=1e-3)
    expected = np.sqrt([*theirs.vcomp, theirs.scale])
    names = ["rater", "rater x effect", "track", "track x effect", "residual"]
    np.testing.assert_allclose(sd[names], expected, rtol=1e-2)

    textbook = variance_analysis(table)
    assert ours.estimate == pytest.approx(textbook["estimate"], abs=1e-6)
    assert ours.se == pytest.approx(textbook["se"], rel=0.03)
    assert sd["rater x effect"] == pytest.approx(textbook["sd_rater"], rel=0.05)
    assert sd["track x effect"] == pytest.approx(textbook["sd_track"], rel=0.05)


def test_mixedlm_grouped_by_raters_alone_forgets_the_tracks():
    "What statsmodels' usual call does differently: one grouping factor, so tracks are fixed."
    from statsmodels.regression.mixed_linear_model import MixedLM

    table = crossed_ratings()
    by_raters = MixedLM.from_formula("rating ~ x", groups="rater", re_formula="~x", data=table)
    narrow = by_raters.fit()
    ours = analyse_listening(table, baseline="plain", n_boot=50).effects.set_index("method")
    assert ours.estimate["mixed"] == pytest.approx(narrow.fe_params["x"], abs=1e-3)
    assert ours.se["mixed"] > 1.1 * narrow.bse["x"]


def log_likelihood_by_quadrature(chosen, groups, log_odds, sd):
    "Logistic model with one random intercept, by 40-point Gauss-Hermite quadrature."
    points, weights = np.polynomial.hermite_e.hermegauss(40)
    chance = 1 / (1 + np.exp(-(log_odds + sd * points)))  # (point,)
    hits = np.bincount(groups, chosen)[:, None]
    misses = np.bincount(groups, 1 - chosen)[:, None]
    likelihood = (chance**hits * (1 - chance) ** misses * weights / weights.sum()).sum(1)
    return np.log(likelihood).sum()


def test_the_choice_model_agrees_with_quadrature():
    draw = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 20)
    true_log_odds = 0.7 + draw.normal(0, 0.8, 30)[groups]
    chosen = (draw.random(600) < 1 / (1 + np.exp(-true_log_odds))).astype(float)
    one_track = np.zeros_like(groups)
    for log_odds, sd in ((0.7, 0.8), (0, 0.5), (1.2, 1.1)):
        logit = CrossedLogit(chosen, np.ones((600, 1)), (groups, one_track))
        ours = logit.log_likelihood(np.array([log_odds]), np.array([np.log(sd), -12.0]))
        assert abs(ours - log_likelihood_by_quadrature(chosen, groups, log_odds, sd)) < 0.6


def test_the_choice_model_agrees_with_the_posterior_mode_of_statsmodels():
    from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM

    draw = np.random.default_rng(5)
    table = pd.DataFrame(product(range(20), range(15)), columns=["rater", "track"])
    log_odds = 0.9 + draw.normal(0, 0.7, 20)[table.rater] + draw.normal(0, 0.6, 15)[table.track]
    chose_steered = draw.random(300) < 1 / (1 + np.exp(-log_odds))
    is_right = draw.random(300) < 0.5
    table["condition_left"] = np.where(is_right, "plain", "steered")
    table["condition_right"] = np.where(is_right, "steered", "plain")
    table["choice"] = np.where(chose_steered == is_right, "right", "left")
    result = analyse_listening(table, baseline="plain", n_boot=50)
    ours = result.effects.set_index("method")

    data = table.assign(y=chose_steered.astype(float), side=np.where(is_right, 0.5, -0.5))
    units = dict(rater="0 + C(rater)", track="0 + C(track)")
    model = BinomialBayesMixedGLM.from_formula("y ~ side", units, data, vcp_p=0.5, fe_p=10)
    theirs = model.fit_map(rng=0)  # its start is drawn
    for method, mean in zip(("mixed", "mixed, side"), theirs.fe_mean):
        assert abs(ours.estimate[method] - mean) < 0.5 * ours.se[method], (method, mean)


def test_the_mixed_model_covers_the_truth_over_studies(tmp_path):
    clips = make_clips(12, 0.3)
    made = write_listening_test(
        clips, tmp_path / "t.html", "rating", sample_rate=SR, scales=["valence"], seed=1
    )
    covered = dict(mixed=0, bootstrap=0)
    for seed in range(6):
        effect = dict(unsteered=0, steered=0.8)
        spreads = dict(sd_rater=0.6, sd_track=0.6)
        file = simulate_to_file(made, tmp_path / "a.csv", 12, effect, seed=seed, **spreads)
        result = analyse_listening(read_answers(file, made), baseline="unsteered", n_boot=300)
        effects = result.effects.set_index("method")
        for method in covered:
            covered[method] += effects.low[method] < 0.8 < effects.high[method]
    assert min(covered.values()) >= 5, covered


def test_counting_answers_as_independent_finds_effects_in_nothing():
    study = dict(n_raters=15, n_tracks=10, effect=0.0, sd_rater=0.5, sd_track=0.6, n_sims=1000)
    assert listening_power(**study, method="rows").low > 0.2
    assert listening_power(**study).value < 0.075


def test_three_conditions_and_clips_between_tracks(tmp_path):
    clips = make_clips(8, 0.3).assign(condition=["a", "b", "c", "a"] * 4)
    clips["track"] = [f"t{i}" for i in range(16)]
    made = write_listening_test(
        clips, tmp_path / "t.html", "rating", sample_rate=SR, scales=["arousal"]
    )
    effect = dict(a=0, b=1.5, c=-1.5)
    file = simulate_to_file(made, tmp_path / "a.csv", 10, effect, sd_track=0.2)
    result = analyse_listening(read_answers(file, made), baseline="a", n_boot=200)
    mixed = result.effects[result.effects.method == "mixed"].set_index("level").estimate
    assert mixed["b"] > 0.7 and mixed["c"] < -0.7
    assert "track x effect" not in set(result.variance.component)

    power = result.power([0.1, 2.0], n_sims=200)
    assert set(power.design) == {"between"} and len(power) == 4
    small = power[power.effect == 0.1].power.to_numpy()
    large = power[power.effect == 2.0].power.to_numpy()
    assert (large >= small).all()
    assert np.isfinite(power[["sd_rater", "sd_track", "sd_residual"]]).all(axis=None)


def test_power_of_the_study_is_that_of_its_fitted_spreads(tmp_path):
    made = write_listening_test(
        make_clips(8, 0.3),
        tmp_path / "t.html",
        "rating",
        sample_rate=SR,
        scales=["valence", "arousal"],
        n_per_rater=12,
    )
    effect = dict(unsteered=0, steered=0.6)
    file = simulate_to_file(made, tmp_path / "a.csv", 10, effect, sd_rater=0.6, sd_track=0.6)
    result = analyse_listening(read_answers(file, made), baseline="unsteered", n_boot=100)
    assert set(result.effects.design) == {"within"}
    assert (result.effects.n_per_rater < 8).all()

    power = result.power(0.7, n_sims=300).set_index("scale")
    for scale, row in power.iterrows():
        sd = result.variance[result.variance.scale == scale].set_index("component").sd
        expected = listening_power(
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
        assert (row.power, row.low, row.high) == (expected.value, expected.low, expected.high)
    more = result.power(0.7, n_raters=40, n_tracks=32, n_sims=300).set_index("scale")
    assert (more.power >= power.power).all()
    assert more.power.sum() > power.power.sum()
    assert set(more.n_tracks) == {32}


def test_when_everyone_chooses_the_same_nothing_breaks(pairs, tmp_path):
    effect = dict(unsteered=0, steered=60)
    file = simulate_to_file(pairs, tmp_path / "a.csv", 8, effect, sd_rater=0, sd_track=0)
    result = analyse_listening(read_answers(file, pairs), baseline="unsteered", n_boot=100)
    effects = result.effects.set_index("method")
    assert effects.estimate["bootstrap"] == 1
    assert np.isnan(effects.p["clustered"])
    assert effects.estimate["mixed"] > 2
    assert not 0 <= effects.p["mixed"] < 1e-9
