"""The model behind benches/expected.py: what each kernel of a TopK step has to do, and how near it should come."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

# Rules of thumb, the same for every GPU; assumptions, not measurements.
DEPENDENT_READ = 0.3e-6  # seconds, from the last cache; from memory some 0.5e-6
CACHE_GAIN = 3  # what the last cache holds is read so many times as fast as memory
ISSUED = 0.5  # of all issue slots, in kernels that are no product
RESIDENT = 16  # workgroups of 64 threads a core
OWN_ROWS = 0.3  # of the bandwidth, where every thread reads a row of its own: on the CPU


@dataclass(frozen=True)
class Sizes:
    d: int
    n: int
    k: int
    rows: int
    moment: int = 4  # bytes
    selection: str = "chunked"  # or grouped, or screened
    group: int = 1  # features that leave one maximum
    groups: int = 0  # groups a row that are scored

    def quads(self):
        return math.ceil(self.d / 16) * 4  # rows are padded to 16 elements

    def row(self):
        return 4 * self.d

    def field(self):
        return self.rows * self.row()

    def entries(self):
        return self.rows * self.k

    def active(self):
        """Features with an entry, if entries are spread evenly: the most that there can be."""
        return self.n * (1 - math.exp(-self.entries() / self.n))


@dataclass(frozen=True)
class Kernel:
    """`flops` and `bytes` are what `bench` counts (src/measure/plan.rs); the rest is what an estimate needs besides."""

    flops: int
    bytes: int | None
    dispatches: int
    of_bandwidth: float = 0.5
    of_peak: float | None = None  # that of its FLOPs; None where they do not matter
    memory: float | None = None  # bytes that cross memory, if not `bytes`
    cached: float = 0  # bytes from the last cache
    instructions: float = 0  # of single lanes
    chain: float = 0  # reads that wait for one another
    on_matrix_units: bool = False

    def seconds(self, gpu):
        computing = self.flops / (self.peak(gpu) * self.of_peak) if self.of_peak else 0
        issuing = self.instructions / (gpu.f32 * 1e12 * gpu.issue * ISSUED)
        memory = (self.bytes or 0) if self.memory is None else self.memory
        moving = (memory + self.cached / CACHE_GAIN) / (gpu.bandwidth * 1e9 * self.of_bandwidth)
        return max(computing, issuing, moving) + self.chain * DEPENDENT_READ + self.dispatches * gpu.dispatch

    def floor(self, gpu):
        return max(self.flops / self.peak(gpu), (self.bytes or 0) / (gpu.bandwidth * 1e9))

    def peak(self, gpu):
        return 1e12 * (gpu.matrix if self.on_matrix_units else gpu.f32)


def fits(bytes, gpu):
    return bytes <= 0.8e6 * gpu.cache


def rounds(workgroups, gpu):
    """How often the cores are filled one after another."""
    return max(1, workgroups / (gpu.cores * RESIDENT))


def shards(s, gpu):
    """Features of each (src/engine/parameters.rs)."""
    most = max(1, gpu.binding // (1024 * 16 * s.quads())) * 1024
    return [min(most, s.n - first) for first in range(0, s.n, most)]


def chunks(s, gpu, rows, group, on_matrix_units=False, most=math.inf):
    """Features of a chunk, before and after it is balanced, and the number of chunks (src/engine/select/chunks.rs)."""
    multiply_adds = (2**37 if gpu.kind == "discrete" else 2**35) * (4 if on_matrix_units else 1)
    features = min(2**27 * group // (4 * rows), multiply_adds // (rows * 4 * s.quads()), most, 2**20)
    largest, unit = max(shards(s, gpu)), 4 * max(group, 4)
    most = min(features, math.ceil(largest / unit) * unit)
    unit = 1024 if 1024 <= most < largest else unit
    size = balanced = max(most, unit) // unit * unit
    if 128 <= size < largest:
        balanced = math.ceil(math.ceil(largest / math.ceil(largest / (size // 128 * 128))) / 128) * 128
    return size, balanced, sum(math.ceil(features / balanced) for features in shards(s, gpu))


def row_blocks(s, candidates):
    """The number of blocks of rows, and the rows of one (src/engine/select/chunks.rs)."""
    fitting = max(1, min(s.rows, 2**27 // (4 * candidates)))
    equal = math.ceil(math.ceil(s.rows / math.ceil(s.rows / fitting)) / 128) * 128
    return math.ceil(s.rows / min(equal, fitting)), min(equal, fitting)


def select(s, gpu, merged, best, bytes, chunk):
    """Merging `best` a row `merged` times; the first chunk is read twice, what was kept once more by each."""
    threads = min(256, max(64, 2 ** math.ceil(math.log2(2 * min(best, 128)))))
    # The threads' maxima are ranked against each other, then what is above the bound.
    ranking = 16 * threads**2 / 4 + 40 * (0.75 * threads) ** 2 / 4
    first = 4 * s.rows * min(chunk, s.n) / s.group
    return Kernel(0, bytes, merged, 0.7, memory=bytes + first + 32 * best * s.rows * merged,
                  instructions=s.rows * merged * ranking + 14 * bytes / 16, chain=15 * merged * rounds(s.rows, gpu))


def encode(s, gpu, dispatches, left, chunk):
    bytes = 4 * s.n * s.d + s.field() + 4 * left
    # A chunk that the last cache does not hold is read for every tile of 128 rows, or, where its weights are many, by
    # blocks of 2,048 rows and 1,024 features (src/kernels/tile_order.rs).
    again = 4 * s.n * s.d * (s.rows / 128 - 1)
    if chunk * s.row() > 2**24:
        again = 4 * s.n * s.d * s.rows / 2048 + s.field() * s.n / 1024
    again = 0 if fits(chunk * s.row(), gpu) else again
    return Kernel(2 * s.rows * s.n * s.d, bytes, dispatches, 0.6, gpu.encode, memory=bytes + again)


def sorting(gpu, pairs, largest):
    """The dispatches of a sort, and the reads in it that wait for one another (src/kernels/radix.rs)."""
    passes = math.ceil(largest.bit_length() / 8)
    return 4 * passes, passes * (17 * sorted_tiles(gpu, pairs) + 28)


def sorted_tiles(gpu, pairs):
    """Tiles of 256 pairs of a workgroup."""
    return math.ceil(pairs / 256 / (16 if gpu.kind == "software" else 256))


def rescore(s, gpu, blocks, best):
    """On GPUs by groups, of which a workgroup has 128 candidates and stages each group once."""
    pairs, parts, size = s.rows * best, len(shards(s, gpu)), s.group * s.row()
    counts = 2 * pairs * s.group * s.d, min(pairs * s.group, s.n) * s.row()
    if gpu.kind == "software":
        return Kernel(*counts, blocks * (parts + 1), OWN_ROWS, memory=pairs * size)
    groups = math.ceil(s.n / s.group)
    once = groups * (1 - math.exp(-pairs / groups))
    asked = min(pairs, once + pairs * s.group / 128)
    x = pairs * s.row()
    memory, cached = (s.field(), x) if fits(s.field(), gpu) else (x, 0)
    slices = s.quads() / 4 * rounds(2 * pairs * s.group / 128, gpu)
    return Kernel(*counts, blocks * (parts + 2), 0.5, memory=memory + once * size,
                  cached=cached + (asked - once) * size, chain=slices)


def slopes(s, gpu, dispatches, gathering):
    """On GPUs a workgroup of 256 threads stages slices of 128 bytes of the two rows of 32 terms."""
    entries, row = s.entries(), s.row()
    counts = 2 * entries * s.d, entries * row + s.field()
    if gpu.kind == "software":
        return Kernel(*counts, dispatches, OWN_ROWS, **gathering(entries * row, 1))
    # Eight warps load a slice, one of them folds it: some 36 instructions a term and vector.
    return Kernel(*counts, dispatches, 0.6, **gathering(s.active() * row, 1), instructions=36 / 4 * entries * s.d,
                  chain=s.quads() / 8 * rounds(4 * entries / 32, gpu))


def selection(s, gpu, cooperative):
    """The kernels that find the codes (src/engine/select/)."""
    if s.selection == "chunked":
        _, chunk, count = chunks(s, gpu, s.rows, 1)
        left = s.rows * s.n
        return {"encode": encode(s, gpu, count, left, chunk), "select": select(s, gpu, count, s.k, 4 * left, chunk)}
    all_groups = math.ceil(s.n / s.group)
    best = min(s.groups or s.k, all_groups)
    # Training may come to score twice as many.
    blocks, rows = row_blocks(s, min(2 * s.groups or s.k, all_groups) * s.group)
    candidates, left = s.rows * best * s.group, s.rows * all_groups
    found = {"rescore": rescore(s, gpu, blocks, best)}
    if gpu.kind != "software":
        dispatches, chain = sorting(gpu, rows * best, all_groups - 1)
        found["sort"] = Kernel(0, 0, blocks * dispatches, chain=blocks * chain)
    if s.selection == "grouped":
        _, chunk, count = chunks(s, gpu, rows, s.group)
        found["encode"] = encode(s, gpu, blocks * count, left, chunk)
        found["select"] = select(s, gpu, blocks * (count + 1), best, 4 * (left + candidates), chunk)
        return found
    scratch, f32_chunk, _ = chunks(s, gpu, rows, 1)
    half_row = math.ceil(s.quads() / 8) * 64
    _, chunk, count = chunks(s, gpu, rows, s.group, cooperative, min(2**27 // half_row, f32_chunk * s.group))
    halves = (s.n + s.rows) * half_row
    # Rows that the last cache does not hold are read for every 128 features.
    again = 0 if fits(s.rows * half_row, gpu) else s.rows * half_row * s.n / 128
    found["to_f16"] = Kernel(0, s.row() * (s.n + s.rows) + halves, blocks * (1 + count), 0.7,
                             instructions=131 / 4 * s.d * (s.n + s.rows))
    found["screen"] = Kernel(2 * s.rows * s.n * s.d, halves + 4 * left, blocks * count, 0.6,
                             gpu.screen if cooperative else 0.1, memory=halves + 4 * left + again,
                             on_matrix_units=cooperative)
    found["select"] = select(s, gpu, blocks * (count + 1), best, 4 * (left + candidates), chunk)
    if best * s.group < s.n:
        found["check_bounds"] = Kernel(0, 16 * s.rows * (s.k + best), blocks, chain=s.k + best)
        # Up to 128 rows are selected again, in wide chunks in f32; these dispatches mostly find nothing to do.
        room = min(128, s.rows)
        *_, again = chunks(s, gpu, room, 1, most=scratch * rows // room)
        found |= {"gate": Kernel(0, None, 1), "rerun": Kernel(0, None, 2), "encode": Kernel(0, None, again)}
        found["select"] = replace(found["select"], dispatches=found["select"].dispatches + again)
    return found


def kernels(s, gpu, cooperative=True):
    """All of a step, by the names that `bench` gives them; of `encode_*`, `screen_*` and `rescore_*` the first word."""
    d, n, rows, row, field, entries, active = s.d, s.n, s.rows, s.row(), s.field(), s.entries(), s.active()
    parts = len(shards(s, gpu))
    stored = 16 * n * d + 8 * n * d * s.moment

    def gathering(memory, fields):
        """What else must cross memory where rows of so many fields are gathered."""
        times = fields * entries * row
        return dict(memory=memory + fields * field, cached=times) if fits(field, gpu) else dict(memory=memory + times)

    found = selection(s, gpu, cooperative)
    # The candidates and the entries are sorted by the same kernels, of which `bench` counts the entries' bytes.
    candidates = found.get("sort", Kernel(0, 0, 0))
    dispatches, chain = sorting(gpu, entries, n)
    tiles = sorted_tiles(gpu, entries)
    per_chunk = math.ceil(n / 64 / 1024) * 1024
    return found | {
        "center": Kernel(rows * d, 2 * field, 1, 0.6),
        "variance": Kernel(5 * rows * d, 2 * field, 3, 0.6, chain=32 + rows / 256),
        "count": Kernel(0, 16 * entries, 1, chain=s.k),
        "decode": Kernel(2 * entries * d, entries * row + field, parts, 0.6, instructions=200 / 4 * entries * d),
        "residual": Kernel(8 * rows * d, 3 * field, 1, 0.6),
        "sort": Kernel(0, 24 * entries * (1 + dispatches // 4), 1 + dispatches + candidates.dispatches,
                       chain=tiles + chain + candidates.chain),
        "runs": Kernel(0, 16 * entries, 5, chain=8 * tiles + 3 * math.log2(max(2, active))),
        "slopes": slopes(s, gpu, parts, gathering),
        "summary": Kernel(0, 16 * entries, parts, chain=12 * rounds(active / 8, gpu)),
        # Where entries are spread evenly no run is long enough.
        "hot": Kernel(0, None, 2 * parts, chain=4),
        "squares": Kernel(4 * entries * d, 2 * entries * row, 2 * parts, 0.6, **gathering(active * row, 2),
                          instructions=250 / 12 * entries * d),
        "bias_gradient": Kernel(rows * d, field, 2 + 2 * parts, 0.5, memory=active * row + field,
                                chain=32 + per_chunk / 1024 * (2 + 32 * active / n) + 96 + rows / 256),
        "clip": Kernel(0, row, 1, chain=70),
        "update": Kernel(4 * entries * d + 24 * n * d, stored + 2 * entries * row, 5 * parts, 0.75,
                         **gathering(stored, 2),
                         instructions=250 / 12 * entries * d + (190 / 2 * n * d if s.moment == 2 else 0)),
        "model": Kernel(12 * d, 28 * d, 1, chain=3),
        "activity": Kernel(0, 12 * n, parts),
    }


REASONS = {
    "encode":
        "half of f32's peak on NVIDIA and Intel, 0.4 on Apple, 0.3 of what AMD counts with two issued at once. By "
        "Mesa's compilers 89 % of the loop are multiply-adds on NVIDIA, 80 on AMD, 68 to 75 on Intel; two barriers a "
        "stage of 16 dimensions, which a core's other workgroup hides in part. Others reach 0.35 in WGSL on an M1 "
        "(FL33TW00D/wgpu-mm).",
    "screen":
        "0.135 of the peak on Hopper, whose full rate takes instructions (WGMMA) that Vulkan does not have, 0.45 on "
        "Ada and RDNA3, a quarter on Apple, whose matrices are of 8 x 8. One stage, two barriers, 128 sums a thread, "
        "and products that leave through workgroup memory. A kernel of this kind elsewhere: 8 % of cuBLAS on an "
        "H100, 45 % on Blackwell (waynehacking8/blackwell-tensorcore-kernels).",
    "to_f16": "0.7 of the bandwidth: it streams. Rounding by integers takes 131 instructions for four elements.",
    "select":
        "0.7 of the bandwidth: it streams; but for each row and chunk some 60 keys are ranked against each other, at "
        "half of the issue slots.",
    "rescore":
        "half of the bandwidth: pairs of a group and a row are sorted by group, the weights of a group cross memory "
        "once (0.4 GB at n 131,072, 2.6 GB at 1,048,576), rows of the batch come from the last cache where that "
        "holds them. 48 slices a workgroup, each waited for.",
    "slopes":
        "0.6 of the bandwidth: rows in pieces of 128 bytes, a row of W_dec for each active feature, rows of the batch "
        "from the last cache where that holds them. 24 slices a workgroup, each waited for.",
    "decode":
        "0.6 of the bandwidth: rows of 3 KB in pieces of 128 bytes. Or, where that takes longer, half of the issue "
        "slots at 200 instructions (148 to 246 by compiler) an entry and vector: nearly every entry begins another "
        "chunk of the tree.",
    "squares":
        "0.6 of the bandwidth: a row of W_dec for each active feature, rows of the batch from the last cache, four "
        "terms of a run at a time.",
    "update":
        "0.75 of the bandwidth: six streams in pieces of 512 bytes. Moments in bf16 take 190 instructions a vector "
        "for their rounding, at half of the issue slots.",
    "sort":
        "256 workgroups whatever the device, each with 8 tiles of 64 pairs one after another: it waits. It sorts "
        "entries by feature, and candidates by group.",
    "bias_gradient":
        "waits for a chain of 256 rows, eight at a time, and one of the runs of a chunk, four at a time; the encoder "
        "rows of active features.",
    "variance": "waits for a chain of 256 rows, eight at a time, in 48 workgroups.",
    "the rest":
        "4 µs a dispatch, 8 on Metal, and 0.3 µs for each of the reads that wait for one another: assumptions.",
}


def methods(gpu, n):
    """A step's sizes in f32 and screened, at d 768, k 32, B 4,096 (src/engine/select/policy.rs)."""
    sizes = Sizes(768, n, 32, 4096)
    pays = n * 15 / 16 > 1.75 * 768 * (32 + n / 4096)
    in_f32 = replace(sizes, selection="grouped", group=16) if pays else sizes
    return in_f32, replace(sizes, selection="screened", group=8, groups=54) if gpu.screen else None
