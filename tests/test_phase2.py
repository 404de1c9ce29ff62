"Phase 2: its parameters are refused by name before anything runs, and its rules stand before its numbers."
import ast, json
import numpy as np, pandas as pd
import pytest
from musicgen_emotion.phases import list_phases, read_parameters, run_phase
from musicgen_emotion.steering import at_equal_cost, cue_recovery, dose_changes

PHASE = list_phases().get('phase2_steering')
needs = pytest.mark.skipif(PHASE is None, reason='no phase notebooks in this checkout')

@needs
@pytest.mark.parametrize('params,error,message', [
    (dict(alpha=[.1]), ValueError, "did you mean 'alphas'"), (dict(alphas=[.1, float('inf')]), TypeError, "'alphas' must be"), (dict(alphas=.1), TypeError, "'alphas' must be"),
    (dict(layer='2'), TypeError, "'layer' must be int | None"), (dict(n_random=20.5), TypeError, "'n_random' must be int"), (dict(emotions='sad'), TypeError, "'emotions' must be")])
def test_bad_parameters_run_nothing(tmp_path, params, error, message):
    with pytest.raises(error) as e: run_phase('phase2_steering', params, tmp_path/'out', progress=False)
    assert message in str(e.value) and not (tmp_path/'out').exists()

@needs
def test_defaults_have_the_controls_of_the_protocol():
    p = {k: v.default for k, v in read_parameters(PHASE).items()}
    assert p['n_random'] >= 20 and min(p['alphas']) < 0 < max(p['alphas']) and p['n_shuffled'] >= 1 and p['control_prompts'] >= 4

@needs
def test_rules_stand_before_the_results_and_functions_are_short():
    cells = json.loads(PHASE.read_text())['cells']
    at = {w: next(i for i, c in enumerate(cells) if w in ''.join(c['source'])) for w in ('Rules, fixed before the result', 'dose_response(', 'run.gate(')}
    assert at['Rules, fixed before the result'] < at['dose_response('] < at['run.gate(']
    code = [ast.parse(''.join(c['source'])) for c in cells if c['cell_type'] == 'code']
    assert max([n.end_lineno - n.lineno + 1 for t in code for n in ast.walk(t) if isinstance(n, ast.FunctionDef)] or [0]) <= 6

def study(slope):
    rows = [dict(arm='push', kind='target', alpha=a, prompt=f'p{p}', seed=p, clip_id=f'{a} {p}', tempo=100. + 10*p + slope*a, level=-20. + p) for a in (-1., 0., 1.) for p in range(6)]
    return pd.DataFrame(rows)

def test_changes_are_paired_with_the_unsteered_clip():
    c = dose_changes(study(5.)).set_index(['alpha', 'outcome'])
    assert np.allclose(c.value[1., 'tempo'], 5) and np.allclose(c.value[-1., 'tempo'], -5) and c.value[1., 'level'] == 0 and c.n[1., 'tempo'] == 6

def test_a_clip_without_a_judgement_leaves_its_prompt_out_only():
    t = study(5.)
    t.loc[(t.alpha == 1) & (t.prompt == 'p0'), 'tempo'] = np.nan
    c = dose_changes(t, 'tempo').set_index('alpha')
    assert np.isclose(c.value[1.], 5) and c.n[1.] == 5 and c.n[-1.] == 6

def test_recovery_of_a_change_that_is_known():
    r = cue_recovery(dose_changes(study(5.)), dict(tempo=10., level=0.), dict(tempo=2., level=1.)).set_index(['alpha', 'outcome']).recovered
    assert np.isclose(r[1., 'tempo'], .5) and np.isclose(r[1., 'all'], .5) and np.isclose(r[1., 'beside'], 0) and np.isnan(r[1., 'level']) and np.isclose(r[-1., 'all'], -.5)

def test_an_arm_that_only_costs_gains_nothing():
    t = pd.DataFrame(dict(arm=['bad', 'bad', 'free'], alpha=[.1, .2, .1], recovered=[-.2, -.5, .3], cost=[.5, 1., -.1]))
    f = at_equal_cost(t, .2).set_index('arm')
    assert f.recovered['bad'] == 0 and f.alpha['bad'] == 0 and f.recovered['free'] == .3
