"""What the hottest loop of a kernel is made of, from the machine code that Mesa's drivers print: NVK's (NAK), RADV's
(ACO) and ANV's (brw)."""

import re
from collections import Counter

# The first that matches an opcode, or for brw the whole instruction, is its class.
CLASSES = {
    "nak": [
        ("fma", r"ffma"),
        ("matrix", r"[hi]mma"),
        ("load workgroup", r"ld\.shared|ldsm"),
        ("store workgroup", r"st\.shared"),
        ("load", r"ld\.global"),
        ("store", r"st\.global"),
        ("spill", r"(ld|st)\.local"),
        ("move", r"mov|r2ur|sel|prmt|ldc"),
        ("flow", r"bar|bsync|bssy|bclear|nop|bra|break|exit|warpsync|depbar|membar|ccctl"),
    ],
    "aco": [
        ("fma", r"v_(pk_)?(fma|fmac|mad|mac)_f"),
        ("fma of two", r"v_dual_fma\S* .*:: v_dual_fma"),
        ("matrix", r"v_s?wmm?ac?"),
        ("load workgroup", r"ds_(load|read)"),
        ("store workgroup", r"ds_(store|write)"),
        ("load", r"(buffer|global|flat)_load"),
        ("store", r"(buffer|global|flat)_store"),
        ("spill", r"scratch"),
        ("flow", r"s_(waitcnt|wait_|delay|clause|nop|barrier|branch|cbranch|sleep|endpgm)"),
        ("move", r"v_(mov|readlane|writelane|readfirst|swap|perm|cndmask)"),
    ],
    "brw": [
        ("fma", r"(mad|mac)\S* .*:h?f"),
        ("matrix", r"dpas"),
        ("spill", r"send.*//.*(\.ss\[|bti\(253\))"),
        ("flow", r"send.*(//.*(barrier|fence)|EOT)|sync|nop|while|break|if|else|endif|cont|halt|jmpi"),
        ("load workgroup", r"send.*//.*(load|read).*(\.slm|bti\(254\))|send.*//.*(\.slm|bti\(254\)).*(load|read)"),
        ("load", r"send.*//.*(load|read)"),
        ("store workgroup", r"send.*//.*(\.slm|bti\(254\))"),
        ("store", r"send"),
        ("move", r"mov|sel"),
    ],
}


def hot_loop(code):
    """The instructions of the innermost loop with most matrix operations, then multiply-adds, by class; none without a
    loop. Of branches the longest way counts, except AMD's, where those that lanes may take differently follow each
    other."""
    lines = code.splitlines()
    begin = "\n".join(lines[:8])
    if re.search(r"^block", begin, re.M):
        kind, loops = "nak", inner_loops(*nak_blocks(lines))
    elif re.search(r"^BB\d+:", begin, re.M):
        kind, loops = "aco", inner_loops(*aco_blocks(lines))
    else:
        kind, loops = "brw", brw_loops(lines)
    mixes = [Counter(classify(kind, instruction) for instruction in loop) for loop in loops]
    return dict(max(mixes, key=heat).most_common()) if mixes else None


def heat(mix):
    return mix["matrix"], multiply_adds(mix), mix.total()


def multiply_adds(mix):
    return mix.get("fma", 0) + 2 * mix.get("fma of two", 0)


def classify(kind, instruction):
    return next((name for name, pattern in CLASSES[kind] if re.match(pattern, instruction)), "other")


def nak_blocks(lines):
    blocks, successors, name, code = [], {}, None, []
    for line in lines:
        if found := re.match(r"block(?:\.u)? (\d+) \S+ \[.*\] -> \{", line):
            name, code = int(found[1]), []
        elif found := re.match(r"\} -> \[(.*)\]", line):
            blocks.append((name, code))
            successors[name] = [int(number) for number in found[1].split(",") if number.strip()]
        elif (text := line.split("//")[0].strip()) and name is not None:
            # Without predicate and destination.
            text = re.sub(r"^@!?\w+\s+", "", text)
            code.append(text.split("=", 1)[1].strip() if "=" in text.split("[")[0] else text)
    return blocks, successors


def aco_blocks(lines):
    blocks, code = [], None
    for line in lines:
        if found := re.match(r"(BB\d+):", line):
            code = []
            blocks.append((found[1], code))
        elif code is not None and line.startswith("\t") and (text := line.split(";")[0].strip()):
            code.append(text)
    successors = {}
    for at, (name, code) in enumerate(blocks):
        branches = [re.match(r"s_c?branch\S*\s+(BB\d+)", text) for text in code]
        successors[name] = [found[1] for found in branches if found]
        ends = any(re.match(r"s_branch|s_endpgm|s_setpc", text) for text in code)
        if not ends and at + 1 < len(blocks):
            successors[name].append(blocks[at + 1][0])
    return blocks, successors


def inner_loops(blocks, successors):
    """The natural loops without another inside."""
    order, code = [name for name, _ in blocks], dict(blocks)
    predecessors = {name: [] for name in order}
    for name in order:
        for successor in successors[name]:
            predecessors[successor].append(name)
    dominators = {name: set(order) for name in order}
    dominators[order[0]] = {order[0]}
    changed = True
    while changed:
        changed = False
        for name in order[1:]:
            sets = [dominators[predecessor] for predecessor in predecessors[name]]
            found = (set.intersection(*sets) if sets else set()) | {name}
            changed |= found != dominators[name]
            dominators[name] = found
    loops = {}
    for name in order:
        for head in set(successors[name]) & dominators[name]:
            body, open_blocks = {head, name}, [name]
            while open_blocks:
                block = open_blocks.pop()
                new = set(predecessors[block]) - body if block != head else set()
                body |= new
                open_blocks += new
            loops.setdefault(head, set()).update(body)
    inner = [(head, body) for head, body in loops.items() if not any(other < body for other in loops.values())]
    return [longest_way(head, body, code, successors) for head, body in inner]


def longest_way(head, body, code, successors):
    """The instructions of one pass through a loop."""
    ways = {}

    def way_from(name):
        if name not in ways:
            inside = [other for other in successors[name] if other in body and other != head]
            ways[name] = code[name] + max((way_from(other) for other in inside), key=len, default=[])
        return ways[name]

    return way_from(head)


def brw_loops(lines):
    """Code of Intel's is structured: a loop is from the label that its `while` names."""
    code, labels, loops = [], {}, []
    for line in lines:
        if found := re.match(r"(L\d+):", line):
            labels[found[1]] = len(code)
            continue
        text = re.sub(r"^\([^)]*\)\s*", "", re.sub(r"^\(W[^)]*\)\s*", "", line.strip()))
        if re.match(r"[a-z][\w.]*\s*\(\d+\)|sync|nop|illegal", text):
            code.append(text)
            if (found := re.search(r"while\S* \(\d+\)\s+(L\d+)", text)) and found[1] in labels:
                loops.append((labels[found[1]], len(code)))
    inner = [loop for loop in loops if not any(is_inside(other, loop) for other in loops)]
    return [longest_branches(code[begin:end]) for begin, end in inner]


def longest_branches(code):
    """The instructions of one pass through a loop of Intel's."""
    branches = [[[]]]
    for text in code:
        if text.startswith("endif"):
            longest = max(branches.pop(), key=len)
            branches[-1][-1] += longest
        branches[-1][-1].append(text)
        if text.startswith("if"):
            branches.append([[]])
        elif text.startswith("else"):
            branches[-1].append([])
    return branches[0][0]


def is_inside(loop, outer):
    return loop != outer and outer[0] <= loop[0] and loop[1] <= outer[1]
