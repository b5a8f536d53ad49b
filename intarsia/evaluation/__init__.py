"""Evaluation of a model on test scenes: scores of its segments and its codes, and the pages and files that show them."""

from intarsia.evaluation.evaluate import evaluate_run
from intarsia.evaluation.tables import table

__all__ = ["evaluate_run", "table"]
