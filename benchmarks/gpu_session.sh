#!/usr/bin/env bash
# Ten minutes with an NVIDIA GPU: contract, benchmark, a short training, one table.
#
#     benchmarks/gpu_session.sh [WHEELS [OUT]]
#
# WHEELS  folder of wheels to install, for machines without a package index (default: wheels/; made by
#           pip download --only-binary=:all: -d wheels ".[gpu]"
#         on a machine with the same Python and platform; a wheel cut by `split -b` into NAME.whl.part-* is joined).
#         Without such a folder nothing is installed. Packages that this Python already has may be left out of it.
# OUT     folder for the results (default: gpu_session/): contract.txt, speed.json, speed.png, train.log, table.md
#
# TRAIN_MINUTES=3, WORLDS="1024 4096 8192 16384" and PYTHON=python3 may be set. Steps that fail do not stop the rest.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
wheels=${1:-wheels} out=${2:-gpu_session} python=${PYTHON:-python3}
minutes=${TRAIN_MINUTES:-3} worlds=${WORLDS:-1024 4096 8192 16384}
mkdir -p "$out" && out=$(cd "$out" && pwd)
begin=$SECONDS
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-8}

left() { echo $((590 - (SECONDS - begin))); } # seconds until ten minutes are over
step() { printf '\n== %s (%d s left)\n' "$*" "$(left)"; }

step install
if [ -d "$wheels" ]; then
    site=$(mktemp -d)
    for first in "$wheels"/*.whl.part-aa; do
        [ -e "$first" ] && cat "${first%aa}"* >"$site/$(basename "${first%.part-aa}")"
    done
    find "$wheels" "$site" -maxdepth 1 -name '*.whl' -print0 |
        xargs -0 "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site/packages"
    export PYTHONPATH="$site/packages${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
"$python" -c 'from isaacmm.sim import available; print(available())' || exit 1

step contract
timeout "$(left)" "$python" -m isaacmm.sim.contract warp --device cuda:0 | tee "$out/contract.txt"

step benchmark
# shellcheck disable=SC2086
timeout $(($(left) - 60 * minutes - 45)) "$python" benchmarks/simulators.py --simulators warp --device cuda:0 \
    --worlds $worlds --seconds 3 --training --train-worlds 4096 8192 --json "$out/speed.json" --picture "$out/speed.png" |
    tee "$out/table.md"

step "training for $minutes minutes"
timeout "$(left)" "$python" launch.py task=HumanoidMM preset=gpu "max_minutes=$minutes" runs_dir="$out/runs" \
    experiment=gpu export_video=False 2>&1 | tee "$out/train.log" | tail -25

step table
{
    "$python" benchmarks/simulators.py --from "$out/speed.json"
    echo
    tail -2 "$out/contract.txt"
    "$python" - "$out" <<'PYTHON'
import csv, pathlib, sys

for file in pathlib.Path(sys.argv[1]).glob("runs/gpu*/summaries/progress.csv"):
    rows = list(csv.DictReader(file.open()))
    if rows:
        keys = ("seconds", "samples", "samples_per_second", "survival", "full_episodes", "diverged_worlds")
        print("training: " + ", ".join(f"{k} {float(rows[-1][k]):,.1f}" for k in keys if k in rows[-1]))
        walker = next((r for r in rows if float(r.get("full_episodes", 0)) > 0.9), None)
        print("walker (90 % full episodes): " + (f"{float(walker['seconds']):.0f} s" if walker else "not yet"))
PYTHON
} | tee "$out/table.md"
printf '\n%d s in all\n' $((SECONDS - begin))
