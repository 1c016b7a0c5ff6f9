"""What `make gpu` and `make gpu-training` found, as Markdown."""

from typing import Any

PEAKS = {"H100 PCIe": 756e12, "H100": 989e12, "H200": 989e12, "A100": 312e12}
"""FLOP/s of dense bf16 by NVIDIA's data sheets; the first name that fits."""

Line = dict[str, Any]


def peak_of(gpu: str | None, floor: Line) -> tuple[float, str]:
    """Return the FLOP/s that count as the peak of a card, and where they come from."""
    for name, peak in PEAKS.items():
        if gpu and name.lower() in gpu.lower():
            return peak, "data sheet"
    return floor["peak"], "measured product of square matrices"


def markdown(report: Line) -> str:
    """Lay a report out."""
    lines = [f"# {report['title']}, {report['date']}", "", f"`{report['command']}`", ""]
    lines += [", ".join(f"{key} {value}" for key, value in report["machine"].items()), ""]
    lines += ["| step | outcome | s |", "|---|---|---|"]
    for step in report["steps"]:
        lines.append(f"| {step['name']} | {step['outcome']} | {step['seconds']:.0f} |")
    lines.append("")
    for name in report["shapes"]:
        lines += _shape(name, report)
    missing = [line for line in report["figures"] if line["kind"] in ("failed", "absent")]
    for line in missing:
        lines.append(
            f"- {line['kind']}: {line['shape']} {line['name']}: {line['reason']}"
        )
    for step in report["steps"]:
        if step["name"] == "training":
            lines += ["", "## A whole training", "", "```"]
            lines += [*step["log"].splitlines()[-40:], "```"]
        elif step["outcome"] != "ok":
            lines += ["", f"## End of the log of {step['name']}", "", "```"]
            lines += [*step["log"].splitlines()[-40:], "```"]
    return "\n".join(lines).rstrip() + "\n"


def _shape(name: str, report: Line) -> list[str]:
    figures = [line for line in report["figures"] if line["shape"] == name]
    floors = [line for line in figures if line["kind"] == "floor"]
    found = [line for line in figures if line["kind"] == "way"]
    lines = [f"## {name}", ""]
    if report["part"] == "training":
        return [*lines, *_training(figures), ""]
    if floors:
        lines += [_floor(floors[0], report["machine"].get("gpu")), ""]
    lines += [
        "| way | tokens/s | of the peak | ads/s | start-up, s |",
        "|---|---|---|---|---|",
    ]
    for line in found:
        share = "" if not floors else f"{_share(line, floors[0], report):.1%}"
        ads = f"{line['ads_per_s']:,.0f}" if "ads_per_s" in line else ""
        lines.append(
            f"| {line['name']} | {line['tokens_per_s']:,.0f} | {share} | {ads} |"
            f" {line['start_up_s']:.1f} |"
        )
    lines.append("")
    for line in found:
        if "idle_share" in line:
            lines.append(_idle(line))
    for line in figures:
        if line["kind"] == "stages":
            shares = [
                f"{stage} {share:.1%}"
                for stage, share in line.items()
                if isinstance(share, float)
            ]
            lines.append(f"Stages, one after the other: {', '.join(shares)}.")
    return [*lines, ""]


def _training(figures: list[Line]) -> list[str]:
    lines = [
        "Steps alone, in bf16: real tokens a second; host: the share of the time until the host has"
        " started all of them.",
        "",
        "| way | ads of a step | tokens/s | ms of a step | host | start-up, s |",
        "|---|---|---|---|---|---|",
    ]
    for line in figures:
        if line["kind"] == "training":
            lines.append(
                f"| {line['name']} | {line['ads']} | {line['tokens_per_s']:,.0f} |"
                f" {line['ms_of_a_step']:.1f} | {line['host_share']:.0%} |"
                f" {line['start_up_s']:.1f} |"
            )
    return lines


def _floor(floor: Line, gpu: str | None) -> str:
    peak, source = peak_of(gpu, floor)
    return (
        f"Peak {peak / 1e12:,.1f} TFLOP/s ({source}); measured"
        f" {floor['peak'] / 1e12:,.1f} in square products, {floor['model'] / 1e12:,.1f} in those of"
        f" the model, which makes {floor['model'] / floor['flops_per_token']:,.0f} tokens/s."
        f" {floor['ads']:,} ads of {floor['tokens_per_ad']:.1f} tokens."
    )


def _share(line: Line, floor: Line, report: Line) -> float:
    peak, _ = peak_of(report["machine"].get("gpu"), floor)
    return line["tokens_per_s"] * floor["flops_per_token"] / peak


def _idle(line: Line) -> str:
    if "gpu_idle_share" in line:  # by the driver, not by what is measured
        idle = (
            f"the GPU idles {line['gpu_idle_share']:.1%} (nvidia-smi), {line['power_w']:.0f} W,"
            f" {line['clock_mhz']:.0f} MHz, {line['memory_mb'] / 1024:.1f} GiB"
        )
    else:
        idle = f"the actor waits {line['idle_share']:.1%} of the time"
    return f"{line['name']}: {idle}; {line['folded_share']:.1%} of the tokens folded."
