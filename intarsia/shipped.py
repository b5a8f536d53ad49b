"""The models that come with the package."""

from pathlib import Path

SHIPPED = Path(__file__).with_name("weights")  # a model folder for each of them, with its weights


def shipped() -> dict[str, Path]:
    """Their folders, by name."""
    return {path.parent.name: path.parent for path in sorted(SHIPPED.glob("*/*.safetensors"))}
