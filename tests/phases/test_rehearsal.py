"""Every phase from its first cell to its last on 24 layers of random weights.

The first run on a published model is then not the first run on a model of its depth, nor the first
on a model of which no cues are known. The parameters are the smallest that a phase accepts."""

import pytest

from musicgen_emotion.lab.gates import read_gates
from musicgen_emotion.lab.phases import run_phase
from musicgen_emotion.models.tiny import write_random_model
from musicgen_emotion.studies import RECOVERY_CRITERIA
from musicgen_emotion.studies.control_runs import read_criteria

PARAMETERS = dict(
    phase0_foundation=dict(
        prompts_per_emotion=8,
        clips_per_emotion=4,
        emotions=["happy", "sad"],
        text_emotions=["happy", "sad"],
        duration_s=2.0,
        n_perm=20,
        arm_clips=1,
        batch_size=8,
    ),
    phase1_sae=dict(
        study_prompts=60,
        dictionary_size=80,
        expansion=2.0,
        sweep_l1=[0.01],
        sweep_k=[4],
        sweep_steps=5,
        steps=10,
        batch_size=64,
        seeds=2,
        clips=30,
        duration_s=2.0,
        layer_steps=5,
        edit_clips=2,
        n_random=20,
        n_perm=20,
        n_boot=20,
        jobs=1,
    ),
    phase2_steering=dict(
        emotions=["happy", "sad", "calm"],
        method_emotions=["sad"],
        alphas=[-1.0, 1.0],
        sweep_layers=[0, 23],
        fit_pairs=4,
        few_pairs=[2],
        held_out_clips=2,
        test_prompts=2,
        control_prompts=2,
        method_prompts=2,
        n_random=2,
        n_shuffled=1,
        sae_steps=5,
        features_each=1,
        feature_prompts=2,
        edit_prompts=1,
        rendered=4,
        duration_s=2.0,
        n_boot=20,
        batch_size=16,
    ),
    phase3_causal=dict(
        clips_per_emotion=4,
        prompts_per_part=12,
        patch_pairs=4,
        cue_pairs=4,
        sound_pairs=2,
        duration_s=2.0,
        patch_s=0.5,
        sample_cells=4,
        window_pairs=1,
        random_draws=1,
        n_random=2,
        n_boot=20,
        n_perm=20,
        probe_perm=2,
        batch_size=8,
    ),
)


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    "A model of the depth of musicgen-small with narrow layers."
    folder = tmp_path_factory.mktemp("models") / "deep"
    return write_random_model(folder, n_layers=24, d_model=16, n_heads=2, d_ff=32, sample_rate=8000)


@pytest.mark.parametrize("phase", PARAMETERS)
def test_a_phase_runs_on_24_layers(phase, deep, tmp_path):
    values = PARAMETERS[phase] | dict(model=str(deep))
    result = run_phase(phase, values, tmp_path / "run", progress=False)
    assert result.status == "finished"
    decided = {gate.name: gate for gate in read_gates(tmp_path / "run")}
    no_cues = {criterion.name for criterion in RECOVERY_CRITERIA}  # a model of unknown cues
    assert set(decided) == set(read_criteria(tmp_path / "run")) - no_cues
    passed = [gate.name for gate in decided.values() if gate.kind == "evidence" and gate.passed]
    assert passed == []  # nothing is in random weights
