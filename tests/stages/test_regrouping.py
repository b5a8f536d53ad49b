import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.stages.regrouping import regroup


def logits_of(rows: list[str], segments: int = 3, sure: float = 5.0) -> Tensor:
    """Logits `1 k h w` of a segmenter that is sure of a picture drawn in digits; '.' stands for 0."""
    labels = torch.tensor([[int(cell.replace(".", "0")) for cell in row] for row in rows])
    return sure * F.one_hot(labels, segments).permute(2, 0, 1)[None].float()


def drawn(proposal: Tensor) -> list[str]:
    return ["".join(str(cell) for cell in row).replace("0", ".") for row in proposal.tolist()]


TWO_IN_ONE = [
    "........",
    ".11.....",
    ".11.....",
    ".11..11.",
    ".....11.",
    ".....11.",
    ".....11.",
    "........",
]


def test_two_objects_of_one_channel_are_split_over_two():
    logits = logits_of(TWO_IN_ONE)
    logits[0, 2, 3:, 5:] += 2  # of the two, the segmenter would rather give the lower one to channel 2
    proposal = regroup(logits, True, smallest=2)[0]
    assert proposal.dtype == torch.int64
    assert drawn(proposal) == [row[:5] + row[5:].replace("1", "2") for row in TWO_IN_ONE]


def test_the_largest_segment_becomes_the_background():
    rows = [row.replace(".", "2").replace("1", ".") for row in TWO_IN_ONE]
    proposal = regroup(logits_of(rows), True, smallest=2)[0]
    assert (proposal[0] == 0).all() and (proposal[:, 0] == 0).all()
    assert {int(proposal[1, 1]), int(proposal[3, 5])} == {1, 2}


def test_every_image_has_a_background_of_its_own():
    dark, light = logits_of(TWO_IN_ONE), logits_of([row.replace(".", "3").replace("1", ".") for row in TWO_IN_ONE], 4)
    both = regroup(torch.cat([F.pad(dark, (0, 0, 0, 0, 0, 1), value=0.0), light]), True, smallest=2)
    assert (both[:, 0] == 0).all()
    assert torch.equal(both[1], regroup(light, True, smallest=2)[0])  # images do not influence each other


def test_small_pieces_join_the_background():
    rows = [*TWO_IN_ONE[:7], "22......"]
    assert drawn(regroup(logits_of(rows), True, smallest=3)[0])[7] == "........"
    kept = drawn(regroup(logits_of(rows, 4), True, smallest=2)[0])[7]
    assert kept == "22......"
    assert (regroup(logits_of(rows), True, smallest=20)[0] == 0).all()  # nothing is left


def test_a_piece_reaches_over_segment_borders_but_not_over_corners():
    across = regroup(logits_of(["........", ".1122...", "........", "........"]), True, smallest=2)[0]
    assert len(across[1, 1:5].unique()) == 1
    corner = regroup(logits_of([".....", ".11..", "...11", "....."]), True, smallest=2)[0]
    assert corner[1, 1] != corner[2, 3]


def test_pieces_beyond_the_channels_go_where_they_prefer():
    rows = [
        "11111...",
        "........",
        "1111....",
        "........",
        "111.....",
        "........",
        "22...11.",
        "........",
    ]
    proposal = regroup(logits_of(rows), True, smallest=2)[0]
    assert {int(proposal[0, 0]), int(proposal[2, 0])} == {1, 2}  # the two largest get one channel each
    assert proposal[4, 0] == 1 and proposal[6, 5] == 1 and proposal[6, 0] == 2  # the rest keeps its own


def test_one_segment_alone_is_background():
    assert (regroup(logits_of(["11", "11"], 2), True) == 0).all()


def test_pieces_by_segment_end_at_segment_borders():
    touching = logits_of(["........", ".1122...", ".1122...", "......1.", "........"])
    assert drawn(regroup(touching, False, smallest=1)[0])[1:3] == [".1122...", ".1122..."]
    whole = regroup(touching, True, smallest=1)[0]
    assert len(set(whole[1, 1:5].tolist())) == 1  # one piece, one channel
    apart = logits_of(["......", ".1.1..", ".1.1..", "......"])
    assert set(regroup(apart, False, smallest=1)[0][1, [1, 3]].tolist()) == {1, 2}  # one segment, two pieces


def test_of_a_background_in_parts_every_piece_competes_for_every_channel():
    rows = ["1111", "1111", "2222", "1133", "1133", "4113"]  # sky and floor in one segment, a wall between them, an object
    parts = regroup(logits_of(rows, 5), False, smallest=3, several_backgrounds=True)[0]
    sky, wall, floor, thing = parts[0, 0], parts[2, 0], parts[3, 0], parts[3, 2]
    assert (sky, wall, thing) == (1, 2, 3)  # what the segmenter prefers, and nothing has to be segment 0
    assert floor in (0, 4) and (parts[3:5, :2] == floor).all() and (parts[5, 1:3] == floor).all()
    assert parts[5, 0] == 4  # too small a piece: it stays
    assert (regroup(logits_of(["11", "11"], 2), False, several_backgrounds=True) == 1).all()
