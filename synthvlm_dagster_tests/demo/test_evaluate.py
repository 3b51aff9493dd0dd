import json

import numpy as np
import pytest

from synthvlm_dagster.demo import evaluate, world


def attempts(correct, clip_score, weighted_score=None):
    correct, clip_score = np.array(correct), np.array(clip_score)
    scene = world.parse_caption("a large red circle on a dotted background")
    return evaluate.Attempts(
        scenes=[scene] * len(correct),
        images=np.zeros((*correct.shape, 64, 64, 3), dtype=np.uint8),
        correct=correct,
        attributes=dict.fromkeys(evaluate.ATTRIBUTES, correct),
        clip_score=clip_score,
        weighted_score=clip_score if weighted_score is None else np.array(weighted_score),
    )


def test_held_out_scenes_are_held_out_half_with_one_object_and_spread():
    scenes = evaluate.held_out_scenes(200, np.random.default_rng(0))
    assert all(world.is_held_out(scene) for scene in scenes)
    assert sum(len(scene.objects) == 1 for scene in scenes) == 100
    two = [scene.canonical() for scene in scenes if len(scene.objects) == 2]
    assert len(set(two)) == len(two)


def test_a_perfect_score_gains_what_can_be_gained():
    rng = np.random.default_rng(0)
    correct = rng.random((50, 4)) < 0.3
    figures = evaluate.selection_figures(attempts(correct, correct + 0.01 * rng.random(correct.shape)), rng)
    assert figures["random"] == pytest.approx(correct.mean(), abs=1e-4)
    assert figures["top 20 % by CLIPScore"]["all correct"] == 1
    assert figures["best attempt by CLIPScore"]["all correct"] == pytest.approx(correct.any(axis=1).mean(), abs=1e-4)
    assert figures["best attempt by CLIPScore"]["95 % interval of the gain"][0] > 0


def test_a_score_of_noise_gains_nothing_certain():
    rng = np.random.default_rng(1)
    correct = rng.random((200, 4)) < 0.3
    figures = evaluate.selection_figures(attempts(correct, rng.random(correct.shape)), rng)
    low, high = figures["top 20 % by CLIPScore"]["95 % interval of the gain"]
    assert low < 0 < high


def test_pairs_within_a_prompt_are_all_right_and_wrong_ones():
    figures = evaluate.within_prompt_figures(
        attempts([[True, False, False], [True, True, True]], [[0.5, 0.4, 0.6], [0.1, 0.2, 0.3]])
    )
    assert figures == {"pairs": 2, "right above wrong by CLIPScore": 0.5}


def test_the_shipped_card_shows_the_shipped_figures():
    models = evaluate.DEFAULT_MODELS
    card = (models / "README.md").read_text()
    figures = json.loads((models / "figures.json").read_text())
    assert evaluate.insert_figures(card, figures) == card
    with pytest.raises(ValueError, match="no <!-- figures -->"):
        evaluate.insert_figures("# A card without marks\n", figures)
