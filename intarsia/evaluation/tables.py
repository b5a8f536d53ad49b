"""Scores as tables for the terminal."""

from rich.console import Group
from rich.table import Column, Table

from intarsia.evaluation.means import number
from intarsia.records.scores import Codes, Figures, Scores


def table(scores: Scores) -> Group:
    """A table of the segments' scores and, if the codes are trained, one of theirs."""
    title = f"{scores.dataset} ({scores.source}), seed {scores.seed}"
    tables = [_segments_table(title, scores.figures, scores.test_images)]
    if scores.codes:
        tables.append(_codes_table(title, scores.figures, scores.codes))
    return Group(*tables)


def _segments_table(title: str, figures: Figures, scenes: int) -> Table:
    columns = "", Column("with background", justify="right"), Column("objects only", justify="right")
    rows = Table(*columns, title=f"{title}: segments of {scenes} test scenes, 1 is perfect", title_justify="left")
    rows.add_row("IoU, the original's protocol", f"{number(figures.iou.mean)} ± {number(figures.iou.std)}", "–")
    rows.add_row("mIoU, matched one-to-one", number(figures.miou), number(figures.miou_objects))
    rows.add_row("mBO, best overlap", number(figures.mbo), number(figures.mbo_objects))
    for name, track in (figures.identity_switching or {}).items():
        rows.add_row(f"identities switched, {name}", f"{track.rate:.3f} of {track.scenes}", "0 is best")
    rows.add_row("ARI, pairs of pixels", number(figures.ari), f"{number(figures.fg_ari)} (FG-ARI)")
    return rows


def _codes_table(title: str, figures: Figures, codes: Codes) -> Table:
    columns = "", Column(justify="right"), Column("perfect", justify="right")
    rows = Table(*columns, title=f"{title}: codes of {codes.objects} objects", title_justify="left")
    rows.add_row("PSNR of the rendered images, dB", number(figures.psnr, 2), "∞")
    rows.add_row("SSIM", number(figures.ssim), "1")
    rows.add_row("mean squared error", number(figures.mse, 4), "0")
    rows.add_section()
    rows.add_row(f"{len(codes.informative)} informative numbers, each + 1 in {codes.locality_images} scenes:", "", "")
    rows.add_row("  locality, bare fusion output", number(figures.locality), "1")
    rows.add_row("  locality, composited", number(figures.locality_composited), "1")
    rows.add_row("  other objects' codes move by", number(figures.others_moved), "0")
    if codes.factors:
        rows.add_section()
        rows.add_row(f"{len(codes.factors)} true factors predicted by all numbers, R²", number(figures.factor_r2), "1")
        rows.add_row("  by the best number alone, R²", number(figures.factor_r2_single), "1")
        rows.add_row("  DCI disentanglement", number(figures.dci_disentanglement), "1")
        rows.add_row("  DCI completeness", number(figures.dci_completeness), "1")
        rows.add_row("  MIG", number(figures.mig), "1")
    return rows
