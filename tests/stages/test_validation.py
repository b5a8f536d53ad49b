import dataclasses

import torch
from torch import nn

from intarsia.data import scenes_of
from intarsia.engine import Run, start_fabric
from intarsia.model import Model
from intarsia.stages.validation import segment_scores
from tests.stages.toys import ONE_THREAD, TINY


class Fixed(nn.Module):
    """Finds the same masks whatever it sees."""

    def __init__(self, masks: torch.Tensor) -> None:
        super().__init__()
        self.masks = masks

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.masks[: len(images)].log()


def test_no_part_of_a_background_scores_as_an_object(tmp_path):
    val = dataclasses.replace(scenes_of(TINY, "val", seed=0), backgrounds=2, size=50)
    model, masks = Model(TINY), val.first(50).masks.clone()
    masks[:, 0] += masks[:, 1]  # all is found, but the background's two parts are one
    masks[:, 1] = 0
    model.segmenter = Fixed(masks)
    scores = segment_scores(model, val, Run(tmp_path / "separation", start_fabric(ONE_THREAD), ONE_THREAD, 0), 0)
    assert scores["fg_ari"] == 1 > scores["ari"]
