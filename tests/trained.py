"""What training leaves in the folder of a stage beside its weights, without training."""

import json
from pathlib import Path
from typing import Any

import torch

from intarsia.checkpoints import CHECKPOINT, LOG


def write_progress(stage: Path, records: list[dict[str, Any]]) -> None:
    """A log of these records, and a checkpoint of the step of the last one."""
    stage.mkdir(parents=True, exist_ok=True)
    (stage / LOG).write_text("".join(json.dumps(record) + "\n" for record in records))
    torch.save({"step": records[-1]["step"], "seconds": float(records[-1]["seconds"])}, stage / CHECKPOINT)
