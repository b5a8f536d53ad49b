"""Several processes that share each batch: who is the first of them, and the means over all of them."""

from collections.abc import Sequence
from typing import cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

__all__ = ["SharedBatches", "average", "is_first"]


class SharedBatches(DDPStrategy):
    """Fabric's processes for data-parallel training, with networks that are not wrapped: `average` takes the means instead.

    PyTorch's wrapper waits for the gradient of every weight. In some steps the inpainter's patches have none. The wrapper can
    search for such weights in each step, but then it warns about all steps in which there are none.
    """

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
        """The module itself."""
        return module


def is_first(fabric: Fabric) -> bool:
    """Whether this process is the first one, also before Fabric has started the others."""
    environment = getattr(fabric.strategy, "cluster_environment", None)  # one device needs none
    return environment is None or environment.node_rank() == environment.local_rank() == 0


@torch.no_grad()
def average(fabric: Fabric, tensors: Sequence[Tensor]) -> None:
    """Replace tensors of one type by their means over all processes. Every process has to call it with the same shapes."""
    if fabric.world_size == 1 or not tensors:
        return
    means = cast(Tensor, fabric.all_reduce(torch.cat([tensor.flatten() for tensor in tensors])))
    for tensor, mean in zip(tensors, means.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))
