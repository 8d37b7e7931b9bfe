"""A run as Markdown: what misses the bars, and a table per GPU."""

from gpus import GPUS
from hot_loop import multiply_adds

# Kernels whose time is multiply-adds; the others wait for memory.
PRODUCTS = ("encode_tiled.", "product.", "screen_cooperative.", "screen_portable.", "ceilings.multiply_add")
# Shown variant by variant; of the others the one with the longest estimate is.
SHAPES = ("encode_tiled.", "screen_cooperative.", "select.")
FMA_SHARE = 0.75
RESIDENT = 0.5

ABOUT = """\
What Mesa's compilers say of the kernels for GPUs that are not here: **estimates, measured on no GPU**. NVK is not
NVIDIA's own compiler. Cycles are each compiler's own estimate, comparable within one alone; of a kernel's variants the
one with most is shown. benches/compilers/README.md says more."""

COLUMNS = ("threads", "lanes", "workgroup_bytes", "registers", "spills", "scratch", "instructions", "cycles")


def markdown(run, command):
    text = [f"# Compilers' estimates of every kernel, {run['date']}\n"]
    text.append(f"{ABOUT}\n\nCommit {run['commit']}, drivers of {run['driver']}:\n\n    {command}\n")
    text.append("## What misses the bars\n")
    for gpu, told in run["gpus"].items():
        text.append(f"### {GPUS[gpu].name}\n")
        text.append("\n".join(f"- {line}" for line in misses(told)) or "Nothing.")
        text.append("")
    for gpu, told in run["gpus"].items():
        text.append(table(gpu, told))
    return "\n".join(text)


def kernel(name):
    return name.split(" ")[0]


def by_kernel(pipelines):
    kernels = {}
    for name, one in pipelines.items():
        kernels.setdefault(kernel(name), {})[name] = one
    return kernels


def fma_share(one):
    loop = one.get("loop")
    return multiply_adds(loop) / (sum(loop.values()) + loop.get("fma of two", 0)) if loop else 0.0


def misses(told):
    pipelines = {name: one for name, one in told["pipelines"].items() if "error" not in one}
    default = f" {told['encode']}"
    encodes = {name: one for name, one in pipelines.items() if name.startswith("encode_tiled.")}
    usual = {name: one for name, one in encodes.items() if f"{name} ".find(f"{default} ") > 0}
    lines = [f"{name}: the compiler fails: {one['error']}" for name, one in told["pipelines"].items() if "error" in one]
    others = {name: one for name, one in pipelines.items() if name not in encodes}
    for kind, those in by_kernel({**usual, **others}).items():
        spilling = [one["spills"] for one in those.values() if one["spills"] or one["scratch"]]
        if spilling:
            lines.append(f"{kind} spills: up to {max(spilling)} in {len(spilling)} of {len(those)} variants")
    shares = {name: fma_share(one) for name, one in usual.items()}
    low = [share for share in shares.values() if share < FMA_SHARE]
    if low:
        lines.append(f"multiply-adds are {100 * min(low):.1f} % of the hot loop of encode's default,{default}")
    for kind, those in by_kernel(others).items():
        few = [one for one in those.values() if one["warps"] < RESIDENT * one["of"]]
        if few and not kind.startswith(PRODUCTS):
            least = min(few, key=lambda one: one["warps"])
            lines.append(
                f"{kind} holds {least['warps']} of {least['of']} warps: {least['registers']} registers, "
                f"{least['workgroup_bytes']} B for {least['threads']} threads ({len(few)} of {len(those)} variants)"
            )
    return lines


def table(gpu, told):
    device = told["device"]
    text = [f"## {GPUS[gpu].name}: {device['device']}, {device['driver']}\n"]
    text.append("| kernel | variants | " + " | ".join(COLUMNS).replace("_", " ") + " | warps | hottest loop |")
    text.append("|---|--:|" + "--:|" * (len(COLUMNS) + 1) + "---|")
    for kind, those in by_kernel(told["pipelines"]).items():
        if kind.startswith(SHAPES):
            rows = [(name, "", one) for name, one in those.items()]
        else:
            slowest = max(those, key=lambda name: those[name].get("cycles", 0))
            rows = [(kind, len(those), those[slowest])]
        text += [row(*one) for one in rows]
    return "\n".join(text) + "\n"


def row(name, variants, one):
    if "error" in one:
        return f"| {name} | {variants} | {one['error']} |" + " |" * (len(COLUMNS) + 1)
    loop = one["loop"]
    made_of = " ".join(f"{kind} {count}" for kind, count in loop.items()) if loop else ""
    length = f"{sum(loop.values())}: " if loop else ""
    cells = " | ".join(str(one[column]) for column in COLUMNS)
    return f"| {name} | {variants} | {cells} | {one['warps']}/{one['of']} | {length}{made_of} |"
