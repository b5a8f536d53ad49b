"""A memo: what was made of the same tensors before need not be made again."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor

__all__ = ["FORGETFUL", "Memo"]


class Memo:
    """Results by what they were made of; the least recently used are forgotten first. For one thread alone.

    Args:
        most_bytes: That all results may take together; with 0 none is kept.
    """

    def __init__(self, most_bytes: int = 2**26) -> None:
        self._most_bytes = most_bytes
        self._results: OrderedDict[tuple[str, bytes], Tensor] = OrderedDict()
        self.bytes = 0
        """That the results take now."""

    def __call__(self, name: str, make: Callable[..., Tensor], *given: Tensor) -> Tensor:
        """What `make` makes of the tensors given, or made before under this name of the same ones, bit by bit."""
        if not self._most_bytes:
            return make(*given)
        key = name, hashlib.sha256(b"".join(each.cpu().numpy().tobytes() for each in given)).digest()
        if key not in self._results:
            self._results[key] = made = make(*given)
            self.bytes += made.nbytes
            while self.bytes > self._most_bytes and len(self._results) > 1:
                self.bytes -= self._results.popitem(last=False)[1].nbytes
        self._results.move_to_end(key)
        return self._results[key]


FORGETFUL = Memo(0)
