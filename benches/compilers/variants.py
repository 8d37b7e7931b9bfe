"""Names of the variants that tests/it/engine/translation.rs writes: `shader entry definitions`."""

import re
from pathlib import Path

TILED = Path(__file__).parent.parent.parent / "shaders/encode/tiled.wgsl"


def labels(variants):
    """Names, short and different, for {file's stem: {"entry": ..., "defines": {...}}}."""
    by_shader = {}
    for stem, variant in variants.items():
        by_shader.setdefault(stem.rsplit("-", 1)[0], {})[stem] = variant
    return {stem: label for shader, those in by_shader.items() for stem, label in labels_of(shader, those).items()}


def labels_of(shader, variants):
    if shader == "encode_tiled":
        named = {stem: [tile(variant["defines"])] for stem, variant in variants.items()}
        own = {"DOUBLE", "ROLLED"}
    elif shader == "screen_cooperative":
        return {stem: f"{shader} {block(variant['defines'])}" for stem, variant in variants.items()}
    else:
        named = {stem: [variant["entry"]] if variant["entry"] else [] for stem, variant in variants.items()}
        own = set()
    defines = {stem: variant["defines"] for stem, variant in variants.items()}
    chosen = choosing(named, defines, own)
    values = {stem: [f"{name}={all_of[name]}" for name in chosen if name in all_of] for stem, all_of in defines.items()}
    return {stem: " ".join([shader, *named[stem], *values[stem]]) for stem in variants}


def choosing(named, defines, own):
    """The definitions that tell variants apart, planes' numbers only where nothing else does."""
    names = dict.fromkeys(name for one in defines.values() for name in one if name not in own)
    values = {name: {one.get(name) for one in defines.values()} for name in names}
    chosen = [name for name in names if len(values[name]) > 1]

    def different(names):
        return len({(*named[stem], *(one.get(name) for name in names)) for stem, one in defines.items()})

    most = different(chosen)
    for name in sorted(chosen, key=lambda name: -max(value or 0 for value in values[name])):
        without = [other for other in chosen if other != name]
        if different(without) == most:
            chosen = without
    return chosen


def tile(defines):
    """As EncodeVariant's (src/kernels/encode.rs)."""
    sizes = dict(re.findall(r"^(?:const|#define) (ROWS|FEATURES|DEPTH)(?:: u32 =)? (\d+)", TILED.read_text(), re.M))
    suffix = "-double" if defines.get("DOUBLE") else "-rolled" if defines.get("ROLLED") else ""
    return f"tiled-{sizes['ROWS']}x{sizes['FEATURES']}x{sizes['DEPTH']}{suffix}"


def block(defines):
    """As ScreenVariant's (src/kernels/screen.rs), with the lanes of a subgroup."""
    value = defines.get
    subgroups, tiles = (f"{value(f'{name}_M')}x{value(f'{name}_N')}" for name in ("SUBGROUPS", "TILES"))
    return f"cooperative-{value('TILE')}-{subgroups}-{tiles}-{value('DEPTH')} of {value('LANES')} lanes"
