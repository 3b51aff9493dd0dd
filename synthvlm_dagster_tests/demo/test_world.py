import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.demo import world

seeds = st.integers(0, 2**32 - 1)


@given(seeds)
def test_every_phrasing_reads_back_as_its_scene(seed):
    scene = world.sample_scene(np.random.default_rng(seed))
    for caption in world.phrasings(scene):
        parsed = world.parse_caption(caption)
        assert parsed == scene
        assert world.parse_caption("  " + caption.lower().rstrip(".").replace(" ", "  ")) == scene


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A large red circle.",
        "A large red circle on a striped background. Buy now!",
        "A huge red circle is on a striped background.",
        "A large red circle beside a small blue square on a striped background.",
    ],
)
def test_text_from_elsewhere_is_not_a_scene(text):
    assert world.parse_caption(text) is None


@given(seeds)
def test_held_out_does_not_depend_on_the_order_of_telling(seed):
    scene = world.sample_scene(np.random.default_rng(seed), n_objects=2)
    told_backwards = world.Scene(scene.objects[::-1], scene.background, world.OPPOSITE[scene.relation])
    assert scene.canonical() == told_backwards.canonical()
    assert world.is_held_out(scene) == world.is_held_out(told_backwards)


def test_about_one_scene_in_six_is_held_out_and_none_twice():
    for n_objects, expected_count in ((1, 240), (2, 22_560)):
        scenes = list(world.all_scenes(n_objects))
        assert len(set(scenes)) == len(scenes) == expected_count
        share = np.mean([world.is_held_out(scene) for scene in scenes])
        assert 0.12 < share < 0.21


def test_the_split_is_the_one_the_models_were_trained_with():
    held_out = [str(scene.objects[0]) for scene in world.all_scenes(1) if world.is_held_out(scene)]
    assert len(held_out) == 37
    assert held_out[:3] == ["large red circle", "large orange circle", "large orange cross"]


@given(seeds)
def test_objects_are_inside_the_picture_apart_and_on_the_right_side(seed):
    rng = np.random.default_rng(seed)
    scene = world.sample_scene(rng, n_objects=2)
    first, second = world.place(scene, rng)
    covers = [
        world.shape_mask(thing.shape, placement)
        for thing, placement in zip(scene.objects, (first, second), strict=True)
    ]
    overlap = np.minimum(*covers).sum()
    both_large = all(thing.size == "large" for thing in scene.objects)
    may_overlap = both_large and any(thing.shape == "triangle" for thing in scene.objects)
    assert overlap <= (8 if may_overlap else 0)
    for placement in (first, second):
        for centre in (placement.x, placement.y):
            assert 1.1 * placement.radius < centre < world.IMAGE_SIZE - 1.1 * placement.radius
    offset = {
        "to the left of": second.x - first.x,
        "to the right of": first.x - second.x,
        "above": second.y - first.y,
        "below": first.y - second.y,
    }[scene.relation]
    assert offset > 25


@given(seeds)
def test_a_render_shows_the_colour_at_the_centre_and_the_background_in_the_corner(seed):
    rng = np.random.default_rng(seed)
    scene = world.sample_scene(rng)
    placements = world.place(scene, rng)
    image = world.draw(scene, placements)
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8
    for thing, placement in zip(scene.objects, placements, strict=True):
        assert tuple(image[int(placement.y), int(placement.x)]) == world.COLOURS[thing.colour]
    assert np.array_equal(image[:2, :2], world.background_image(scene.background)[:2, :2])


def test_the_same_generator_state_draws_the_same_picture():
    scene = world.parse_caption("a large red circle to the left of a small blue square on a striped background")
    first, second = (world.render(scene, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)


def test_a_scene_needs_a_relation_exactly_when_it_has_two_objects():
    circle = world.Object("large", "red", "circle")
    with pytest.raises(ValueError, match="relation"):
        world.Scene((circle,), "dotted", "above")
    with pytest.raises(ValueError, match="relation"):
        world.Scene((circle, circle), "dotted")


def test_the_vocabulary_covers_the_captions():
    rng = np.random.default_rng(0)
    words = set(world.vocabulary())
    for _ in range(200):
        caption = world.write_caption(world.sample_scene(rng), rng)
        assert set(caption.lower().replace(",", "").rstrip(".").split()) <= words
