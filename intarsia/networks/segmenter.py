"""Segmenters: split an image into k soft segments."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from intarsia.networks.layers import Attention
from intarsia.shapes import Images, Logits

FAINTEST = -12.0  # the lowest logit of a claim: exp(-12) of a pixel
STRONGEST = 4.0  # the highest logit of a correction, where segments are local: it moves borders, and no more
MEMORY = 0.99  # decay of the running means by which objects are known again


class Block(nn.Module):
    """3x3 convolution, instance normalisation, ReLU; stride 2 halves the size."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.convolve = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        self.norm = nn.InstanceNorm2d(outputs, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `b inputs h w` to `b outputs h w`, or half that size."""
        return F.relu(self.norm(self.convolve(x)))


class CompactSegmenter(nn.Module):
    """Claims one segment after the other: first the background, then whatever is claimed least so far.

    A small U-Net at half size gives every pixel a figure-or-ground logit and a short embedding. The first segment claims the
    ground. Each further one takes the embedding of a pixel that is not claimed yet, nor are its neighbours, as its seed, and
    claims the free pixels whose embeddings are near: instance colouring by stick breaking (Engelcke et al., "GENESIS-V2",
    NeurIPS 2021, section 3.1, but seeds are the least claimed pixels instead of random ones, so that an image always gets the
    same segments). Which channel an object gets does not have to be learned, nor can a channel die.
    A correction at full size, which also sees the image, sharpens the borders.

    With `learn_channels`, objects are known again by their looks: for scenes of the same few objects. A look is an object's
    mean feature of the first level, which doesn't see where it is. In training mode each channel remembers the running mean of
    the looks it was given; objects go to the channels whose memories they resemble, one-to-one (`best_order`).

    With a `span`, the first two numbers of an embedding say where its object is: the pixel's own place, moved by as much as the
    network says (semi-convolutional: Novotny et al., "Semi-convolutional operators for instance segmentation", ECCV 2018).
    What is far apart can then not be claimed together, nor corrected to be.
    Departs from the original's segmenters, which need far more steps than a laptop has (docs/notes/001-compact-networks.md).

    Args:
        height, width: Image size in pixels, multiples of 8.
        segments: Number of segments k.
        channels: Channels at half size; the two deeper levels have 2 and 4 times as many.
        dimension: Length of an embedding.
        span: Embeddings are of place, too: what the longer side of the image measures among them. 0 leaves places out.
        smoothing: What neighbours say counts, this often; 0 leaves them out (`smoothed`).
        learn_channels: The objects' channels are learned; else they are in the order of the claims.
    """

    def __init__(
        self,
        height: int = 64,
        width: int = 64,
        segments: int = 5,
        channels: int = 32,
        dimension: int = 16,
        span: float = 0.0,
        smoothing: float = 0.0,
        learn_channels: bool = False,
    ) -> None:
        super().__init__()
        self.segments, self.span, self.smoothing = segments, span, smoothing
        self.stem = Block(12, channels)
        self.down = nn.ModuleList([Block(channels, 2 * channels, 2), Block(2 * channels, 4 * channels, 2)])
        self.position = nn.Parameter(torch.zeros(4 * channels, height // 8, width // 8))
        self.attend = Attention(4 * channels)
        self.middle = Block(4 * channels, 4 * channels)
        self.up = nn.ModuleList([Block(6 * channels, 2 * channels), Block(3 * channels, channels)])
        last = nn.Linear(2 * channels, 1 + dimension)
        nn.init.ones_(last.bias[:1])  # at first most of everything is ground: so the background becomes the first segment
        self.embed = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, 2 * channels), nn.ReLU(), last)
        half = channels // 2
        self.narrow = nn.Conv2d(channels, half - 3, 1)
        self.sharpen = nn.Conv2d(half, half, 3, padding=1)
        self.query = nn.Linear(channels + 1, half)
        self.looks: Tensor | None
        self.register_buffer(
            "looks", torch.zeros(segments - 1, channels) if learn_channels else None
        )  # alike: the order of the claims

    def forward(self, images: Images) -> Logits:
        """Images `b 3 h w` in [0, 1] of the size given; returns logits `b k h w`: the masks are their softmax over k."""
        x, look = self._features(images)
        pixels = x.permute(0, 2, 3, 1)
        claims = self._claim(self.embed(pixels).float())
        narrow = self.narrow(x)
        fine = torch.cat([F.interpolate(narrow, size=images.shape[-2:], mode="bilinear"), (images - 0.5).to(narrow.dtype)], 1)
        fine = F.relu(self.sharpen(fine)).permute(0, 2, 3, 1)
        means = self._means(claims, pixels)
        correction = torch.einsum("bhwd,bkd->bkhw", fine, self.query(means).to(fine.dtype))
        if self.span:
            correction = STRONGEST * (correction.float() / STRONGEST).tanh()
        logits = F.interpolate(claims, size=images.shape[-2:], mode="bilinear") + correction
        if self.smoothing:
            logits = smoothed(logits, self.smoothing)
        return logits if self.looks is None else in_order(logits, self._order(claims, look))

    def _features(self, images: Images) -> tuple[Tensor, Tensor]:
        """A U-Net over the image folded 2x2, `b c h/2 w/2`; and its first level, which sees 6 pixels and not where it is."""
        x = F.pixel_unshuffle(images - 0.5, 2).contiguous(memory_format=torch.channels_last)
        look = self.stem(x)
        levels = [look]
        for layer in self.down:
            levels.append(layer(levels[-1]))
        x = self.attend(levels.pop() + self.position)
        x = x + self.middle(x)
        for layer in self.up:
            level = levels.pop()
            x = layer(torch.cat([F.interpolate(x, size=level.shape[-2:], mode="bilinear"), level], 1))
        return x + look, look

    @torch.no_grad()
    def _order(self, claims: Logits, look: Tensor) -> Tensor:
        """Which object goes to each channel from 1 on, by their looks: `b n`; in training mode the channels remember these."""
        assert self.looks is not None  # for the type checker
        looks = self._means(claims, look.permute(0, 2, 3, 1))[:, 1:, :-1].float()
        order = best_order((looks[:, :, None] * self.looks).sum(-1))
        if self.training:
            self.looks.lerp_(looks.gather(1, order[..., None].expand_as(looks)).mean(0), 1 - MEMORY)
        return order

    def _claim(self, embedded: Tensor) -> Logits:
        """Logits of the segments' claims, `b k h w`, from ground logit and embedding of each pixel, `b h w 1+d`."""
        ground, embedding = embedded[..., 0], embedded[..., 1:]
        if self.span:
            embedding = torch.cat([self._points_at(embedding[..., :2]), embedding[..., 2:]], -1)
        claims, free = [F.logsigmoid(ground)], F.logsigmoid(-ground)
        for _ in range(self.segments - 1):
            with torch.no_grad():  # a free pixel with free ones around it
                share = free.exp()
                seed = (share * F.avg_pool2d(share[:, None], 3, 1, 1)[:, 0]).flatten(1).argmax(1)
            centre = embedding.flatten(1, 2)[torch.arange(len(seed)), seed]
            near = -(embedding - centre[:, None, None]).square().sum(-1)
            claims.append(free + near)
            free = free + torch.log1p(-near.exp().clamp(max=1 - 1e-4))
        return torch.stack(claims, 1).clamp(min=FAINTEST)

    def _points_at(self, offsets: Tensor) -> Tensor:
        """Each pixel's place moved by its offset, at most a quarter of the span each way: `b h w 2`, rows and columns."""
        height, width = offsets.shape[1:3]
        cells = torch.cartesian_prod(torch.arange(height), torch.arange(width)).view(height, width, 2).to(offsets)
        return self.span * (cells / max(height, width) + offsets.tanh() / 4)

    def _means(self, claims: Logits, pixels: Tensor) -> Tensor:
        """Each segment's mean feature, and its share of the image: `b k c+1`."""
        weights = claims.softmax(1).to(pixels.dtype)
        means = torch.einsum("bkhw,bhwc->bkc", weights, pixels) / (weights.sum((2, 3))[..., None] + 1e-3)
        return torch.cat([means, weights.mean((2, 3))[..., None]], 2)


def smoothed(logits: Logits, times: float) -> Logits:
    """Each pixel's masks by its neighbourhood: the logarithm of their mean there, so many times.

    The mean over 3x3 pixels is weighted 1-2-1 in both directions. Once, it blurs borders that were hard; three times, it leaves
    them soft over about a pixel, as borders are that a camera sees or a renderer draws, and single odd pixels go.
    """
    share = F.pad(logits.softmax(1), (1, 1, 1, 1), mode="replicate")
    share = (share[:, :, :-2] + 2 * share[:, :, 1:-1] + share[:, :, 2:]) / 4
    share = (share[..., :-2] + 2 * share[..., 1:-1] + share[..., 2:]) / 4
    return times * share.clamp(min=1e-4).log()


def best_order(likeness: Tensor) -> Tensor:
    """Which object suits each channel, one-to-one, so that their likenesses sum to the most; their order where all are alike.

    Args:
        likeness: `b n n`, of each object to what each channel holds.

    Returns:
        `b n`, int64: the number of the object for each channel.
    """
    found = [linear_sum_assignment(-each)[1] for each in likeness.mT.cpu().numpy()]
    return torch.from_numpy(np.stack(found)).to(likeness.device)


def in_order(logits: Logits, order: Tensor) -> Logits:
    """Logits `b k h w` with the objects in this order, `b k-1`; the background keeps the first channel."""
    objects = logits[:, 1:].gather(1, order[:, :, None, None].expand_as(logits[:, 1:]))
    return torch.cat([logits[:, :1], objects], 1)
