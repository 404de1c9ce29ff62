"Figures show what their table holds, and players hold their sound."

import base64
import io
import re

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from musicgen_emotion.lab.gates import Gate
from musicgen_emotion.show.figures import save_figure, saved_figure
from musicgen_emotion.show.heatmaps import (
    plot_confusion,
    plot_correlations,
    plot_gates,
    plot_heatmap,
    plot_scores,
)
from musicgen_emotion.show.pages import audio_table, audio_tag
from musicgen_emotion.show.plots import (
    emotion_order,
    plot_dose,
    plot_histograms,
    plot_layers,
    plot_null,
    plot_time,
)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def wave():
    seconds = np.arange(2 * 8000) / 8000
    return (0.3 * np.sin(2 * np.pi * 440 * seconds)).astype(np.float32)


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_curves_are_sorted_by_number_and_keep_the_order_of_names():
    table = pd.DataFrame(dict(layer=[2, 0, 1], score=[0.2, 0.0, 0.1]))
    np.testing.assert_array_equal(plot_layers(table).lines[0].get_xdata(), [0, 1, 2])
    named = table.assign(layer=["c", "a", "b"])
    assert list(plot_layers(named).lines[0].get_xdata()) == ["c", "a", "b"]


def test_an_emotion_has_one_colour_in_every_figure():
    table = pd.DataFrame(dict(layer=[0, 0], score=[0.1, 0.2], emotion=["sad", "happy"]))
    together = plot_layers(table, hue="emotion")
    alone = plot_layers(table[table.emotion == "sad"], hue="emotion")
    assert together.lines[1].get_color() == alone.lines[0].get_color()
    assert legend_texts(together) == ["happy", "sad"]


def test_random_directions_become_a_band():
    rows = [
        dict(alpha=alpha, value=slope * alpha, direction="random")
        for slope in np.linspace(-1, 1, 41)
        for alpha in (-1, 0, 1)
    ]
    rows += [dict(alpha=alpha, value=2.0 * alpha, direction="valence") for alpha in (-1, 0, 1)]
    table = pd.DataFrame(rows)
    ax = plot_dose(table, hue="direction")
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(0.95) and legend_texts(ax)[0] == "random, 95%"
    assert len(plot_dose(table, hue="direction", control=None).lines) == 3


def test_the_grey_band_covers_all_shuffled_bands():
    parts = [
        pd.DataFrame(dict(seconds=[0, 1], pair=pair, similarity=0.5, floor_low=-f, floor_high=f))
        for pair, f in (("a", 0.1), ("b", 0.3))
    ]
    band = plot_time(pd.concat(parts)).collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((-0.3, 0.3))


def test_both_tempos_are_called_by_their_units():
    table = pd.DataFrame(
        dict(tempo_bpm=[60.0, 90, 70], onset_rate=[2.0, 3, 5], rms_db=[-20, -2, -5])
    )
    labels = [label.get_text() for label in plot_correlations(table).get_xticklabels()]
    assert labels == ["tempo (beats a minute)", "onset rate (notes a second)", "rms_db"]
    panels = plot_histograms(table.assign(emotion="sad"), ["tempo_bpm", "onset_rate"])
    assert [panel.get_xlabel() for panel in panels] == labels[:2]


def test_groups_share_their_bins_and_silence_is_left_out():
    table = pd.DataFrame(dict(emotion=["sad"] * 5 + ["happy"] * 5, tempo_bpm=[np.nan, *range(9)]))
    (ax,) = plot_histograms(table, ["tempo_bpm"], bins=4)
    happy, sad = (patch.get_xy()[:, 0] for patch in reversed(ax.patches))
    assert set(happy) == set(sad)
    assert [line.get_xdata()[0] for line in ax.lines] == [6.0, 1.5]


def test_the_p_value_of_the_figure():
    ax = plot_null(np.arange(99), 97)
    assert legend_texts(ax)[1] == "observed 97, p = 0.03"  # (1 + 2) / 100
    with pytest.raises(ValueError, match="finite numbers"):
        plot_null([0.1, np.nan], 1.0)


def test_a_two_sided_scale_is_symmetric():
    table = pd.DataFrame([[0.0, 3.0], [1.5, np.nan]])
    ax = plot_heatmap(table, center=1)
    assert ax.images[0].get_clim() == (-1, 3)
    assert [text.get_text() for text in ax.texts] == ["0.00", "3.00", "1.50"]


def test_shares_of_the_true_class():
    counts = pd.DataFrame([[3, 1], [0, 0]], index=["sad", "happy"], columns=["sad", "happy"])
    ax = plot_confusion(counts)
    shown = np.ma.filled(ax.images[0].get_array(), np.nan)
    np.testing.assert_allclose(shown, [[np.nan, np.nan], [0.25, 0.75]])
    assert counts.index.name is None


def test_gates_show_interval_and_verdict():
    gates = [
        Gate("accuracy", 0.7, 0.6, 0.8, 40, 0.5, ">", "x"),
        Gate("silhouette", 0.1, threshold=0.2, kind="check"),
        Gate("gap", 0.1, threshold=0.2, kind="check"),
    ]
    ax = plot_gates(gates)
    cells = ax.tables[0].get_celld()
    assert [cells[row, 2].get_text().get_text() for row in (1, 2)] == ["0.6 to 0.8", ""]
    assert [cells[row, 4].get_text().get_text() for row in (1, 2)] == ["GO", "ITERATE"]
    assert ax.get_title(loc="left") == "PAUSE"


def test_a_bar_without_interval_is_drawn():
    table = pd.DataFrame(
        dict(representation=["a", "b"], score=[0.4, 0.6], low=[0.3, np.nan], high=[0.5, np.nan])
    )
    ax = plot_scores(table, chance=0.5)
    assert [bar.get_width() for bar in ax.patches] == [0.4, 0.6]
    assert legend_texts(ax) == ["chance (0.50)"]


def test_emotions_come_in_their_order():
    assert emotion_order(["z", "angry", "happy", "z"]) == ["happy", "angry", "z"]


@pytest.mark.parametrize("format", ["flac", "wav"])
def test_a_player_holds_its_samples(wave, format):
    import soundfile as sf

    data = re.search('base64,([^"]*)', audio_tag(wave, 8000, format)).group(1)
    samples, rate = sf.read(io.BytesIO(base64.b64decode(data)))
    assert rate == 8000
    np.testing.assert_allclose(samples, wave, atol=1e-4)


def test_a_table_of_players_takes_arrays_and_files(tmp_path, wave):
    import soundfile as sf

    sf.write(tmp_path / "a.wav", wave, 8000)
    files = pd.DataFrame(dict(prompt=["<sad>"], tempo_bpm=[61.234], audio=[tmp_path / "a.wav"]))
    page = str(audio_table(files, format="wav"))
    assert "&lt;sad&gt;" in page and "<td>61.2</td>" in page
    assert "tempo (beats a minute)" in page and page.count("<audio") == 1
    arrays = files.assign(audio=[wave])
    with pytest.raises(ValueError, match="sr must be given"):
        audio_table(arrays)
    assert str(audio_table(arrays, columns=["prompt"], sr=8000)).count("<th>") == 2


def test_a_kept_figure_has_its_texts(tmp_path):
    ax = plot_null(np.arange(99), 97)
    path = save_figure(ax, tmp_path / "null.png", "n < 9", 'a "line"', close=True)
    element = saved_figure(path).data
    assert 'alt="a &quot;line&quot;"' in element and "<em>n &lt; 9</em>" in element
    assert not plt.get_fignums()
    with pytest.raises(ValueError, match="caption must not be empty"):
        save_figure(ax, path, "", "alt")
