"Loaders against files of the real formats, and against the real files where they are."

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import musicgen_emotion
from musicgen_emotion.stimuli.captions import (
    check_words,
    find_emotion_words,
    load_captions,
    load_norms,
    load_prompt_embeddings,
)
from musicgen_emotion.stimuli.datasets import (
    DEAM_FILES,
    emotion_labeled_dataset,
    label_correlations,
    load_deam,
    load_pmemo,
    rank_correlation,
    split_by_group,
)

DATA = Path(
    os.environ.get("MGE_DATA") or Path(musicgen_emotion.__file__).parents[2] / "shared" / "data"
)


def needs(name):
    return pytest.mark.skipif(
        not (DATA / name).is_dir(), reason=f"{name} is not in {DATA}; set MGE_DATA"
    )


DEAM_1 = """\
song_id, valence_mean, valence_std, arousal_mean, arousal_std
2,3.1,0.9,3.0,0.6
3,7.5,0.9,7.3,0.6
4,5.0,0.9,5.0,0.6
"""
DEAM_2 = (
    "song_id, valence_mean, valence_std, valence_max_mean, valence_max_std, valence_min_mean, "
    "valence_min_std, arousal_mean, arousal_std\n"
    "2001,6.2,1.1,7.1,.8,5.1,.9,2.4,.7\n"
)


def deam(folder, inner="annotations/annotations averaged per song/song_level"):
    (folder / inner).mkdir(parents=True)
    for name, text in zip(DEAM_FILES, (DEAM_1, DEAM_2)):
        (folder / inner / name).write_text(text)
    (folder / "metadata").mkdir()
    (folder / "metadata" / "metadata_2013.csv").write_text(
        "song_id,file_name,Artist,Song title,start of the segment (min.sec),"
        "end of the segment (min.sec),Genre\n"
        '2,2.mp3,"The New, Mystikal\t",Tonight,02.25,03.1,Blues\n'
        "3,3.mp3,The New Mystikal,A Song,01.51,2.2,Blues\n"
    )
    (folder / "metadata" / "metadata_2014.csv").write_text(
        "Id,Artist,Track,Album,Genre\n4,Beatles,Come Together,Abbey Road,Rock\n"
    )
    (folder / "metadata" / "metadata_2015.csv").write_text(
        "id,title,artist,genre\n2001,Loud,,Jazz\n"
    )
    for p in ("MEMD_audio/2.mp3", "MEMD_audio/2001.mp3"):
        (folder / p).parent.mkdir(exist_ok=True)
        (folder / p).write_bytes(b"ID3")
    return folder


def pmemo(folder, ratings="1,0.85,0.9\n4,0.2,0.15\n"):
    (folder / "annotations").mkdir(parents=True)
    (folder / "chorus").mkdir()
    (folder / "annotations" / "static_annotations.csv").write_text(
        "musicId,Arousal(mean),Valence(mean)\n" + ratings
    )
    (folder / "metadata.csv").write_text(
        "\ufeffmusicId,fileName,title,artist,album,duration,chorus_start_time,chorus_end_time\n"
        '1,1.mp3,"Good, Feeling",The Beatles,X,248.1,02:10,02:42\n'
        "4,4.mp3,Grey,Ben,Y,192,00:30,01:00\n",
        encoding="utf-8",
    )
    (folder / "chorus" / "1.mp3").write_bytes(b"ID3")
    return folder


@pytest.mark.parametrize(
    "inner", ["annotations/annotations averaged per song/song_level", "song_level", "."]
)
def test_deam_in_its_layouts(tmp_path, inner):
    t = load_deam(deam(tmp_path / "DEAM", inner))
    assert t.song.tolist() == ["2", "3", "4", "2001"] and t.artist.tolist() == [
        "The New, Mystikal",
        "The New Mystikal",
        "Beatles",
        "",
    ]
    assert t.title.tolist() == ["Tonight", "A Song", "Come Together", "Loud"]
    np.testing.assert_allclose(t.valence, [-0.475, 0.625, 0, 0.3])
    assert t.quadrant.tolist() == [
        "sad/melancholic",
        "happy/energetic",
        "sad/melancholic",
        "calm/peaceful",
    ]
    assert [Path(p).name for p in t.path] == ["2.mp3", "", "", "2001.mp3"]


def test_an_artist_of_both_collections_stays_in_one_split(tmp_path):
    t = emotion_labeled_dataset(
        load_pmemo(pmemo(tmp_path / "PMEmo2019")), load_deam(deam(tmp_path / "DEAM")), out=tmp_path
    )
    assert t.artist_group.tolist() == [
        "beatles",
        "ben",
        "new mystikal",
        "new mystikal",
        "beatles",
        "DEAM 2001",
    ]
    assert t.groupby("artist_group").split.nunique().max() == 1 and set(t.split) == {
        "train",
        "validation",
        "test",
    }
    assert list(pd.read_csv(tmp_path / "emotion_labeled_dataset.csv")) == list(t)


def test_ids_that_two_collections_share_are_refused_as_a_key(tmp_path):
    t = emotion_labeled_dataset(
        load_pmemo(pmemo(tmp_path / "PMEmo2019")), load_deam(deam(tmp_path / "DEAM"))
    )
    with pytest.raises(ValueError, match="unique, such as 'path'"):
        label_correlations(t, pd.DataFrame(dict(clip=["4"], tempo_bpm=[100.0])))


def test_features_of_an_older_version_are_refused(tmp_path):
    songs = load_pmemo(pmemo(tmp_path / "PMEmo2019"))
    with pytest.raises(KeyError, match="'tempo' of an older version; rename it to 'tempo_bpm'"):
        label_correlations(songs, pd.DataFrame(dict(clip=["4"], tempo=[100.0])))


def test_rank_correlation_uses_the_rows_where_both_are_known():
    generator = np.random.default_rng(0)
    x = generator.normal(size=40)
    y = x + generator.normal(size=40)
    known = rank_correlation(x, y)
    with_gaps = rank_correlation(np.append(x, [np.nan, 1.0]), np.append(y, [2.0, np.nan]))
    assert with_gaps == known and known["n"] == 40
    assert -1 < known["low"] < known["value"] < known["high"] < 1
    reversed_ranks = rank_correlation(x, -y)
    assert reversed_ranks["low"] == pytest.approx(-known["high"])


def test_features_without_any_known_descriptor_are_refused():
    songs = pd.DataFrame(dict(song=range(5), valence=0.1, arousal=0.2))
    with pytest.raises(ValueError, match="none of the descriptors"):
        label_correlations(songs, pd.DataFrame(dict(clip=range(5), loudness=1.0)))


@pytest.mark.parametrize(
    "ratings,message",
    [
        ("1,7.5,3.0\n4,2,2\n", "another scale"),
        ("1,,0.9\n4,0.2,0.1\n", "NaN"),
        ("1,.5,.5\n1,.5,.5\n", "twice|unique"),
    ],
)
def test_bad_ratings_are_refused(tmp_path, ratings, message):
    with pytest.raises(ValueError, match=message):
        load_pmemo(pmemo(tmp_path, ratings))


def test_missing_parts_are_named(tmp_path):
    pmemo(tmp_path)
    (tmp_path / "metadata.csv").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"metadata\.csv was not found.*PMEmo can be had from https"
    ):
        load_pmemo(tmp_path)
    with pytest.raises(FileNotFoundError, match="accepted layouts"):
        load_deam(tmp_path)
    (tmp_path / "metadata.csv").write_text("musicId,fileName\n1,1.mp3\n")
    with pytest.raises(KeyError, match=r"lacks the columns \['artist'"):
        load_pmemo(tmp_path)


def test_splits_never_cut_a_group_and_keep_their_shares():
    for seed in range(20):
        groups = np.random.default_rng(seed).geometric(0.02, 1800)
        s = split_by_group(groups, seed=seed)
        assert pd.Series(s).groupby(groups).nunique().max() == 1
        assert abs((s == "train").mean() - 0.7) < 0.05 and abs((s == "test").mean() - 0.15) < 0.05


def test_splits_depend_on_the_seed_alone():
    groups = np.arange(50) % 17
    assert (split_by_group(groups, seed=1) == split_by_group(groups, seed=1)).all() and (
        split_by_group(groups, seed=1) != split_by_group(groups, seed=2)
    ).any()


def test_pickled_labels_are_refused(tmp_path):
    np.save(tmp_path / "embeddings.npy", np.eye(3))
    np.save(
        tmp_path / "labels.npy", np.array(["happy", "sad", None], dtype=object), allow_pickle=True
    )
    with pytest.raises(ValueError, match=r"not a plain \.npy array"):
        load_prompt_embeddings(tmp_path)
    np.save(tmp_path / "labels.npy", np.array([0, 1, 9]))
    with pytest.raises(ValueError, match="labels must be 0 to 4"):
        load_prompt_embeddings(tmp_path)
    np.save(tmp_path / "embeddings.npy", np.full((3, 2), np.nan))
    with pytest.raises(ValueError, match="NaN"):
        load_prompt_embeddings(tmp_path, labels=["a", "b", "c"])


@needs("musiccaps")
def test_real_captions():
    t = load_captions(DATA / "musiccaps")
    assert len(t) == 5521 and 0.4 < (t.words.map(len) > 0).mean() < 0.7
    assert not t.masked.map(find_emotion_words).map(len).any()
    assert (t.emotion.value_counts()[["happy", "sad", "calm", "energetic", "angry"]] > 100).all()


@needs("glasgow_norms")
def test_words_lie_where_their_emotion_does():
    n = load_norms(DATA / "glasgow_norms")
    assert (
        len(n) == 5553
        and n[["valence", "arousal"]].abs().max().max() <= 1
        and (n.sense != "").sum() > 500
    )
    t = check_words(n)
    assert len(t) > 50 and t.valence_ok.mean() > 0.95 and t.arousal_ok.mean() > 0.85
    assert (
        t[t.emotion.isin(["energetic", "angry"])].arousal.mean()
        - t[t.emotion.isin(["calm", "sad"])].arousal.mean()
        > 0.2
    )


@needs("t5_emotion_prompts")
def test_real_prompt_embeddings():
    X, t = load_prompt_embeddings(DATA / "t5_emotion_prompts")
    assert (
        X.shape == (100, 768)
        and X.dtype == np.float32
        and t.emotion.value_counts().to_dict()
        == dict.fromkeys(("happy", "sad", "calm", "energetic"), 25)
    )
    assert t.prompt[0] == "happy cheerful upbeat music"
