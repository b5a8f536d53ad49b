"""Pictures of segments for people to look at: uint8 arrays `h w 3`."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.shapes import Guesses, Images, Masks, one_hot

# Okabe and Ito's colours, which colour-blind people can tell apart, and a few more for sets with many segments.
PALETTE = torch.tensor(
    [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (0, 114, 178),
     (204, 121, 167), (150, 150, 150), (120, 60, 180), (160, 220, 90), (90, 60, 30), (250, 190, 212)]
).float() / 255  # fmt: skip


def coloured(masks: Masks) -> Images:
    """Masks `b k h w` as colours, mixed where they are soft."""
    colours = PALETTE[torch.arange(masks.shape[1]) % len(PALETTE)]
    return torch.einsum("bkhw,kc->bchw", masks.cpu(), colours)


def overlay(images: Images, masks: Masks, strength: float = 0.55) -> Images:
    """Images with their hard segments laid over them in colour."""
    hard = one_hot(masks.argmax(1), masks.shape[1])
    return images.cpu() * (1 - strength) + coloured(hard) * strength


def sheet(columns: list[Tensor], zoom: int = 2, gap: int = 2) -> np.ndarray:
    """A grid with one row per image; each column is `b 3 h w` (pictures) or `b h w` (masks in grey), in [0, 1]."""
    tiles = [
        (column if column.dim() == 4 else column[:, None].expand(-1, 3, -1, -1)).float().cpu().clamp(0, 1) for column in columns
    ]
    grid = torch.stack(tiles, 1)
    grid = F.interpolate(grid.flatten(0, 1), scale_factor=zoom, mode="nearest").unflatten(0, grid.shape[:2])
    grid = F.pad(grid, (0, gap, 0, gap), value=1.0)
    rows = torch.cat(list(grid.unbind(1)), -1)
    return (torch.cat(list(rows), -2).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


def game_sheet(images: Images, masks: Masks, guesses: Guesses) -> np.ndarray:
    """Image, hard segments, every soft mask, and the image with every segment replaced by the inpainter's guess of it."""
    filled = images[:, None] * (1 - masks[:, :, None]) + guesses * masks[:, :, None]
    hard = one_hot(masks.argmax(1), masks.shape[1])
    return sheet([images, coloured(hard), *masks.unbind(1), *filled.unbind(1)])
