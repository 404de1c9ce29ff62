"What the site shows of a run is copied into evidence, and nothing else is touched."

import numpy as np
import pandas as pd
import pytest

from musicgen_emotion.cli import app
from musicgen_emotion.lab.files import read_json
from musicgen_emotion.lab.repeats import keep_repeats
from musicgen_emotion.lab.runs import open_run, run_manifest
from musicgen_emotion.studies import publishing
from musicgen_emotion.studies.publishing import (
    publish_run,
    published_files,
    shown_run,
    summary_of_run,
)
from musicgen_emotion.studies.steps import gates_sentence, keep_sentences


def make_run(folder, score=0.6, control="none", n_clips=4):
    "A finished run of Phase 0 with clips of two emotions."
    parameters = dict(out_dir=str(folder), seed=0, control=control)
    with open_run(folder, "phase0_foundation", parameters) as run:
        clips = [f"{emotion}{n}" for emotion in ("happy", "sad") for n in range(n_clips)]
        emotions = [clip[:-1] for clip in clips]
        run.table(pd.DataFrame(dict(emotion=emotions, clip=clips)), "audio_features.csv")
        (folder / "clips" / "audio").mkdir(parents=True, exist_ok=True)
        paths = [f"audio/{clip}.flac" for clip in clips]
        for path in paths:
            (folder / "clips" / path).write_bytes(path.encode())
        table = pd.DataFrame(dict(clip_id=clips, audio_path=paths))
        table.to_parquet(folder / "clips" / "clips.parquet")
        (folder / "listening_test.html").write_text("large")
        (folder / "activations.npy").write_bytes(np.zeros(9).tobytes())
        run.gate("score", score, score - 0.1, score + 0.1, threshold=0.4)
    return folder


def names_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_tables_gates_and_the_clips_that_are_played_are_published(tmp_path):
    run = make_run(tmp_path / "mine")
    published = publish_run(run, tmp_path / "evidence")
    assert published == tmp_path / "evidence" / "phase0_foundation"
    shown = {f"clips/audio/{clip}.flac" for clip in ("happy0", "happy1", "sad0", "sad1")}
    expected = {"audio_features.csv", "gates.json", "manifest.json", "clips/clips.parquet"} | shown
    assert expected | {"format.json", "published.json"} == names_in(published)
    for name in expected - {"manifest.json"}:
        assert (published / name).read_bytes() == (run / name).read_bytes()
    manifest = run_manifest(published)
    assert manifest["status"] == "finished"
    assert str(tmp_path) not in (published / "manifest.json").read_text()
    assert set(published_files(published)) == expected | {"format.json"}


def test_a_run_that_is_published_again_replaces_the_earlier_one(tmp_path):
    publish_run(make_run(tmp_path / "a"), tmp_path / "evidence")
    second = publish_run(make_run(tmp_path / "b", score=0.9, n_clips=1), tmp_path / "evidence")
    assert read_json(second / "gates.json")[0]["value"] == 0.9
    assert "clips/audio/happy1.flac" not in names_in(second)
    control = publish_run(make_run(tmp_path / "c", control="deaf"), tmp_path / "evidence")
    assert control.name == "phase0_foundation-deaf" and second.exists()


def test_unfinished_and_foreign_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        publish_run(tmp_path / "nothing", tmp_path / "evidence")
    with pytest.raises(ZeroDivisionError), open_run(tmp_path / "bad", "phase0_foundation", {}):
        raise ZeroDivisionError
    with pytest.raises(ValueError, match="a run that is failed; only a finished run"):
        publish_run(tmp_path / "bad", tmp_path / "evidence")
    assert not (tmp_path / "evidence").exists()
    run = make_run(tmp_path / "mine")
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(ValueError, match="holds files that are not of"):
        publish_run(run, photos)
    assert names_in(photos) == {"cat.jpg"}
    results = tmp_path / "evidence"
    make_run(results / "phase0_foundation")  # a run, not a published one
    with pytest.raises(ValueError):
        publish_run(run, results)
    assert (results / "phase0_foundation" / "activations.npy").exists()
    with pytest.raises(ValueError, match="is, holds, or lies in"):
        publish_run(run, run)


def test_evidence_has_a_limit_of_size(tmp_path, monkeypatch):
    run = make_run(tmp_path / "mine")
    monkeypatch.setattr(publishing, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match=r"more than 1000 bytes.*clips\.parquet is its largest"):
        publish_run(run, tmp_path / "evidence")
    assert not (tmp_path / "evidence" / "phase0_foundation").exists()


def test_a_changed_file_of_evidence_is_named(tmp_path):
    published = publish_run(make_run(tmp_path / "mine"), tmp_path / "evidence")
    (published / "gates.json").write_text("[]")
    with pytest.raises(ValueError, match=r"gates\.json is not as it was published"):
        published_files(published)


def test_repeats_are_published_as_tables(tmp_path):
    from musicgen_emotion.lab.paths import claim_folder

    folder = claim_folder(tmp_path / "phase0_foundation-seeds", "repeats of a phase", 1)
    make_run(folder / "seed=0")
    keep_repeats(folder)
    published = publish_run(folder, tmp_path / "evidence")
    assert {"seeds.csv", "seeds.md"} <= names_in(published)
    assert not (published / "seed=0").exists()


def test_published_repeats_in_full_are_the_other_seeds_of_their_phase(tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "evidence_folder", lambda: tmp_path)
    assert publishing.published_controls().empty
    gates = dict(gate=["a", "b"], kind="evidence", holds="yes", why="", alarms=0, alarm_runs=9)
    gates = pd.DataFrame(gates | dict(phase="phase1_x", seeds=3, seeds_passed=3, size="small"))
    (tmp_path / "controls").mkdir()
    gates.to_csv(tmp_path / "controls" / "gates_that_hold.csv", index=False)
    assert set(publishing.published_controls()["size"]) == {"small"}
    (tmp_path / "phase1_x-seeds").mkdir()
    assert publishing.published_seeds("phase1_x").empty
    gates = dict(gate=["b", "new", "a"], control=["none", "none", "deaf"])
    repeats = pd.DataFrame(gates | dict(phase="phase1_x", runs=5, passed=1))
    repeats.to_csv(tmp_path / "phase1_x-seeds" / "seeds.csv", index=False)
    assert publishing.published_seeds("phase1_x").gate.tolist() == ["b", "new"]
    found = publishing.published_controls().set_index("gate")
    assert list(found.index) == ["a", "b"]  # seeds of a control are no other seeds of the study
    assert found.loc["a", ["seeds", "seeds_passed", "size"]].tolist() == [3, 3, "small"]
    assert found.loc["b", ["seeds", "seeds_passed", "size"]].tolist() == [5, 1, "full"]


def test_a_page_shows_the_asked_run_or_the_published_one(tmp_path, monkeypatch):
    published = publish_run(make_run(tmp_path / "mine"), tmp_path / "evidence")
    monkeypatch.setattr(publishing, "evidence_folder", lambda: tmp_path / "evidence")
    monkeypatch.delenv("MGE_RUN", raising=False)
    assert shown_run("phase0_foundation") == published
    monkeypatch.setenv("MGE_RUN", str(tmp_path / "mine"))
    assert shown_run("phase0_foundation") == tmp_path / "mine"
    with pytest.raises(ValueError, match="hold no finished run of phase1_sae"):
        shown_run("phase1_sae")


@pytest.mark.parametrize("threshold", [0.4, 0.9])
def test_a_page_shows_the_summary_without_the_verdict_of_the_run(tmp_path, threshold):
    told = ["The score is 0.6.\nIts verdict is another matter.", "Verdict: in the middle."]
    with open_run(tmp_path / "run", "phase0_foundation", {}) as run:
        run.gate("score", 0.6, 0.5, 0.7, threshold=threshold)
        keep_sentences(run, [gates_sentence(run.gates), *told], "summary.md")
    file = tmp_path / "run" / "summary.md"
    assert file.read_text().startswith("Verdict: ")
    assert summary_of_run(file) == "\n\n".join(told) + "\n"
    assert summary_of_run(str(file)) == summary_of_run(file)


def test_a_summary_without_a_verdict_is_shown_as_it_is(tmp_path):
    file = tmp_path / "summary.md"
    for text in ("The score is 0.6.\n\nVerdict: none.\n", "", "One line.\n"):
        file.write_text(text)
        assert summary_of_run(file) == text
    for text in ("Verdict: GO. 1 of 1 claims passed.\n", "Verdict: GO. Two\nlines.\n"):
        file.write_text(text)
        assert summary_of_run(file) == ""
    with pytest.raises(FileNotFoundError):
        summary_of_run(tmp_path / "nothing.md")


def test_every_findings_page_leaves_the_verdict_of_the_run_out():
    pages = sorted((publishing.package_folder().parent / "nbs" / "findings").glob("phase?.ipynb"))
    if not pages:
        pytest.skip("needs a checkout of the project: nbs/findings")
    assert len(pages) == 4
    for page in pages:
        cells = {cell["id"]: "".join(cell["source"]) for cell in read_json(page)["cells"]}
        assert "Markdown(summary_of_run(run / " in cells["ownsummary2"]


def test_the_command_prints_the_folder_or_one_line(tmp_path):
    from typer.testing import CliRunner

    run = make_run(tmp_path / "mine")
    words = ["--evidence", str(tmp_path / "evidence")]
    done = CliRunner().invoke(app, ["publish", str(run), *words])
    assert done.exit_code == 0 and done.output.strip().endswith("phase0_foundation")
    done = CliRunner().invoke(app, ["publish", str(tmp_path / "none"), *words])
    assert done.exit_code == 2 and done.output.count("\n") == 1


def test_a_published_summary_says_that_its_verdict_is_of_the_run_alone(tmp_path):
    "Summaries opened with ITERATE where the page, after the controls, said PAUSE."
    run = make_run(tmp_path / "mine")
    text = "Verdict: GO. 1 of 1 claims passed.\n\nWhat was found.\n"
    for name in ("summary.md", "report.md"):
        (run / name).write_text(text)
    published = publish_run(run, tmp_path / "evidence")
    for name in ("summary.md", "report.md"):
        first, found = (published / name).read_text().strip().split("\n\n")
        assert first.startswith("Verdict of this run alone, before its controls: GO. 1 of 1")
        assert "nbs/findings/controls.ipynb" in first and found == "What was found."
        assert (run / name).read_text() == text
    assert summary_of_run(published / "summary.md") == "What was found.\n"
    assert set(published_files(published)) >= {"summary.md", "report.md"}
    again = publish_run(run, tmp_path / "evidence")
    assert (again / "summary.md").read_text().count("before its controls") == 1


@pytest.mark.parametrize("summary", sorted(publishing.evidence_folder().glob("*/summary.md")))
def test_no_summary_of_the_evidence_gives_the_verdict_of_its_run_as_the_last_word(summary):
    assert summary.read_text().startswith("Verdict of this run alone, before its controls: ")
    assert not summary_of_run(summary).startswith("Verdict")
