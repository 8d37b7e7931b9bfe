#!/usr/bin/env bash
# The whole run on a GPU machine, correctness first: devices, the test suite, kernels and steps by size, training runs, the peers.
#
#   benches/gpu.sh OUT [BIN]     run in the repository's root; BIN (default: built here) holds monosem and test-it
#   STEPS="d,n,k,batch,moments ..." FEATURES="n,moments ..." PEERS="n,.." TRAIN_STEPS=50     other sizes: small ones rehearse it
#   DATA="PATH ..."              activations to train on, else rows that numpy makes
#
# On a machine without cargo, carry BIN: `cargo build --release` and `cargo test --release --no-run --test it`, stripped.
# Where torch and benches/peers/wheels.txt are installed the peers are timed in the same run. Each step is timed by candidates found in
# f32 and in f16; peak memory is what `plan` counts, which is what is allocated, and what nvidia-smi sees. Last comes each kernel's time
# beside what was expected of it (benches/expected.py).
set -uo pipefail
out=${1:?usage: benches/gpu.sh OUT [BIN]}; bin=${2:-}
mkdir -p "$out"
if [ -z "$bin" ]; then
    bin=$out/bin; mkdir -p "$bin"
    cargo build --release --locked && cp target/release/monosem "$bin/" || exit 1
    built=$(cargo test --release --locked --no-run --test it --message-format=json 2>/dev/null |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | grep '/it-' | tail -n 1)
    cp "$built" "$bin/test-it" || exit 1
fi
run() { echo "== $*" | tee -a "$out/log.txt"; "$@" 2>&1 | tee -a "$out/log.txt" | tail -n "${lines:-40}"; }
if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/machine.txt"
fi

run "$bin/monosem" devices
run "$bin/monosem" selftest
lines=30 MONOSEM_VECTORS=tests/vectors MONOSEM_BIN=$bin/monosem run "$bin/test-it" --test-threads 4

for sizes in ${STEPS:-384,16384,32,2048,f32 768,16384,32,4096,f32 768,131072,32,4096,f32 768,131072,32,8192,f32 768,1048576,32,4096,f32 768,4194304,32,4096,bf16}; do
    IFS=, read -r d n k batch moments <<<"$sizes"
    step=(--d "$d" --features "$n" --k "$k" --batch "$batch" --moments "$moments")
    run "$bin/monosem" plan "${step[@]}"
    for screening in f32 f16; do
        file=$out/bench-$d-$n-$k-$batch-$moments-$screening.json
        echo "== $screening $sizes" | tee -a "$out/log.txt"
        "$bin/monosem" bench "${step[@]}" --screening "$screening" --json >"$file" 2>>"$out/log.txt" || rm -f "$file"
    done
done
# A step that is timed above, now with the driver's bounds checks, without which NVIDIA's GPUs are opened.
MONOSEM_BOUNDS_CHECKS=driver run "$bin/monosem" bench --d 768 --features 16384 --k 32 --batch 4096 --screening f32

made=$out/synthetic.safetensors
if [ -z "${DATA:-}" ] && python3 -c 'import numpy' 2>/dev/null; then
    python3 benches/synthetic_rows.py "$made" && DATA=$made
fi
if [ -n "${DATA:-}" ]; then
    for sizes in ${FEATURES:-131072,f32 1048576,f32}; do
        IFS=, read -r n moments <<<"$sizes"
        for screening in f32 f16; do
            lines=12 run "$bin/monosem" train --data $DATA --out "$out/train-$n-$screening" --features "$n" --moments "$moments" \
                --batch 4096 --steps "${TRAIN_STEPS:-50}" --screening "$screening" --profile
        done
        cmp "$out/train-$n-f32/sae/sae_weights.safetensors" "$out/train-$n-f16/sae/sae_weights.safetensors" &&
            echo "$n features: the same SAE by f32 and f16" | tee -a "$out/log.txt"
        rm -rf "$out/train-$n-f32/sae" "$out/train-$n-f16/sae"
    done
    rm -f "$made"
fi
if python3 -c 'import torch' 2>/dev/null; then
    run python3 benches/peers/bench_peers.py --d 768 --n "${PEERS:-16384,131072,1048576}" --batch 4096 --json "$out/peers.json"
fi

python3 - "$out" <<'P' | tee -a "$out/log.txt"
import json, sys
from pathlib import Path
print(f"{'features':>9}{'batch':>7} {'screening':34}{'ms a step':>11}{'tokens/s':>10}{'TFLOP/s of screen or encode':>29}")
for path in sorted(Path(sys.argv[1]).glob("bench-*.json"), key=lambda path: path.stat().st_mtime):
    bench = json.loads(path.read_text())
    kernels = {kernel["kernel"].split("_")[0]: kernel for kernel in bench.get("kernels", [])}
    product = kernels.get("screen") or kernels.get("encode")
    rate = f"{product['flops'] / product['seconds'] * 1e-12:.2f}" if product else "-"
    print(f"{bench['features']:9}{bench['batch']:7} {bench['selection'][:33]:34}{1e3 * bench['step_seconds']:11.2f}{bench['tokens_per_second']:10.0f}{rate:>29}")
P
lines=1000 run python3 benches/expected.py --compare "$out"
echo "everything is in $out/log.txt"
