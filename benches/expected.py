#!/usr/bin/env python3
"""What each kernel of a TopK training step should take on GPUs that never timed it, and what a measurement says.

    python3 benches/expected.py                  the tables of docs/performance.md
    python3 benches/expected.py --write          puts them there, between the comments that name this script
    python3 benches/expected.py --json           the same as data, for every GPU that the model knows
    python3 benches/expected.py --compare OUT    measured against expected: OUT/bench-*.json, from benches/gpu.sh

A GPU that the model knows (benches/expected_gpus.py) is compared with what its datasheet says, any other with the peak
rates that `bench` measured on it. Ends with 1 where model and measurement do not speak of the same: a kernel that only
one of them has, other counts, other dispatches. Needs nothing but Python.
"""

from __future__ import annotations

import json
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

from expected_gpus import GPUS, SHOWN, Gpu
from expected_model import REASONS, Sizes, kernels, methods

DOCUMENT = Path(__file__).parent.parent / "docs/performance.md"
BEGIN, END = "<!-- python3 benches/expected.py --write -->\n", "<!-- until here -->\n"
FEATURES = (131_072, 1_048_576)

IN_F32 = "encode select rescore sort".split()
SCREENED = "to_f16 screen select rescore sort".split()
PROOF = "check_bounds gate rerun encode".split()
LARGE = "decode slopes squares update".split()
SMALL = "bias_gradient variance".split()
REST = "center count residual runs summary hot clip model activity".split()


def short(value):
    digits = 0 if value >= 99.5 else 1 if value >= 9.95 else 2
    return f"{value:,.{digits}f}"


def peaks():
    """What the GPUs reach at best: lines of a table."""
    lines = ["| | f32, TFLOP/s | f16 by matrix units | GB/s | last cache, MB | source |", "|---|--:|--:|--:|--:|---|"]
    for gpu in SHOWN:
        lines.append(f"| {gpu.name} | {gpu.f32} | {gpu.matrix} | {gpu.bandwidth} | {gpu.cache} | {gpu.source} |")
    return lines


def counted():
    """What the kernels have to do: lines of a table."""
    steps = [[kernels(sizes, SHOWN[0]) for sizes in methods(SHOWN[0], n)] for n in FEATURES]
    lines = ["| | " + " | ".join(f"GFLOP, n {n:,} | GB" for n in FEATURES) + " |", "|---|" + "--:|" * 2 * len(FEATURES)]
    for way, title, names in [(0, "f32: ", IN_F32[:3]), (1, "f16: ", SCREENED[:4]), (0, "", LARGE)]:
        for name in names:
            of = [step[way].get(name) for step in steps]
            cells = [f"{short(1e-9 * each.flops)} | {short(1e-9 * each.bytes)}" if each else " | " for each in of]
            lines.append(f"| {title}`{name}` | " + " | ".join(cells) + " |")
    return lines


def expected(n):
    """Expected milliseconds and, in brackets, floors: lines of a table."""
    steps = {gpu: [sizes and kernels(sizes, gpu) for sizes in methods(gpu, n)] for gpu in SHOWN}
    lines = [f"| n {n:,} | " + " | ".join(gpu.name for gpu in SHOWN) + " |", "|---|" + "--:|" * len(SHOWN)]

    def cell(gpu, way, names):
        step = steps[gpu][way]
        of = [step[name] for name in names if name in step] if step else []
        # Weights and moments, and a GB for all else.
        if not of or 24 * 768 * n + 1e9 > 1e9 * gpu.memory:
            return ""
        total = lambda each: short(1e3 * sum(map(each, of)))
        return f"{total(lambda kernel: kernel.seconds(gpu))} ({total(lambda kernel: kernel.floor(gpu))})"

    def line(title, way, names):
        cells = [cell(gpu, way, names) for gpu in SHOWN]
        if any(cells):
            lines.append(f"| {title} | " + " | ".join(cells) + " |")

    for name in IN_F32:
        line(f"f32: `{name}`", 0, [name])
    for name in SCREENED:
        line(f"f16: `{name}`", 1, [name])
    line("f16: proof, empty dispatches", 1, PROOF)
    for name in LARGE + SMALL:
        line(f"`{name}`", 0, [name])
    line("the rest", 0, REST)
    for way, title, names in [(0, "in f32", IN_F32), (1, "screened in f16", {*SCREENED, *PROOF})]:
        line(f"**a step {title}**", way, [*names, *LARGE, *SMALL, *REST])
    in_f32, screened = (sum(kernel.dispatches for kernel in step.values()) for step in steps[SHOWN[0]])
    return [*lines, "", f"A step has {in_f32} dispatches in f32 and {screened} screened in f16.", ""]


def document():
    reasons = [f"- {name if name == 'the rest' else f'`{name}`'}: {reason}" for name, reason in REASONS.items()]
    wrap = lambda text: textwrap.wrap(text, 120, subsequent_indent="  ", break_on_hyphens=False)
    reasons = sum(map(wrap, reasons), [])
    lines = [*peaks(), "", *counted(), "", *sum(map(expected, FEATURES), []), *reasons]
    return "\n".join(lines) + "\n"


def write():
    before, rest = DOCUMENT.read_text().split(BEGIN)
    DOCUMENT.write_text(before + BEGIN + document() + END + rest.split(END)[1])


def data():
    steps = []
    for gpu, n in ((gpu, n) for gpu in GPUS for n in FEATURES):
        for sizes in filter(None, methods(gpu, n)):
            of = {}
            for name, kernel in kernels(sizes, gpu).items():
                counts = {what: getattr(kernel, what) for what in ("flops", "bytes", "dispatches")}
                of[name] = {"expected_seconds": kernel.seconds(gpu), "floor_seconds": kernel.floor(gpu), **counts}
            steps.append({"gpu": gpu.name, "features": n, "selection": sizes.selection, "kernels": of})
    sources = {gpu.name: gpu.source for gpu in GPUS}
    return {"d": 768, "k": 32, "batch": 4096, "sources": sources, "reasons": REASONS, "steps": steps}


def sizes_of(bench):
    sizes = Sizes(bench["d_in"], bench["features"], bench["k"], bench["batch"], 2 if bench["moments"] == "bf16" else 4)
    words = bench["selection"].replace(",", "").split()
    if words[0] == "grouped":  # by 16
        return replace(sizes, selection="grouped", group=int(words[2]))
    if words[0] == "screened":  # in f16 by VARIANT, 54 groups of 8
        return replace(sizes, selection="screened", group=int(words[-1]), groups=int(words[-4]))
    return sizes


def gpu_of(bench):
    device = bench["device"].lower()
    known = [gpu for gpu in GPUS if any(part in device for part in gpu.found_in) and "laptop" not in device]
    f32, bandwidth = 1e-12 * bench["ceiling_flops_per_second"], 1e-9 * bench["ceiling_bytes_per_second"]
    # What says nothing of itself has a core for each half TFLOP/s, and a cache of 4 MB.
    own = Gpu(bench["device"], (), "", f32, None, bandwidth, 4, max(2, 2 * f32), encode=0.5, screen=None)
    # A CPU may take the kernels of GPUs.
    kind = "other" if bench.get("as_gpu") else bench["kind"]
    return replace((known + [own])[0], kind=kind, binding=bench["max_binding_bytes"])


# Each variant of these is a shader, and so a name of its own in `bench`.
VARIANTS = ("encode_", "screen_", "rescore_")


def measured(bench):
    """The kernels by the model's names, variants together."""
    found = {}
    for kernel in bench["kernels"]:
        name = kernel["kernel"]
        name = name.split("_")[0] if name.startswith(VARIANTS) else name
        total = found.setdefault(name, {**kernel, "seconds": 0, "dispatches": 0})
        total["seconds"] += kernel["seconds"]
        total["dispatches"] += kernel["dispatches"]
    return found


def differences(bench, model):
    """What a measurement and the model do not agree on."""
    found = measured(bench)
    for name, kernel in found.items():
        if name not in model:
            yield f"{name}: {1e3 * kernel['seconds']:.3f} ms measured, and not in the model"
            continue
        for what in ("flops", "bytes", "dispatches"):
            theirs, ours = kernel[what], getattr(model[name], what)
            if None not in (theirs, ours) and theirs != ours:
                yield f"{name}: {theirs} {what}, and {ours} in the model"
    yield from (f"{name}: in the model, and not measured" for name in model if name not in found)


def line(name, seconds, expected, floor):
    of_floor = f"{100 * floor / seconds:.0f} %" if floor else ""
    return f"{name:18}{1e3 * seconds:12.3f}{1e3 * expected:12.3f}{seconds / expected:22.2f}{of_floor:>10}"


def compare(bench):
    """Prints a measurement beside what was expected; gives what the two do not agree on."""
    sizes, gpu = sizes_of(bench), gpu_of(bench)
    model = kernels(sizes, gpu, "cooperative" in bench["selection"])
    what = "CPU" if bench["kind"] == "software" else "GPU"
    own = f"its own peak rates, as a {what} that the model does not know"
    against = f"the datasheet of {gpu.name}" if gpu.source else own
    print(f"\n{sizes.n} features, d {sizes.d}, k {sizes.k}, {sizes.rows} rows, moments {bench['moments']}")
    print(f"{bench['selection']}; {bench['device']} ({bench['driver']})\nagainst {against}")
    print(f"multiply-adds: {1e-12 * bench['ceiling_flops_per_second']:.2f} of {gpu.f32:.2f} TFLOP/s, "
          f"copying: {1e-9 * bench['ceiling_bytes_per_second']:.1f} of {gpu.bandwidth:.1f} GB/s\n")
    print(f"{'kernel':18}{'measured ms':>12}{'expected ms':>12}{'measured / expected':>22}{'of floor':>10}")
    both = {name: kernel for name, kernel in measured(bench).items() if name in model}
    unknown = {name for name in both if model[name].on_matrix_units and not (gpu.matrix and gpu.screen)}
    times = [(name, both[name]["seconds"], model[name].seconds(gpu)) for name in both if name not in unknown]
    for name, seconds, expected in sorted(times, key=lambda time: -abs(time[1] - time[2])):
        print(line(name, seconds, expected, both[name]["floor_seconds"]))
    print(line("all of these", *(sum(time[at] for time in times) for at in (1, 2)), None))
    for name in unknown:
        print(f"{name:18}{1e3 * both[name]['seconds']:12.3f}   the peak of these matrix units is not known")
    kernels_ms, step_ms = 1e3 * bench["kernels_seconds"], 1e3 * bench["step_seconds"]
    print(f"{'all kernels':18}{kernels_ms:12.3f}\n{'a step':18}{step_ms:12.3f}   on the host's clock")
    found = list(differences(bench, model))
    print("".join(f"DIFFERS {difference}\n" for difference in found), end="")
    return found


def main(arguments):
    if not arguments:
        print(document(), end="")
    elif arguments == ["--write"]:
        write()
    elif arguments == ["--json"]:
        print(json.dumps(data(), indent=1))
    elif len(arguments) == 2 and arguments[0] == "--compare":
        paths = sorted(Path(arguments[1]).glob("bench-*.json"), key=lambda path: path.stat().st_mtime)
        timed = [bench for bench in (json.loads(path.read_text()) for path in paths) if "kernels" in bench]
        if not timed:
            sys.exit(f"{arguments[1]}: no bench-*.json with times of kernels in it")
        print("Measured against expected, the largest differences first")
        sys.exit(1 if sum(map(compare, timed), []) else 0)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
