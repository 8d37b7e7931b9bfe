#!/usr/bin/env bash
# The whole run on a GPU machine, correctness first: devices, the test suite, kernels and steps by size, a training run, the peers.
#
#   benches/gpu.sh OUT [BIN]     run in the repository's root; BIN (default: built here) holds monosem, test-it and bench-step
#   SIZES="d,n,k,batch ..." FEATURES="n ..." PEERS="n,.."     other sizes of the steps, the training runs and the peers: small ones rehearse it
#
# On a machine without cargo, carry BIN: `cargo build --release`, `cargo test --release --no-run`, `cargo bench --no-run`, stripped.
# Where torch and benches/peers/wheels.txt are installed the peers are timed in the same run.
set -uo pipefail
out=${1:?usage: benches/gpu.sh OUT [BIN]}; bin=${2:-}
mkdir -p "$out"
if [ -z "$bin" ]; then
    bin=$out/bin; mkdir -p "$bin"
    cargo build --release --locked && cp target/release/monosem "$bin/" || exit 1
    built() { cargo "$@" --message-format=json 2>/dev/null | sed -n "s/.*\"executable\":\"\([^\"]*\)\".*/\1/p" | grep "/$name-" | tail -n 1; }
    name=it; cp "$(built test --release --locked --no-run --test it)" "$bin/test-it" || exit 1
    name=step; cp "$(built bench --locked --no-run --bench step)" "$bin/bench-step" || exit 1
fi
run() { echo "== $*" | tee -a "$out/log.txt"; "$@" 2>&1 | tee -a "$out/log.txt" | tail -n "${lines:-40}"; }

run "$bin/monosem" devices
run "$bin/monosem" selftest
export MONOSEM_VECTORS=tests/vectors MONOSEM_BIN=$bin/monosem
lines=30 run "$bin/test-it" --test-threads 4

for sizes in ${SIZES:-384,16384,32,2048 768,16384,32,4096 768,131072,32,4096 768,1048576,32,4096}; do
    MONOSEM_BENCH=$sizes run "$bin/bench-step" --bench --noplot
done

if [ -n "${DATA:-}" ]; then
    for features in ${FEATURES:-131072 1048576}; do
        run "$bin/monosem" train --data "$DATA" --out "$out/train-$features" --features "$features" --batch 4096 --steps 50
    done
fi
if python3 -c 'import torch' 2>/dev/null; then
    run python3 benches/peers/bench_peers.py --d 768 --n "${PEERS:-16384,131072,1048576}" --batch 4096 --json "$out/peers.json"
fi
echo "everything is in $out/log.txt"
