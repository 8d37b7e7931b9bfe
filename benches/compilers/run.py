#!/usr/bin/env python3
"""Compile every variant of every kernel with Mesa's compilers for GPUs that are not here; write what they say of it.

    benches/compilers/run.py --out benches/results/DATE-compilers     DATE-compilers.json, and its tables as .md
    benches/compilers/run.py --compare OLD.json                       print what got worse; exits with 1 if anything did
    benches/compilers/run.py --gpus ada bmg --only encode ...         fewer GPUs, fewer shaders

Needs what tests/portability/gpu-compilers needs, and cargo. README.md, beside this file, says what the figures are.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import compare
import tables
from gpus import GPUS, resident_warps
from hot_loop import hot_loop
from variants import labels, tile

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SHIM = ROOT / "tests/portability/gpu-compilers"


# What NVK, RADV and ANV call a figure; what one has several of is added up.
FIGURES = {
    "registers": ["Number of GPRs", "VGPRs", "Max live registers"],
    "spills": ["Spills to memory", "Spilled VGPRs", "Spills"],
    "scratch": ["SLM size", "Scratch size", "Scratch Memory Size"],
    "instructions": ["Instruction count", "Instructions"],
    "cycles": ["Static cycle count", "Inverse Throughput", "Cycles"],
}

COLUMNS = ["threads", "lanes", "workgroup_bytes", *FIGURES, "warps", "of", "loop"]

# The line before an entry point is compiled.
BEGUN = {"shader", "entry"}


def build():
    """The program beside this file, monosem, and the tests, whose one writes the shaders."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    release = ["cargo", "build", "-q", "--release", "--locked"]
    subprocess.run([*release, "--manifest-path", HERE / "Cargo.toml", "--target-dir", target / "compilers"], check=True)
    subprocess.run(release, cwd=ROOT, check=True)
    return target / "compilers/release/compilers", target / "release/monosem"


def write_shaders(directory):
    """Every variant's WGSL into a directory; their names with the entries and definitions they are made of."""
    test = ["cargo", "test", "-q", "--release", "--locked", "--test", "it"]
    environment = {**os.environ, "MONOSEM_WGSL_DIR": str(directory)}
    run = [*test, "--", "--ignored", "every_variant_is_written"]
    subprocess.run(run, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return different(directory, json.loads((directory / "variants.json").read_text()))


def different(directory, variants):
    """One of those that differ in the numbers of planes alone, and none for adapters on the CPU."""
    planes = re.findall(r"^#define (\w+) ", (ROOT / "shaders/shared/planes.wgsl").read_text(), re.M)
    number = re.compile(rf"^const ({'|'.join(planes)}): u32 = \d+u;$", re.M)
    texts = {}
    for name, variant in sorted(variants.items(), key=lambda one: int(one[0].rsplit("-", 1)[1])):
        defines = variant["defines"]
        # Sums of rows take three columns there, and terms walk their rows.
        is_for_cpu = name.startswith("encode_subgroup") or defines.get("COLUMNS") == 3 or defines.get("STAGED") == 0
        if not is_for_cpu:
            text = number.sub("", (directory / f"{name}.wgsl").read_text())
            texts.setdefault(text, (name, variant))
    return dict(sorted(texts.values(), key=lambda one: one[0].rsplit("-", 1)[0]))


def lines_of(command):
    """The lines of JSON that a command prints on a pretended GPU, and whether it came to its end."""
    done = subprocess.run(list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines = [json.loads(line) for line in done.stdout.decode(errors="replace").splitlines() if line.startswith("{")]
    if not lines:
        sys.exit(f"{' '.join(map(str, command[:3]))}: {done.stderr.decode(errors='replace').strip()[-500:]}")
    return lines, done.returncode == 0


def compile_all(gpu, program, files, more=()):
    """What a GPU's compiler says of each entry point of the files; where it crashes, the rest of the file is left."""
    told, left = [], list(files)
    while left:
        (_, *lines), finished = lines_of([SHIM, gpu, program, "--machine-code", *more, *left])
        told += [line for line in lines if line.keys() != BEGUN]
        if finished:
            break
        last = lines[-1]["shader"]
        told.append({**lines[-1], "error": "the compiler crashed"})
        left = left[[file.stem for file in left].index(last) + 1:]
    return told


def takes(device, defines):
    """Whether the engine would offer a block of screen_cooperative on a device (src/kernels/screen.rs)."""
    tile, (least, most) = defines["TILE"], device["subgroups"]
    return [tile] * 3 in device["matrix_shapes"] and not defines["SCALAR"] and least <= defines["LANES"] <= most


def ask(gpu, program, directory, variants):
    """A GPU, and what its compiler says of every variant that could run there."""
    device, _ = lines_of([SHIM, gpu, program])
    files, blocks = [], {}
    for name, variant in variants.items():
        file = directory / f"{name}.wgsl"
        if not name.startswith("screen_cooperative"):
            files.append(file)
        elif takes(device[0], variant["defines"]):
            blocks.setdefault(variant["defines"]["LANES"], []).append(file)
    told = compile_all(gpu, program, files)
    least, most = device[0]["subgroups"]
    for lanes, files in blocks.items():
        told += compile_all(gpu, program, files, () if least == most else ("--subgroup", lanes))
    return device[0], told


def default_encode(gpu, monosem):
    """The variant that is taken unless measured; wgpu passes over NVK where it does not conform yet, as on Hopper."""
    (device, *_), _ = lines_of([SHIM, gpu, monosem, "devices", "--json"])
    return device.get("encode", tile({}))


def summaries(gpu, told, label):
    pipelines = {}
    for one in told:
        shader, *variant = label[one["shader"]].split(" ")
        name = " ".join([f"{shader}.{one['entry']}", *variant])
        pipelines[name] = one if "error" in one else summary(gpu, one)
    return pipelines


def summary(gpu, one):
    told = one["statistics"]
    figures = {figure: sum(told.get(name, 0) for name in names) for figure, names in FIGURES.items()}
    return {
        "threads": one["workgroup"],
        "lanes": one["subgroup"],
        "workgroup_bytes": one["workgroup_bytes"],
        **figures,
        "warps": resident_warps(gpu, one),
        "of": GPUS[gpu].warps,
        "loop": hot_loop(one["machine_code"]) if one.get("machine_code") else None,
    }


def write(run, out, command):
    """One pipeline a line, as the columns' values; the loop of products alone."""
    gpus = {}
    for gpu, told in run["gpus"].items():
        lines = [f"{json.dumps(name)}: {json.dumps(values(name, one))}" for name, one in told["pipelines"].items()]
        pipelines = "{\n" + ",\n".join(lines) + "\n}"
        gpus[gpu] = f'{json.dumps({**told, "pipelines": None})[:-5]}{pipelines}}}'
    all_gpus = ",\n".join(f"{json.dumps(gpu)}: {text}" for gpu, text in gpus.items())
    head = json.dumps({**run, "gpus": None})[:-5]
    Path(f"{out}.json").write_text(f"{head}{{\n{all_gpus}\n}}}}\n")
    Path(f"{out}.md").write_text(tables.markdown(run, command))


def values(name, one):
    if "error" in one:
        return one["error"]
    return [one[column] if column != "loop" or name.startswith(tables.PRODUCTS) else None for column in COLUMNS]


def read(path):
    run = json.loads(Path(path).read_text())
    for told in run["gpus"].values():
        for name, one in told["pipelines"].items():
            is_error = isinstance(one, str)
            told["pipelines"][name] = {"error": one} if is_error else dict(zip(run["columns"], one, strict=True))
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", nargs="+", choices=GPUS, help="all, or those of OLD.json, unless given")
    parser.add_argument("--only", nargs="+", default=[""], metavar="SHADER", help="shaders whose names begin so")
    parser.add_argument("--out", help="write OUT.json and OUT.md")
    parser.add_argument("--compare", metavar="OLD.json", help="print what is worse than in an older run")
    flags = parser.parse_args()
    if os.geteuid() != 0 or not (shutil.which("debootstrap") or shutil.which("apt-get")):
        print("skipped: the compilers of GPUs, which need root and debootstrap", file=sys.stderr)
        return
    old = read(flags.compare) if flags.compare else None
    flags.gpus = flags.gpus or list(old["gpus"] if old else GPUS)
    program, monosem = build()
    # Beside the repository's own files, which is what a pretended GPU's programs see.
    with tempfile.TemporaryDirectory(dir=program.parent) as directory:
        directory = Path(directory)
        variants = write_shaders(directory)
        label = labels(variants)
        variants = {name: one for name, one in variants.items() if name.startswith(tuple(flags.only))}
        gpus = {}
        for gpu in flags.gpus:
            device, told = ask(gpu, program, directory, variants)
            pipelines = summaries(gpu, told, label)
            gpus[gpu] = {"device": device, "encode": default_encode(gpu, monosem), "pipelines": pipelines}
            print(f"{gpu}: {len(pipelines)} pipelines", file=sys.stderr)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    driver = next(iter(gpus.values()))["device"]["driver_version"]
    run = {"date": str(date.today()), "commit": commit.strip(), "driver": driver, "columns": COLUMNS, "gpus": gpus}
    if flags.out:
        write(run, flags.out, " ".join(["benches/compilers/run.py", *sys.argv[1:]]))
    if old:
        sys.exit(compare.report(old, run, tuple(flags.only)))


if __name__ == "__main__":
    main()
