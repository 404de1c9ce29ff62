"""Tables as Excel, R and the web leave them: read right, or refused with file, line and remedy.

One form of each loader is changed in every way, so a new reader joins the list and no way is
forgotten."""

import re
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from test_datasets import DATA, DEAM_1, deam, needs, pmemo

from musicgen_emotion.stimuli.captions import load_captions, load_norms, load_prompt_embeddings
from musicgen_emotion.stimuli.csv_tables import read_text, whole_number
from musicgen_emotion.stimuli.datasets import emotion_labeled_dataset, load_deam, load_pmemo

NORMS = "Word,Length,Arousal,ArousalSD,ArousalN,Valence,ValenceSD,ValenceN\n"
NORMS += "naïve,5,4.2,2.4,25,2.5,1.7,22\nnull (empty),4,5.25,2.3,32,5.7,1.2,32\n"
CAPTIONS = "ytid,start_s,end_s,aspect_list,caption,author_id\n"
CAPTIONS += '-0Gj8,30,40,"[\'low quality\', \'sad\', ""it\'s""]","A sad song, café.",4\n'
CAPTIONS += "1e5,0,10,\"['piano']\",Calm.,1\n"
RATINGS = "musicId,Arousal(mean),Valence(mean)\n1,0.85,0.9\n4,0.2,0.15\n"
METADATA = "musicId,fileName,title,artist\n1,1.mp3,Halo,Beyoncé\n4,4.mp3,Grey,Björk\n"
PROMPTS = 'prompt,emotion\nnaïve music,happy\n"slow, sad",sad\n'


def _pmemo(folder, ratings=RATINGS, metadata=METADATA):
    pmemo(folder)
    _write(folder / "annotations" / "static_annotations.csv", ratings)
    _write(folder / "metadata.csv", metadata)
    return load_pmemo(folder).drop(columns="path")


def _deam(folder, ratings=DEAM_1):
    found = deam(folder / "DEAM")
    [place] = found.rglob("static_annotations_averaged_songs_1_2000.csv")
    _write(place, ratings)
    return load_deam(found).drop(columns="path")


def _embeddings(folder, prompts=PROMPTS):
    np.save(folder / "embeddings.npy", np.eye(2))
    np.save(folder / "labels.npy", np.array([0, 1]))
    _write(folder / "prompts.csv", prompts)
    return load_prompt_embeddings(folder)[1]


def _table(load):
    def read(folder, content):
        return load(_write(folder / "table.csv", content))

    return read


def _write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


LOADERS = dict(
    norms=(_table(load_norms), NORMS),
    captions=(_table(load_captions), CAPTIONS),
    ratings=(_pmemo, RATINGS),
    metadata=(lambda folder, content: _pmemo(folder, metadata=content), METADATA),
    deam=(_deam, DEAM_1),
    prompts=(_embeddings, PROMPTS),
)


def _separated(text, separator, comma=False):
    "The same table with another separator and, where wanted, decimal commas."
    frame = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False, skipinitialspace=True)
    if comma:
        frame = frame.map(lambda cell: re.sub(r"^(\d+)\.(\d+)$", r"\1,\2", cell))
    return frame.to_csv(index=False, sep=separator)


SAME = dict(
    utf8_mark=lambda text: text.encode("utf-8-sig"),
    utf16=lambda text: text.encode("utf-16"),
    utf16_big=lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    utf16_bare=lambda text: text.encode("utf-16-le"),
    utf32=lambda text: text.encode("utf-32"),
    latin1=lambda text: text.encode("latin-1"),
    windows_lines=lambda text: text.replace("\n", "\r\n"),
    mac_lines=lambda text: text.replace("\n", "\r"),
    blank_lines=lambda text: text.replace("\n", "\n\n") + "\n  \n",
    trailing_commas=lambda text: text.replace("\n", ",,\n"),
    trailing_in_rows=lambda text: text.replace("\n", ",\n").replace(",\n", "\n", 1),
    no_last_line_end=lambda text: text.rstrip("\n"),
    semicolons=lambda text: _separated(text, ";"),
    decimal_commas=lambda text: _separated(text, ";", comma=True),
    quoted_decimal_commas=lambda text: _separated(text, ",", comma=True),
    tabs=lambda text: _separated(text, "\t"),
    excel_note=lambda text: "sep=;\n" + _separated(text, ";"),
    loud_names=lambda text: text.split("\n")[0].upper() + "\n" + text.split("\n", 1)[1],
    index_column=lambda text: pd.read_csv(
        StringIO(text), dtype=str, keep_default_na=False, skipinitialspace=True
    ).to_csv(),
)


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("way", SAME)
def test_the_same_table_in_another_form_reads_the_same(tmp_path, loader, way):
    read, text = LOADERS[loader]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    want = read(tmp_path / "a", text)
    pd.testing.assert_frame_equal(read(tmp_path / "b", SAME[way](text)), want)


def _line(number, change):
    def write(text):
        lines = text.split("\n")
        lines[number - 1] = change(lines[number - 1])
        return "\n".join(lines)

    return write


REFUSED = dict(
    excel=(lambda text: b"PK\x03\x04" + bytes(99), "Excel"),
    old_excel=(lambda text: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "Excel"),
    parquet=(lambda text: b"PAR1" + bytes(99), "Parquet"),
    gzip=(lambda text: b"\x1f\x8b\x08" + bytes(99), "gzip"),
    web_page=(lambda text: "\n<!DOCTYPE html><html>404</html>", "web page"),
    git_lfs=(lambda text: "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
    empty=(lambda text: b"", "is empty"),
    only_header=(lambda text: text.split("\n")[0] + "\n", "no rows"),
    mac_roman=(lambda text: text.encode() + "é".encode("mac_roman"), "encoding"),
    cyrillic=(lambda text: "Привет".encode("cp1251") + text.encode(), "line 1"),
    japanese=(lambda text: text.encode() + "日本".encode("shift-jis"), "encoding|cells"),
    mixed=(lambda text: text.encode() + b"\xe9 \xc3\xa9", "encoding"),
    zero_bytes=(lambda text: text.encode() + b"\0\0", "zero byte"),
    cells_too_many=(_line(3, lambda line: line + ",odd"), "line 3"),
    cells_too_few=(_line(3, lambda line: line.split(",")[0]), "line 3|lacks|line 2"),
    open_quote=(_line(3, lambda line: '"' + line), "line 3"),
    quote_within=(_line(3, lambda line: '"a" b' + line), "line 3"),
    no_columns=(lambda text: "a,b\n1,2\n", "lacks the columns"),
)


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("way", REFUSED)
def test_what_cannot_be_read_for_certain_is_refused_with_its_place(tmp_path, loader, way):
    read, text = LOADERS[loader]
    change, words = REFUSED[way]
    if loader == "prompts" and way == "cells_too_few":
        return  # its only column is the first
    with pytest.raises((ValueError, KeyError), match=words) as caught:
        read(tmp_path, change(text))
    assert ".csv" in str(caught.value) and "delete" not in str(caught.value)


@pytest.mark.parametrize("loader", ["norms", "ratings", "deam"])
@pytest.mark.parametrize("cell", ["", "NA", "nan", "inf", "1e999", "four", "0x4", "1_0", "3.1.2"])
def test_a_cell_that_is_no_number_is_named_with_its_line(tmp_path, loader, cell):
    read, text = LOADERS[loader]
    lines = text.split("\n")
    cells = lines[2].split(",")
    place = dict(norms=2, ratings=1, deam=3)[loader]
    cells[place] = cell
    lines[2] = ",".join(cells)
    with pytest.raises(ValueError, match=r"\.csv, line 3: (arousal|valence) is|outside"):
        read(tmp_path, "\n".join(lines))


def test_points_and_commas_in_one_column_are_refused(tmp_path):
    text = NORMS.replace(",", ";").replace("4.2", "4,2")
    with pytest.raises(ValueError, match="line 2: arousal is '4,2' where others have a point"):
        load_norms(_write(tmp_path / "norms.csv", text))


PUBLISHED = """\
{words},Length,AROU,,,VAL,,,DOM,,,CNC,,
{blank},{blank},M,SD,N,M,SD,N,M,SD,N,M,SD,N
abattoir,8,4.2,2.4,25,2.864,1.74,22,4.333,1.285,21,5.455,1.9,22
mad (crazy),3,6,2.3,32,4,1.2,31,4.667,1.551,33,5.906,1.508,32
"""


@pytest.mark.parametrize(
    "text",
    [
        PUBLISHED.format(words="Words", blank=""),
        PUBLISHED.format(words="word", blank="Unnamed: 0_level_1"),
        PUBLISHED.format(words="Words", blank="").replace("AROU,,", "AROU,AROU,AROU"),
        "word,length,AROU_M,AROU_SD,AROU_N,VAL_M,VAL_SD,VAL_N\n"
        "abattoir,8,4.2,2.4,25,2.864,1.74,22\nmad (crazy),3,6,2.3,32,4,1.2,31\n",
        "Word,Arousal,Valence,ValenceN\nabattoir,4.2,2.864,22\nmad (crazy),6,4,31\n",
    ],
)
def test_norms_in_every_published_header(tmp_path, text):
    table = load_norms(_write(tmp_path / "norms.csv", text))
    assert table.word.tolist() == ["abattoir", "mad"] and table.sense.tolist() == ["", "crazy"]
    np.testing.assert_allclose(table.arousal, [-0.2, 0.25])
    np.testing.assert_allclose(table.valence, [-0.534, -0.25])
    assert table.n.tolist() == [22, 31]


def test_norms_without_means_are_refused(tmp_path):
    path = _write(tmp_path / "norms.csv", "word,length,AROU_M\nabattoir,8,4.2\n")
    with pytest.raises(KeyError, match=r"norms\.csv lacks the columns \['valence', 'n'\]"):
        load_norms(path)


@needs("glasgow_norms")
@pytest.mark.parametrize("encoding,separator", [("utf-16", ";"), ("latin-1", "\t")])
def test_the_real_norms_with_two_headers(tmp_path, encoding, separator):
    real = pd.read_csv(DATA / "glasgow_norms" / "glasgow_norms.csv", keep_default_na=False)
    real = real[["Word", "Length", *(c for c in real if re.match("Arousal|Valence", c))]]
    names = ["Words", "Length", "AROU", "", "", "VAL", "", ""]
    kinds = ["", "", "M", "SD", "N", "M", "SD", "N"]
    rows = pd.DataFrame([kinds, *real.astype(str).to_numpy().tolist()], columns=names)
    path = tmp_path / "published.csv"
    rows.to_csv(path, index=False, sep=separator, encoding=encoding)
    pd.testing.assert_frame_equal(load_norms(path), load_norms(DATA / "glasgow_norms"))


@needs("musiccaps")
def test_the_real_captions_with_lists_of_numpy(tmp_path):
    real = load_captions(DATA / "musiccaps")
    raw = pd.read_csv(DATA / "musiccaps" / "musiccaps-public.csv", keep_default_na=False)
    raw["aspect_list"] = [str(np.array(aspects, dtype=object)) for aspects in real.aspects]
    raw.to_csv(tmp_path / "musiccaps-public.csv", index=False)
    pd.testing.assert_frame_equal(load_captions(tmp_path), real)


@pytest.mark.parametrize(
    "listed,want",
    [
        ("['low' 'sad']", ("low", "sad")),
        ("['low'\n 'sad']", ("low", "sad")),
        ("['low', 'sad',]", ("low", "sad")),
        ("[\"it's\", 'a, b']", ("it's", "a, b")),
        ("[]", ()),
        ("['low', 'sad' 'slow']", None),
        ("['low' ... 'sad']", None),
        ("low, sad", None),
        ("", None),
        ("['low'", None),
        ("[1, 2]", None),
        ("[low, sad]", None),
        ("[__import__('os')]", None),
        ("['low',, 'sad']", None),
    ],
)
def test_a_list_of_aspects_is_read_or_refused(tmp_path, listed, want):
    cell = '"' + listed.replace('"', '""') + '"'
    path = _write(tmp_path / "captions.csv", f"{CAPTIONS.splitlines()[0]}\na,0,1,{cell},Sad.,1\n")
    if want is None:
        with pytest.raises(ValueError, match=r"captions\.csv, line 2: aspect_list must be"):
            load_captions(path)
    else:
        assert load_captions(path).aspects[0] == want


@pytest.mark.parametrize(
    "cell,want",
    [("2", "2"), ("2.0", "2"), ("2,0", "2"), ("0002", "2"), ("2.5", ""), ("x", ""), ("", "")],
)
def test_an_id_has_one_spelling(cell, want):
    assert whole_number(cell) == want


def _layout(root, ratings, audio, metadata):
    "DEAM unpacked: where ratings, audio and metadata lie."
    from musicgen_emotion.stimuli.datasets import DEAM_FILES

    made = deam(root / "made")
    for name in DEAM_FILES:
        [found] = made.rglob(name)
        (root / ratings).mkdir(parents=True, exist_ok=True)
        found.rename(root / ratings / name)
    for kind, place in (("MEMD_audio/*.mp3", audio), ("metadata/*.csv", metadata)):
        for path in made.glob(kind):
            if place is not None:
                (root / place).mkdir(parents=True, exist_ok=True)
                path.rename(root / place / path.name)
    import shutil

    shutil.rmtree(made)
    return root


SONG_LEVEL = "annotations/annotations averaged per song/song_level"
LAYOUTS = dict(
    side_by_side=(f"DEAM_Annotations/{SONG_LEVEL}", "DEAM_audio/MEMD_audio", "metadata"),
    one_folder=(SONG_LEVEL, "MEMD_audio", "metadata"),
    zip_in_folder=(f"DEAM/{SONG_LEVEL}", "DEAM/MEMD_audio", "DEAM/metadata"),
    kaggle_archive=(
        f"archive/DEAM_Annotations/{SONG_LEVEL}",
        "archive/DEAM_audio/MEMD_audio",
        "archive/metadata",
    ),
    archives_in_folder=(
        f"x/DEAM_Annotations/{SONG_LEVEL}",
        "x/DEAM_audio/MEMD_audio",
        "x/DEAM_metadata/metadata",
    ),
    flat=(".", ".", "."),
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_deam_as_it_is_unpacked(tmp_path, layout):
    table = load_deam(_layout(tmp_path, *LAYOUTS[layout]))
    assert [path.endswith(f"{song}.mp3") for song, path in zip(table.song, table.path)] == [
        True,
        False,
        False,
        True,
    ]
    assert table.artist.tolist() == ["The New, Mystikal", "The New Mystikal", "Beatles", ""]


def test_deam_by_the_folder_of_its_ratings(tmp_path):
    _layout(tmp_path, *LAYOUTS["side_by_side"])
    table = load_deam(tmp_path / "DEAM_Annotations")
    assert table.path[0].endswith("2.mp3") and table.artist[0]


def test_deam_without_audio_and_artists_warns_at_every_step(tmp_path):
    _layout(tmp_path, f"DEAM_Annotations/{SONG_LEVEL}", None, None)
    with pytest.warns(UserWarning) as caught:
        table = load_deam(tmp_path)
    messages = " ".join(str(warning.message) for warning in caught)
    assert "none of 4 songs has audio" in messages and "none of 4 songs has an artist" in messages
    assert "2.mp3" in messages and "cvml.unige.ch" in messages
    with pytest.warns(UserWarning, match="no song of DEAM has an artist, so its songs are split"):
        emotion_labeled_dataset(table)


@pytest.mark.parametrize("spelling", ["{}.0", "{},0", "000{}"])
def test_ids_in_other_spellings_keep_audio_and_artist(tmp_path, spelling):
    folder = deam(tmp_path / "DEAM")
    [path] = folder.rglob("static_annotations_averaged_songs_1_2000.csv")
    rows = pd.read_csv(path, dtype=str, skipinitialspace=True)
    rows["song_id"] = [spelling.format(song) for song in rows.song_id]
    rows.to_csv(path, index=False)
    table = load_deam(folder)
    assert table.song.tolist() == ["2", "3", "4", "2001"] and table.path[0].endswith("2.mp3")
    assert table.artist[0] == "The New, Mystikal"


def test_a_metadata_row_without_a_number_is_named(tmp_path):
    folder = deam(tmp_path / "DEAM")
    with (folder / "metadata" / "metadata_2014.csv").open("a") as file:
        file.write("Total,,,,\n,,,,\n")
    with pytest.warns(UserWarning, match=r"metadata_2014\.csv, line 3: 'Total' is no song id"):
        load_deam(folder)


def test_a_workbook_in_the_folder_is_named(tmp_path):
    _write(tmp_path / "glasgow.xlsx", b"PK\x03\x04")
    with pytest.raises(FileNotFoundError, match=r"Open glasgow\.xlsx .* save it as 'CSV UTF-8'"):
        load_norms(tmp_path)


def test_an_array_larger_than_its_file_is_refused(tmp_path):
    _embeddings(tmp_path)
    path = tmp_path / "embeddings.npy"
    huge = path.read_bytes().replace(b"(2, 2), }", b"(2, 2000000000), }")[: path.stat().st_size]
    path.write_bytes(huge)
    with pytest.raises(ValueError, match=r"embeddings\.npy is not a plain \.npy array"):
        load_prompt_embeddings(tmp_path)


def test_text_with_names_of_many_countries_stays(tmp_path):
    names = "Sigur Rós, Björk, Beyoncé, Françoise Hardy, Mötley Crüe, Ñengo Flow, Høyem, “Fado”…"
    for encoding in ("utf-8", "utf-16", "utf-32", "cp1252"):
        assert read_text(_write(tmp_path / "x.txt", names.encode(encoding))) == names
