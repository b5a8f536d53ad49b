"""The compact segmenter: splits an image into k soft segments."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from intarsia.networks.layers import Attention
from intarsia.shapes import Images, Logits

LEAST_LOGIT = -12.0  # of the coarse logits
MOST_CORRECTION = 4.0  # of a logit, if embeddings contain places: a correction moves borders, and no more
PROTOTYPE_DECAY = 0.99  # of the running means of the objects' appearance


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
    """Segments by stick-breaking: first the background, then one object after the other.

    A small U-Net at half size gives each pixel a background logit and a short embedding. The *scope* is the part of each pixel
    that no segment has taken yet. The background takes its part first. Each further segment starts from a seed, the pixel
    with the most scope at itself and around it, and takes its part of the scope where embeddings are near the seed's. This
    gives the *coarse logits*. It is the instance colouring of Engelcke et al. ("GENESIS-V2", NeurIPS 2021, section 3.1) with
    seeds that are not random, so that an image always gets the same segments. The network need not learn which channel an
    object gets, and no channel can die. A correction at full size, which also sees the image, sharpens the borders.

    With `learn_channels`, objects get the channels in which objects of their appearance were before: for scenes of the same
    few objects. The appearance of an object is its mean feature on the first level, which does not depend on its place. In
    training mode each channel keeps a running mean of its objects' appearance, its *appearance prototype*. Objects are
    assigned one-to-one to the channels with the most similar prototypes (`best_order`).

    With a `span`, the first two numbers of an embedding are a place: the pixel's own, moved by an offset that the network
    predicts (Novotny et al., "Semi-convolutional operators for instance segmentation", ECCV 2018). Then no segment can cover
    pixels that are far apart.

    The original's segmenters need far more steps than a laptop can do (docs/notes/001-compact-networks.md).

    Args:
        height: Image height in pixels, a multiple of 8.
        width: Image width in pixels, a multiple of 8.
        segments: Number of segments k.
        channels: Channels at half size; the two deeper levels have 2 and 4 times as many.
        dimension: Length of an embedding.
        span: The longer side of the image in units of the embeddings; 0 leaves places out of them.
        smoothing: The factor of `smoothed`; 0 for no smoothing.
        learn_channels: Whether the objects' channels are learned; else objects are in the order of stick-breaking.
        background_first: Whether the first segment claims the background; else all segments are seeded alike.
        backbone: Channels of a backbone's maps at strides 4, 8 and 16, which are added to the levels. With them the finest
            level has a quarter of the image's size instead of half, and height and width are multiples of 16.
    """

    looks: Tensor | None  # the appearance prototypes `k-1 c`, under the name that saved weights have for them

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
        background_first: bool = True,
        backbone: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.segments, self.span, self.smoothing, self.background_first = segments, span, smoothing, background_first
        self.fold = 4 if backbone else 2
        self.stem = Block(3 * self.fold**2, channels)
        self.down = nn.ModuleList([Block(channels, 2 * channels, 2), Block(2 * channels, 4 * channels, 2)])
        self.position = nn.Parameter(torch.zeros(4 * channels, height // (4 * self.fold), width // (4 * self.fold)))
        self.attend = Attention(4 * channels)
        self.middle = Block(4 * channels, 4 * channels)
        self.up = nn.ModuleList([Block(6 * channels, 2 * channels), Block(3 * channels, channels)])
        last = nn.Linear(2 * channels, 1 + dimension)
        nn.init.ones_(last.bias[:1])  # at first almost everything is background, so that it becomes the first segment
        self.embed = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, 2 * channels), nn.ReLU(), last)
        half = channels // 2
        self.narrow = nn.Conv2d(channels, half - 3, 1)
        self.sharpen = nn.Conv2d(half, half, 3, padding=1)
        self.query = nn.Linear(channels + 1, half)
        self.register_buffer("looks", torch.zeros(segments - 1, channels) if learn_channels else None)
        sizes = zip(backbone, (channels, 2 * channels, 4 * channels), strict=False)
        self.add = nn.ModuleList(nn.Sequential(nn.BatchNorm2d(i), nn.Conv2d(i, o, 1)) for i, o in sizes)

    def forward(self, images: Images, *maps: Tensor) -> Logits:
        """Images `b 3 h w` in [0, 1] of the size given, and a backbone's maps of them, if any.

        Returns logits `b k h w`: the masks are their softmax over k.
        """
        features, first_level = self._features(images, [layer(each) for layer, each in zip(self.add, maps, strict=True)])
        pixels = features.permute(0, 2, 3, 1)
        coarse = self._coarse_logits(self.embed(pixels).float())
        narrow = self.narrow(features)
        fine = torch.cat([F.interpolate(narrow, size=images.shape[-2:], mode="bilinear"), (images - 0.5).to(narrow.dtype)], 1)
        fine = F.relu(self.sharpen(fine)).permute(0, 2, 3, 1)
        means = self._means(coarse, pixels)
        correction = torch.einsum("bhwd,bkd->bkhw", fine, self.query(means).to(fine.dtype))
        if self.span:
            correction = MOST_CORRECTION * (correction.float() / MOST_CORRECTION).tanh()
        logits = F.interpolate(coarse, size=images.shape[-2:], mode="bilinear") + correction
        if self.smoothing:
            logits = smoothed(logits, self.smoothing)
        return logits if self.looks is None else reorder_objects(logits, self._channel_order(coarse, first_level))

    def _features(self, images: Images, added: Sequence[Tensor] = ()) -> tuple[Tensor, Tensor]:
        """The features of a U-Net over the image folded 2x2, `b c h/2 w/2`, and those of its first level alone.

        Each pixel of the first level sees 6 pixels of the image, and not its place. What comes from a backbone is added to the
        levels; then the image is folded 4x4.
        """
        x = F.pixel_unshuffle(images - 0.5, self.fold).contiguous(memory_format=torch.channels_last)
        first_level = self.stem(x)
        levels = [first_level + added[0] if added else first_level]
        for depth, layer in enumerate(self.down, 1):
            x = layer(levels[-1])
            levels.append(x + added[depth] if added else x)
        x = self.attend(levels.pop() + self.position)
        x = x + self.middle(x)
        for layer in self.up:
            level = levels.pop()
            x = layer(torch.cat([F.interpolate(x, size=level.shape[-2:], mode="bilinear"), level], 1))
        return x + first_level, first_level

    @torch.no_grad()
    def _channel_order(self, coarse: Logits, first_level: Tensor) -> Tensor:
        """Which object each channel from 1 on gets, `b n`, by appearance; in training mode the prototypes follow."""
        assert self.looks is not None  # for the type checker
        appearance = self._means(coarse, first_level.permute(0, 2, 3, 1))[:, 1:, :-1].float()
        order = best_order((appearance[:, :, None] * self.looks).sum(-1))
        if self.training:
            self.looks.lerp_(appearance.gather(1, order[..., None].expand_as(appearance)).mean(0), 1 - PROTOTYPE_DECAY)
        return order

    def _coarse_logits(self, embedded: Tensor) -> Logits:
        """Logits `b k h w` of all segments by stick-breaking, from each pixel's background logit and embedding, `b h w 1+d`."""
        background, embedding = embedded[..., 0], embedded[..., 1:]
        if self.span:
            embedding = torch.cat([self._predicted_centres(embedding[..., :2]), embedding[..., 2:]], -1)
        logits, log_scope = [F.logsigmoid(background)], F.logsigmoid(-background)
        if not self.background_first:
            logits, log_scope = [], torch.zeros_like(background)
        for _ in range(self.segments - len(logits)):
            with torch.no_grad():
                scope = log_scope.exp()
                seed = (scope * F.avg_pool2d(scope[:, None], 3, 1, 1)[:, 0]).flatten(1).argmax(1)
            centre = embedding.flatten(1, 2).gather(1, seed[:, None, None].expand(-1, 1, embedding.shape[-1]))[:, None]
            log_fraction = -(embedding - centre).square().sum(-1)
            logits.append(log_scope + log_fraction)
            log_scope = log_scope + torch.log1p(-log_fraction.exp().clamp(max=1 - 1e-4))
        return torch.stack(logits, 1).clamp(min=LEAST_LOGIT)

    def _predicted_centres(self, offsets: Tensor) -> Tensor:
        """Each pixel's place plus its offset, at most a quarter of the span each way: `b h w 2`, rows and columns."""
        height, width = offsets.shape[1:3]
        cells = torch.cartesian_prod(torch.arange(height), torch.arange(width)).view(height, width, 2).to(offsets)
        return self.span * (cells / max(height, width) + offsets.tanh() / 4)

    def _means(self, coarse: Logits, pixels: Tensor) -> Tensor:
        """Each segment's mean feature, and the fraction of the image that it covers: `b k c+1`."""
        weights = coarse.softmax(1).to(pixels.dtype)
        means = torch.einsum("bkhw,bhwc->bkc", weights, pixels) / (weights.sum((2, 3))[..., None] + 1e-3)
        return torch.cat([means, weights.mean((2, 3))[..., None]], 2)


def smoothed(logits: Logits, factor: float) -> Logits:
    """Logits of smoother masks: the logarithm of each mask's mean over 3x3 pixels, times a factor.

    The mean is weighted 1-2-1 in both directions. With a factor of 1, hard borders become blurred. With 3, they stay soft over
    about one pixel, as in a photograph or a rendered image, and single stray pixels vanish.
    """
    masks = F.pad(logits.softmax(1), (1, 1, 1, 1), mode="replicate")
    masks = (masks[:, :, :-2] + 2 * masks[:, :, 1:-1] + masks[:, :, 2:]) / 4
    masks = (masks[..., :-2] + 2 * masks[..., 1:-1] + masks[..., 2:]) / 4
    return factor * masks.clamp(min=1e-4).log()


def best_order(similarity: Tensor) -> Tensor:
    """The one-to-one assignment of objects to channels with the greatest sum of similarities; ties keep the order.

    Args:
        similarity: `b n n`, of each object to each channel's prototype.

    Returns:
        `b n`, int64: the number of the object for each channel.
    """
    orders = [linear_sum_assignment(-each)[1] for each in similarity.mT.cpu().numpy()]
    return torch.from_numpy(np.stack(orders)).to(similarity.device)


def reorder_objects(logits: Logits, order: Tensor) -> Logits:
    """Logits `b k h w` with the objects in the order of indices `b k-1`; the background keeps the first channel."""
    objects = logits[:, 1:].gather(1, order[:, :, None, None].expand_as(logits[:, 1:]))
    return torch.cat([logits[:, :1], objects], 1)
