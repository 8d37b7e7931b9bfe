"""What got worse from one run to another."""

# An estimate may rise by so much before it is told.
TOLERANCE = 1.05


def worse(old, new):
    """A line for each pipeline that spills more, is resident with fewer warps, or is estimated to be longer or slower;
    of those that both runs have."""
    lines = []
    for gpu in [gpu for gpu in new["gpus"] if gpu in old["gpus"]]:
        before, now = old["gpus"][gpu]["pipelines"], new["gpus"][gpu]["pipelines"]
        for name in [name for name in now if name in before]:
            lines += [f"{gpu} {name}: {what}" for what in worse_in(before[name], now[name])]
    return lines


def worse_in(before, now):
    if "error" in now or "error" in before:
        return [now["error"]] if "error" not in before else []
    told = []
    for name in ("spills", "scratch"):
        if now[name] > before[name]:
            told.append(f"{name} {before[name]} -> {now[name]}")
    if now["warps"] / now["of"] < before["warps"] / before["of"]:
        told.append(f"warps {before['warps']} -> {now['warps']} of {now['of']}")
    for name in ("instructions", "cycles"):
        if now[name] > TOLERANCE * before[name]:
            told.append(f"{name} {before[name]} -> {now[name]} (+{100 * (now[name] / before[name] - 1):.0f} %)")
    return told


def report(old, new, only):
    """Prints what got worse, and what one of the runs lacks of shaders that begin so; whether anything got worse."""
    for gpu in new["gpus"]:
        before, now = (run["gpus"].get(gpu, {}).get("pipelines", {}) for run in (old, new))
        missing = sum(name.startswith(only) for name in before.keys() - now.keys())
        added = len(now.keys() - before.keys())
        print(f"{gpu}: {len(now)} pipelines, {added} of them new, {missing} gone")
    lines = worse(old, new)
    print("\n".join(lines) if lines else "nothing got worse by the compilers' estimates")
    return bool(lines)
