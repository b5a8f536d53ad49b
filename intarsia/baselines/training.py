"""Training of baselines, by steps, which is reproducible, or by minutes, to give them the same time as the method."""

import math
from collections.abc import Callable
from time import process_time
from typing import Any, Generic, NamedTuple, TypeVar

from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.optim import Adam

from intarsia.data import Scenes
from intarsia.engine import start_fabric
from intarsia.errors import InputError
from intarsia.progress import is_seen
from intarsia.recipes.options import Options
from intarsia.shapes import Images

Network = TypeVar("Network", bound=nn.Module)


class Trained(NamedTuple, Generic[Network]):
    """The trained model, the seconds of processor time that its training took, and the loss of each step."""

    model: Network
    seconds: float
    losses: list[float]


def fit(
    name: str,
    model: Network,
    scenes: Scenes,
    loss_of: Callable[[Any, Images], Tensor],
    learning_rate_at: Callable[[float], float],
    minutes: float,
    steps: float,
    batch: int,
    fabric: Fabric | None,
) -> Trained[Network]:
    """Minimise a loss with Adam until the minutes or the steps are over, whichever comes first.

    Args:
        name: Of the model, for messages.
        model: Trained in place.
        scenes: An endless split; the first step uses the first `batch` scenes, and so on.
        loss_of: The loss, given the model (wrapped by Fabric) and a batch of images.
        learning_rate_at: The learning rate after a fraction in [0, 1] of the training.
        minutes: Of the processor's time, of all threads together, including drawing the scenes. What else runs on the machine
            doesn't count.
        steps: Of training; minutes or steps must be finite.
        batch: Images per step.
        fabric: Device and precision; None for the defaults of `start_fabric`.

    Raises:
        InputError: if a number is out of range, or the loss is not finite.
    """
    if not (minutes > 0 and steps >= 1 and min(minutes, steps) < math.inf and batch >= 1):
        raise InputError(
            f"minutes must be above 0, steps and batch at least 1, minutes or steps finite; got {minutes}, {steps} and {batch}."
        )
    fabric = fabric or start_fabric(Options())
    module, optimizer = fabric.setup(model, Adam(model.parameters(), learning_rate_at(0)))
    losses, started = list[float](), process_time()
    console = Console(stderr=True)
    with Progress(console=console, disable=not is_seen(console)) as bar:
        task = bar.add_task(name, total=1.0)
        while (progress := max((process_time() - started) / (60 * minutes), len(losses) / steps)) < 1:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(progress)
            indices = range(len(losses) * batch, (len(losses) + 1) * batch)
            loss = loss_of(module, scenes(indices).images.to(fabric.device))
            optimizer.zero_grad()
            fabric.backward(loss)
            optimizer.step()
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise InputError(f"The loss of {name} is {losses[-1]} at step {len(losses)}: training broke down.")
            bar.update(task, completed=progress, description=f"{name}, {len(losses)} steps, loss {losses[-1]:.4f}")
    return Trained(model, process_time() - started, losses)
