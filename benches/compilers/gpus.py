"""The GPUs whose compilers are asked, and how many warps a core of each can hold.

A core is NVIDIA's SM, AMD's SIMD, Intel's Xe core (subslice); a warp is what it runs in step: a subgroup.
"""

from dataclasses import dataclass
from math import ceil, floor


@dataclass(frozen=True)
class Core:
    """What workgroups share, and how much there is of it."""

    name: str
    warps: int
    workgroups: int = 1 << 30
    workgroup_bytes: int = 1 << 30
    # Added to a workgroup's memory, and what the sum is a multiple of.
    reserved: int = 0
    granularity: int = 128


KIB = 1024

# CUDA's programming guide, technical specifications per compute capability; Intel's and Mesa's device tables.
GPUS = {
    "turing": Core("Turing, TU102", 32, 16, 64 * KIB, 0, 256),
    "ampere": Core("Ampere, GA102", 48, 16, 100 * KIB, KIB),
    "ada": Core("Ada, AD102", 48, 24, 100 * KIB, KIB),
    "hopper": Core("Hopper, GH100", 64, 32, 228 * KIB, KIB),
    "blackwell": Core("Blackwell, GB202", 48, 24, 100 * KIB, KIB),
    "tgl": Core("Xe-LP, Tiger Lake", 112, workgroup_bytes=128 * KIB),
    "dg2": Core("Xe-HPG, DG2", 128, workgroup_bytes=128 * KIB),
    "bmg": Core("Xe2, Battlemage", 64, workgroup_bytes=128 * KIB),
    "ptl": Core("Xe3, Panther Lake", 80, workgroup_bytes=128 * KIB),
    "navi10": Core("RDNA1, Navi 10", 20),
    "navi21": Core("RDNA2, Navi 21", 16),
    "navi31": Core("RDNA3, Navi 31", 16),
    "navi48": Core("RDNA4, Navi 48", 16),
}

# Registers of a thread on Xe3, at most, and the threads that a core's eight engines then hold; before, all are equal.
XE3_THREADS = {96: 80, 128: 64, 160: 48, 192: 40, 256: 32}


def resident_warps(gpu, pipeline):
    """How many warps of a kernel a core holds at once: by registers as the compiler says, else worked out from the
    workgroup's memory and threads."""
    core, told = GPUS[gpu], pipeline["statistics"]
    warps = ceil(pipeline["workgroup"] / pipeline["subgroup"])
    if "Subgroups per SIMD" in told:
        # Workgroup memory included; counted in waves of 32.
        return told["Subgroups per SIMD"] * 32 // pipeline["subgroup"]
    by_registers = told.get("Max warps/SM", core.warps)
    if taken := told.get("GRF registers"):
        by_registers = next(threads for most, threads in XE3_THREADS.items() if taken <= most)
    workgroups = min(core.workgroups, floor(by_registers / warps))
    if taken := pipeline["workgroup_bytes"]:
        workgroups = min(workgroups, core.workgroup_bytes // rounded(core, taken))
    return workgroups * warps


def rounded(core, taken):
    """The memory that a workgroup takes of a core's: Intel's comes in powers of two."""
    if core.name.startswith("Xe"):
        return max(KIB, 1 << (taken - 1).bit_length())
    return ceil((taken + core.reserved) / core.granularity) * core.granularity
