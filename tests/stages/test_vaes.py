import copy
import dataclasses

import pytest
import torch

from intarsia.data import open_dataset
from intarsia.masks import normalise_contrast
from intarsia.metrics import psnr
from intarsia.model import Model
from intarsia.recipes.settings import EndToEnd
from intarsia.stages.end_to_end import end_to_end
from intarsia.stages.scenes import TrainingScenes, training_scenes
from intarsia.stages.vaes import vaes
from tests.stages.toys import TINY, changed, log_of, run_stage, toy_scenes


def test_stages_of_codes_work_on_smaller_images(tmp_path):
    """They see opened masks and images of normalised contrast, both downsampled; in stage 4 the description is of them too."""
    recipe = dataclasses.replace(
        TINY,
        vae=dataclasses.replace(TINY.vae, downsampling=2, normalise_contrast=True),
        vaes=dataclasses.replace(TINY.vaes, steps=2),
        consistency=dataclasses.replace(TINY.consistency, steps=0),
        end_to_end=EndToEnd(2, 4),
    )
    model, seen = Model(recipe), []
    model.autoencoder.register_forward_pre_hook(lambda _, given: seen.append(given[:2]))
    images = open_dataset(recipe.dataset, 0, "train")(range(4)).images
    clean = model.eval().ordered(model.segmenter(images).softmax(1), images)
    run_stage(vaes, model, tmp_path)
    assert torch.equal(seen[0][0], normalise_contrast(images)[..., ::2, ::2])
    assert torch.allclose(seen[0][1], clean[..., ::2, ::2], atol=1e-6)
    run_stage(end_to_end, model, tmp_path)
    assert {each.shape[-2:] for given in seen for each in given} == {(32, 32)}


def test_scenes_that_come_again_are_segmented_once(tmp_path):
    """Their masks are the same ones each time. A resumed run segments them anew, with the same result."""
    again = dataclasses.replace(TINY, vaes=dataclasses.replace(TINY.vaes, steps=10, scenes=8, max_shift=0.0))
    model, segmented, seen = Model(again), [], []
    initial = copy.deepcopy(model.state_dict())
    model.segmenter.register_forward_pre_hook(lambda _, given: segmented.append(given[0]))
    model.autoencoder.register_forward_pre_hook(lambda network, given: seen.append(given[:2]) if network.training else None)
    run_stage(vaes, model, tmp_path / "whole")
    assert sum(len(images) == again.vaes.batch for images in segmented) == 2
    *seen, _validated = seen
    assert len(seen) == 10 and not torch.equal(seen[0][0], seen[1][0])
    for step in range(2, 10):
        assert all(torch.equal(*pair) for pair in zip(seen[step], seen[step - 2], strict=True))

    def start() -> Model:
        other = Model(again)
        other.load_state_dict(initial)
        return other

    scenes = open_dataset(again.dataset, 0, "train")
    drawn = []

    def draw(indices):
        drawn.append(indices)
        if len(drawn) > 8:
            raise KeyboardInterrupt
        return scenes.draw(indices)

    stopping = TrainingScenes(dataclasses.replace(scenes, draw=draw), training_scenes(again).val)
    with pytest.raises(KeyboardInterrupt):
        run_stage(vaes, start(), tmp_path / "resumed", stopping)
    resumed = start()
    run_stage(vaes, resumed, tmp_path / "resumed")
    assert changed(start(), model) == {"autoencoder"} and not changed(model, resumed)


@pytest.mark.slow
def test_vaes_learn(toy):
    """Without codes no picture would be better than the mean of all images."""
    first, *_, last = log_of(toy[1])
    images = toy_scenes(range(32)).images
    flat = float(psnr(images, images.mean(0, keepdim=True).expand_as(images)).mean())
    print({name: (first.get(name), value) for name, value in last.items()}, f"psnr of the mean image {flat:.1f}")
    assert last["psnr"] > flat + 3
    assert last["shape_iou"] > 0.8
    assert last["shape_nats"] == pytest.approx(6.0, abs=1.5)
    for name in ("texture_error", "background_error", "shape_error", "object_error", "scene_error"):
        assert last[name] < 0.4 * first[name], name
