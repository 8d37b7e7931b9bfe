"""The GPUs that benches/expected_model.py knows: peak rates by their makers, and how near kernels should come to them."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    name: str
    found_in: tuple  # in the device's name, any of them
    source: str
    f32: float  # TFLOP/s without matrix units
    matrix: float | None  # TFLOP/s of f16 with sums in f32, dense
    bandwidth: float  # GB/s
    cache: float  # MB of the last cache
    cores: float  # SMs, compute units, Xe cores
    encode: float  # the share of f32 that it reaches
    screen: float | None  # the share of matrix that it reaches; None where no kernel can use them
    issue: float = 0.5  # instructions per FLOP of f32: 0.25 where a multiply-add can be issued with another
    dispatch: float = 4e-6  # seconds of a dispatch that does nothing: launch, barrier, drain
    kind: str = "discrete"  # or integrated, or software
    memory: float = math.inf  # GB
    binding: int = 2**31 - 16  # bytes of the largest binding: wgpu's bound under Vulkan and DX12


HOPPER = dict(f32=66.9, matrix=989.4, cache=50, cores=132, encode=0.5, screen=0.135)
RDNA3 = dict(encode=0.3, screen=0.45, issue=0.25)
GPUS = [
    Gpu("H100 SXM", ("h100 80gb hbm3", "h100 sxm"), "NVIDIA H100 whitepaper", bandwidth=3352, memory=80, **HOPPER),
    Gpu("RTX 4090", ("rtx 4090",), "NVIDIA Ada whitepaper, appendix A", f32=82.6, matrix=165.2, bandwidth=1008,
        cache=72, cores=128, encode=0.5, screen=0.45, memory=24),
    Gpu("RX 7900 XTX", ("7900 xtx",), "amd.com, product page; f32 with two issued at once", f32=61.4,
        matrix=122.8, bandwidth=960, cache=96, cores=96, memory=24, **RDNA3),
    Gpu("M3 Max", ("m3 max",), "apple.com: 40 cores, 400 GB/s; not published: 128 multiply-adds a core at 1.39 GHz, "
        "as many in f16, 48 MB", f32=14.2, matrix=14.2, bandwidth=400, cache=48, cores=40, encode=0.4, screen=0.25,
        dispatch=8e-6, kind="integrated", binding=2**40),
    Gpu("Arc B580", ("b580",), "intel.com, product page: 233 TOPS in int8, half of it in f16", f32=13.7, matrix=116.7,
        bandwidth=456, cache=18, cores=20, encode=0.5, screen=None, memory=12),
    Gpu("Radeon 780M", ("780m",), "amd.com, product page: 12 units at 2.7 GHz; two channels of DDR5-5600",
        f32=8.3, matrix=16.6, bandwidth=89.6, cache=2, cores=12, kind="integrated", **RDNA3),
    Gpu("H200", ("nvidia h200",), "NVIDIA H200 datasheet", bandwidth=4800, memory=141, **HOPPER),
]
# Those of docs/performance.md.
SHOWN = GPUS[:6]
