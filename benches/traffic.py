#!/usr/bin/env python3
"""Count what kernels of a selection move, by models of memory; nothing is measured.

    benches/traffic.py banks       passes over workgroup memory in the epilogue of `screen`
    benches/traffic.py rescore     bytes of W_enc and x that `rescore` reads, by rows and by groups
    benches/traffic.py tiles       bytes that the tiles of `encode` fetch past a cache, by the order of tiles
"""

import random
import statistics
import sys
from collections import OrderedDict

LANES, BANKS, SECTOR = 32, 32, 32

# Caches in MiB, and workgroups that run at once.
SMALL_CACHES = [(cache, count) for cache in (2, 4, 6, 8) for count in (8, 12, 16, 24, 32, 48, 64, 96)]
LARGE_CACHE = (50, 264)
SHOWN_CACHES = [(4, 12), (4, 24), (4, 48), LARGE_CACHE]
SHOWN_SIZES = [(1024, 768), (4096, 768), (4096, 2304), (4096, 4096)]


def passes(words, width):
    """Passes of reads of `width` words each, where a bank serves one word a pass, to any number of lanes."""
    banks = {}
    for first in set(words):
        for word in range(first, first + width):
            banks.setdefault(word % BANKS, set()).add(word)
    return max(map(len, banks.values()))


def by_eights(words):
    """Of vectors of four: eight lanes at a time."""
    return sum(passes(words[lane : lane + 8], 4) for lane in range(0, LANES, 8))


def banks():
    print("| tiles of a subgroup | lanes | products | terms, by 8 lanes | by 32 | sectors written |")
    print("|---|---|--:|--:|--:|--:|")
    for tile, tiles in [(16, 4), (16, 2), (8, 4)]:
        groups, line = tile * tiles // 8, tile * tiles + 4
        before = ("row = slot / groups", 8, lambda slot: (slot // groups, slot % groups))
        after = ("eight rows of a group", 9, lambda slot: (slot // (8 * groups) * 8 + slot % 8, slot // 8 % groups))
        for name, terms, place in [before, after]:
            counts = [0, 0, 0, 0]
            for first in range(0, tile * groups, LANES):
                lanes = [place(first + lane) for lane in range(LANES)]
                counts[0] += sum(by_eights([row * line + group * 8 + at for row, group in lanes]) for at in (0, 4))
                for feature in range(8):
                    read = [(group * terms + feature) * 4 for _, group in lanes]
                    counts[1] += by_eights(read)
                    counts[2] += passes(read, 4)
                counts[3] += len({(row * 2048 + group) * 4 // SECTOR for row, group in lanes})
            print(f"| {tile} x {tile}, {tiles} across | {name} | {' | '.join(map(str, counts))} |")


def rescore(d=768, rows=4096):
    print("| features | group | groups per row | rows of a group | by rows: W | by groups: W | once each | x | sort |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    screened = [(16384, 8, 54), (131072, 8, 54), (1048576, 8, 54), (4194304, 8, 54)]
    for features, group, best in [*screened, (131072, 16, 32), (1048576, 16, 32)]:
        groups, tile = features // group, 128 // group
        pairs = sorted(number for _ in range(rows) for number in random.sample(range(groups), best))
        weights = group * d * 4
        read = sum(len(set(pairs[first : first + tile])) for first in range(0, len(pairs), tile)) * weights
        once = len(set(pairs)) * weights
        # A pair is made (24 bytes) and read (8), and read twice and written once by each pass of 8 bits.
        sort = len(pairs) * (32 + 24 * -(-(groups - 1).bit_length() // 8))
        sizes = [len(pairs) * weights, read, once, len(pairs) * d * 4, sort]
        sizes = " | ".join(f"{size / 1e6:,.0f} MB" for size in sizes)
        print(f"| {features:,} | {group} | {best} | {len(pairs) / len(set(pairs)):.1f} | {sizes} |")


def in_rows(rows, columns):
    return [(row, column) for row in range(rows) for column in range(columns)]


def in_blocks(rows, columns, height=16, width=8):
    return [
        (row, column)
        for top in range(0, rows, height)
        for left in range(0, columns, width)
        for row in range(top, min(rows, top + height))
        for column in range(left, min(columns, left + width))
    ]


def fetched(tiles, at_once, tile_bytes, cache, slices=8):
    """Bytes fetched past a cache that drops what was not used longest, by workgroups that run `at_once` in step."""
    held, missed, size = OrderedDict(), 0, tile_bytes // slices
    for first in range(0, len(tiles), at_once):
        wave = tiles[first : first + at_once]
        operands = [("x", row) for row in sorted({row for row, _ in wave})]
        operands += [("w", column) for column in sorted({column for _, column in wave})]
        for part in [(*operand, part) for part in range(slices) for operand in operands]:
            missed += part not in held
            held[part] = None
            held.move_to_end(part)
            if len(held) > cache // size:
                held.popitem(last=False)
    return missed * size


def tiles(tile=128):
    print("| rows | d | chunk | cache, workgroups at once | row by row | in blocks |")
    print("|--:|--:|--:|---|--:|--:|")
    ratios = []
    for rows in (512, 1024, 2048, 4096, 8192, 16384):
        for d in (384, 768, 1600, 2304, 4096, 8192):
            chunk = min((128 << 20) // (4 * rows), (1 << 35) // (rows * d), 65536) // tile * tile
            sides = -(-rows // tile), chunk // tile
            # Fewer weights do not come in blocks; more tiles take this program too long.
            if chunk * d * 4 <= 16 << 20 or sides[0] * sides[1] > 4100:
                continue
            for cache, count in [*SMALL_CACHES, LARGE_CACHE]:
                orders = in_rows(*sides), in_blocks(*sides)
                before, after = (fetched(order, count, tile * d * 4, cache << 20) for order in orders)
                if (rows, d) in SHOWN_SIZES and (cache, count) in SHOWN_CACHES:
                    sizes = f"{before / 1e6:,.0f} MB | {after / 1e6:,.0f} MB"
                    print(f"| {rows:,} | {d:,} | {chunk:,} | {cache} MB, {count} | {sizes} |")
                if (cache, count) != LARGE_CACHE:
                    ratios.append(after / before)
    print(
        f"\nCaches of 2 to 8 MB: {len(ratios)} cases, at worst {max(ratios):.3f} times as many bytes, "
        f"{statistics.geometric_mean(ratios):.2f} on average"
    )


if __name__ == "__main__":
    random.seed(1)
    {"banks": banks, "rescore": rescore, "tiles": tiles}[sys.argv[1]]()
