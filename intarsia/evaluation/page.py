"""The page itself: text and tables round the pictures."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from intarsia.evaluation.curves import curves
from intarsia.evaluation.html import escape, number, rows, table
from intarsia.recipes import train_command
from intarsia.recipes.settings import Recipe
from intarsia.records import Records

__all__ = ["page"]

STYLE = Path(__file__).with_name("style.css")


def page(name: str, records: Records, segments: dict[str, str], moves: dict[int, str]) -> str:
    """The HTML of a run's report.

    Args:
        name: Of the run.
        records: What the run has recorded; its scores hold `codes` once they are trained.
        segments: For "best", "median" and "worst" the pictures of such scenes, as HTML.
        moves: For scenes by index the animations of their codes, as HTML.
    """
    title = f"{records.recipe.dataset}, seed {records.recipe.seed}"
    codes = records.scores["codes"]
    sections = [
        _head(name, title, records),
        _segments(records.scores, segments),
        *([_codes(records, codes), _factors(codes["factors"]), _moves(moves)] if codes else []),
        _curves(records),
        _settings(records.recipe),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: Intarsia</title><style>{STYLE.read_text()}</style></head>"
        f"<body>{''.join(sections)}</body></html>\n"
    )


def _head(name: str, title: str, records: Records) -> str:
    recipe, figures, machine = records.recipe, records.scores["figures"], records.machine
    tiles = [("FG-ARI", number(figures["fg_ari"])), ("mIoU, one-to-one", number(figures["miou"]))]
    tiles.append(("IoU, original's protocol", number(figures["iou"]["mean"])))
    if records.scores["codes"]:
        tiles.append(("PSNR, dB", number(figures["psnr"], 1)))
        tiles.append(("locality, bare output", number(figures["locality"])))
    command = train_command(recipe) + records.starting
    threads = f"{machine['threads']} thread{'' if machine['threads'] == 1 else 's'}"
    return (
        f"<h1>{escape(title)}</h1><p class='soft'>Run <code>{escape(name)}</code>: {records.steps:,} steps in "
        f"{records.minutes:.1f} minutes on {threads} of {escape(machine['processor'])}; "
        f"scored on {records.scores['test_images']:,} test scenes.</p><p><code>{escape(command)}</code></p>"
        f"<div class='tiles'>{''.join(f'<div><b>{value}</b><span>{label}</span></div>' for label, value in tiles)}</div>"
    )


def _segments(scores: dict[str, Any], pictures: dict[str, str]) -> str:
    figures = scores["figures"]
    iou = f"{number(figures['iou']['mean'])} ± {number(figures['iou']['std'])}"
    entries = [
        ("IoU, the original's protocol", iou, "–"),
        ("mIoU, matched one-to-one", number(figures["miou"]), number(figures["miou_objects"])),
        ("mBO, best overlap", number(figures["mbo"]), number(figures["mbo_objects"])),
        ("ARI, pairs of pixels", number(figures["ari"]), f"{number(figures['fg_ari'])} (FG-ARI)"),
    ]
    order = "image, true segments, found segments" + (", rendered from its codes" if scores["codes"] else "")
    titles = {"best": "The best scenes", "median": "Scenes in the middle", "worst": "The worst scenes"}
    return (
        "<h2>Segments</h2><p>Found without a label. 1 is perfect.</p>"
        + table(("", "with background", "objects only"), rows(entries))
        + f"<p>By mIoU over all test scenes. From left to right: {order}. A found segment has the colour of the true one that "
        "it shares most pixels with.</p>"
        + "".join(f"<h3>{titles[kind]}</h3><div class='scenes'>{found}</div>" for kind, found in pictures.items())
    )


def _codes(records: Records, codes: dict[str, Any]) -> str:
    figures, baseline = records.scores["figures"], records.whole_image_vae
    informative = [row for row in codes["numbers"] if row["locality"] is not None]
    heads = ["", "this model", *(["whole-image VAE"] if baseline else [])]
    entries = [
        (label, number(figures[name], digits), *([number(baseline["figures"].get(name), digits)] if baseline else []))
        for name, label, digits in (
            ("psnr", "PSNR of the rendered images, dB", 2),
            ("ssim", "SSIM", 3),
            ("mse", "mean squared error", 4),
            ("locality", "locality, bare output (1 is perfect)", 3),
            ("locality_composited", "locality, composited", 3),
            ("others_moved", "other objects' codes move by (0 is perfect)", 3),
        )
    ]
    compared = (
        f"<p class='soft'>The whole-image VAE has a code of {baseline['code_length']} numbers, as long as all of this model's "
        f"together, was trained for {baseline['steps']:,} steps, and is measured on {baseline['test_images']} scenes.</p>"
        if baseline
        else ""
    )
    bars = [
        f"<tr><th>{row['part']} {row['dimension']}</th><td class='number'>{number(row['nats'], 2)}</td><td><span class='bar'>"
        f"<i class='composited' style='width:{100 * (row['locality_composited'] or 0):.1f}%'></i>"
        f"<i class='raw' style='width:{100 * row['locality']:.1f}%'></i></span></td>"
        f"<td class='number'>{number(row['locality'])}</td><td class='number'>{number(row['locality_composited'])}</td>"
        f"<td class='number'>{number(row['others_moved'])}</td></tr>"
        for row in informative
    ]
    key = "<span class='key' style='background:var(--{})'></span>"
    return (
        "<h2>Objects as codes</h2><p>Each object is a few numbers; rendered, they should give the image back.</p>"
        + table(heads, rows(entries))
        + compared
        + "<h3>Does a number change its own object alone?</h3><p>Locality: of all that a change of one number by 1 changes in "
        f"the image, the share inside the object's place before and after. Over {codes['locality_images']} scenes and all "
        "their objects. Only numbers that tell at least 0.1 nats count.</p>"
        + (
            f"<p class='soft'>{key.format('strong')}bare output of the fusion networks &nbsp; {key.format('weak')}composited "
            "with the image</p>" + table(("number", "nats", "locality", "bare", "composited", "others move by"), bars, "bars")
            if informative
            else "<p>No number does: the codes are hardly used.</p>"
        )
    )


def _factors(factors: dict[str, Any]) -> str:
    """How well each number alone predicts each true factor; shaded by R²."""
    if not factors:
        return ""
    count = len(next(iter(factors.values()))["single"])
    head = "".join(f"<th>{label}</th>" for label in ("", "all", *range(count), "MIG"))
    body = "".join(
        f"<tr><th>{escape(name.replace('_', ' '))}</th>{''.join(map(_shaded, (values['r2'], *values['single'])))}"
        f"<td>{number(values['mig'], 2)}</td></tr>"
        for name, values in factors.items()
    )
    return (
        "<h3>Does a number stand for one true factor?</h3><p>R² of each true factor of the matched objects, predicted on "
        "held-out objects from all numbers and from each alone (shape first, then texture). One coloured cell in a row is what "
        "one hopes for; MIG is the gap between the best and the second best.</p>"
        f'<div class="wide"><table class="heat"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _shaded(value: float | None) -> str:
    strength = 65 * min(1.0, max(0.0, value or 0.0))
    shown = "" if value is None or value < 0.05 else f"{value:.2f}"
    return f'<td style="background:color-mix(in srgb, var(--strong) {strength:.0f}%, var(--raised))">{shown}</td>'


def _moves(moves: dict[int, str]) -> str:
    return (
        "<h3>What the numbers do</h3><p>One number at a time goes two standard deviations up and down; all else stays. The "
        "numbers with the most nats are shown.</p>"
        + "".join(f"<p class='soft'>Scene {index}</p>{found}" for index, found in moves.items())
    )


def _curves(records: Records) -> str:
    stages = [
        f"<h3>{stage}</h3>{curves(log)}<p class='soft'>{records.step(stage):,} steps, {log[-1]['seconds'] / 60:.1f} minutes</p>"
        for stage, log in records.logs.items()
        if log
    ]
    said = "The bold figure is the last one; what is logged in every step is averaged over neighbouring steps."
    return f"<h2>Training</h2><p>{said}</p>{''.join(stages)}"


def _settings(recipe: Recipe) -> str:
    """All numbers of the recipe, in the groups that the command line has."""
    settings = dataclasses.asdict(recipe)
    groups = {"": {key: value for key, value in settings.items() if not isinstance(value, dict)}}
    groups |= {key: value for key, value in settings.items() if isinstance(value, dict)}
    tables = [
        f"<table><caption>{escape(group or 'all')}</caption><tbody>"
        + "".join(
            f"<tr><th>{escape(key)}</th><td>{escape(value if isinstance(value, str) else json.dumps(value))}</td></tr>"
            for key, value in _flat(values)
        )
        + "</tbody></table>"
        for group, values in groups.items()
    ]
    return (
        "<h2>Settings</h2><details open><summary>Every number of the recipe</summary>"
        f"<div class='settings'>{''.join(tables)}</div></details>"
    )


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return found
