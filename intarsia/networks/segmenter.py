"""Segmenters: split an image into k soft segments."""

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from intarsia.networks.layers import Attention
from intarsia.shapes import Images, Logits

FAINTEST = -12.0  # the lowest logit of a claim: exp(-12) of a pixel
STRONGEST = 4.0  # the highest logit of a correction, where segments are local: it moves borders, and no more


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

    With `names`, which channel an object gets is learned all the same, from what it looks like (`renamed`): for scenes of the
    same few objects, each to be known again.

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
        names: The objects' channels are learned; else they are in the order of the claims.
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
        names: bool = False,
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
        self.name = nn.Linear(channels, segments - 1) if names else None
        if self.name:  # all alike at first: the order of the claims
            nn.init.zeros_(self.name.weight)
            nn.init.zeros_(self.name.bias)

    def forward(self, images: Images) -> Logits:
        """Images `b 3 h w` in [0, 1] of the size given; returns logits `b k h w`: the masks are their softmax over k."""
        x = self._features(images)
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
        return renamed(logits, self.name(means[:, 1:, :-1].detach())) if self.name else logits

    def _features(self, images: Images) -> Tensor:
        """A U-Net over the image folded 2x2: `b c h/2 w/2`."""
        x = F.pixel_unshuffle(images - 0.5, 2).contiguous(memory_format=torch.channels_last)
        levels = [self.stem(x)]
        for layer in self.down:
            levels.append(layer(levels[-1]))
        x = self.attend(levels.pop() + self.position)
        x = x + self.middle(x)
        for layer in self.up:
            level = levels.pop()
            x = layer(torch.cat([F.interpolate(x, size=level.shape[-2:], mode="bilinear"), level], 1))
        return x + level

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


def renamed(logits: Logits, scores: Tensor) -> Logits:
    """Objects in the channels whose names suit them best: one-to-one, so that their scores sum to the most.

    The background keeps the first channel. The gradient is that of channels which share the objects by the softmax of their
    scores (straight-through), so that what is lost by a wrong name tells the scores.

    Args:
        logits: `b k h w`, objects in any order from channel 1 on.
        scores: `b n n`, n = k - 1: how well each object suits each name.
    """
    chosen = torch.stack([torch.from_numpy(linear_sum_assignment(-each)[1]) for each in scores.detach().float().cpu().numpy()])
    given = F.one_hot(chosen.to(scores.device), scores.shape[2]).to(logits.dtype)
    shares = scores.to(logits.dtype).softmax(2)
    named = torch.einsum("bnhw,bnm->bmhw", logits[:, 1:], given + shares - shares.detach())
    return torch.cat([logits[:, :1], named], 1)
