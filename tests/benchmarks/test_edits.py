"""What `benchmarks/edits.py` takes for the truth, and that moves of the shipped models are as good as it says."""

import pytest
import torch

from benchmarks.edits import DRAW, _psnr, _shifted, _way, edits_of
from intarsia.data import open_dataset
from intarsia.model import load

DRAWN = ["multi_dsprites", "multi_texture", "multi_texture_pair"]


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("index", [3, 8])
def test_drawn_scene_is_the_test_scene_and_differs_without_an_object_only_there(name, index):
    images, masks = open_dataset(name, 0, "test")([index])
    image, found = DRAW[name](index, None)
    present = masks[0, 1:].amax((1, 2)) > 0
    assert torch.equal(image, images[0]) and torch.equal(found[found.amax((1, 2)) > 0], masks[0, 1:][present])
    for number, mask in enumerate(found):
        others = [other for other in range(len(found)) if other != number]
        without, left = DRAW[name](index, others)
        torch.testing.assert_close(without[:, mask == 0], image[:, mask == 0])
        assert len(left) == len(others) and (mask.max() == 0 or not torch.equal(without, image))


def test_way_keeps_clear_of_border_and_others():
    mask, others = torch.zeros(2, 40, 40)
    mask[10:20, 20:30] = 1
    others[:, 34:] = 1
    assert _way(mask, others, 0) == (0, 4)
    assert _way(mask, torch.ones(40, 40), 0) is None
    assert torch.equal(_shifted(mask[None], 3, -2)[0, 8:18, 23:33], torch.ones(10, 10))
    assert _psnr(torch.zeros(3, 2, 2), torch.full((3, 2, 2), 0.1), torch.ones(2, 2) > 0) == pytest.approx(20)


@pytest.mark.parametrize("name", ["multi_dsprites", "multi_texture"])
def test_moved_objects_keep_their_pixels_and_leave_no_trace(name):
    model = load(name, device="cpu")
    found = [each for index in range(4) for each in edits_of(model, DRAW[name], index) if each]
    assert len(found) >= 2
    middle = {figure: sorted(each[figure] for each in found)[len(found) // 2] for figure in found[0]}
    assert middle["moved"] >= 30 and middle["moved_half"] >= 26 and middle["vacated"] >= 34
    assert not any(each["outside"] for each in found)
