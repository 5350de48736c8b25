#!/usr/bin/env bash
# Isaac Lab from nothing: an environment of its own, the contract on Newton and on PhysX, the tests, a short training with
# each, and a policy trained with MuJoCo played on all of them. Ends with one page of tables, versions and the date.
#
#     tests/sim/isaaclab_session.sh [ENVIRONMENT [OUT]]
#
# ENVIRONMENT  folder of the virtual environment (default: .venv-isaaclab/); made where it is not there. About 9 GB on disk,
#              since Isaac Lab brings PyTorch with CUDA along; no GPU is needed.
# OUT          folder for the results (default: isaaclab_session/): contract.md, *.log, runs/, page.md
#
# PYTHON=python3.12, TRAIN_MINUTES=2, WORLDS=32, DEVICE=cpu, CHECKPOINT=runs/walker (a policy trained with sim=mujoco;
# without one that table is left out) and STEPS="contract tests training policy" (what is left out stays as an earlier
# call left it in OUT) may be set. Steps that fail do not stop the rest, but the exit code is then 1.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
environment=${1:-.venv-isaaclab} out=${2:-isaaclab_session}
python=${PYTHON:-python3.12} minutes=${TRAIN_MINUTES:-2} worlds=${WORLDS:-32} device=${DEVICE:-cpu}
mkdir -p "$out" && out=$(cd "$out" && pwd)
steps=" ${STEPS:-contract tests training policy} "
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
failed=()

step() { printf '\n== %s\n' "$*"; }
wanted() { [[ $steps == *" $1 "* ]]; }

step "environment $environment"
if [ ! -x "$environment/bin/python" ]; then
    "$python" -m venv "$environment" || exit 1
fi
run=$environment/bin/python
"$run" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' || {
    echo "Isaac Lab 3 needs Python 3.12; set PYTHON to one (this is $("$run" --version))"
    exit 1
}
if ! "$run" -c 'import isaaclab, isaacmm, pytest' 2>/dev/null; then
    "$run" -m pip install --quiet "isaaclab[ovphysx]==3.0.0" || exit 1
    # MuJoCo becomes 3.17 here, newer than newton 1.6.1 declares; pip says so, and the contract says that it works
    "$run" -m pip install --quiet -e . pytest || exit 1
fi
"$run" -c 'from isaacmm.sim.registry import flavours
for label, (_, _, reason) in flavours().items(): print(f"{label:18} {reason or chr(114)+chr(117)+chr(110)+chr(115)}")'

if wanted contract; then
    step contract
    "$run" -m isaacmm.sim.contract mujoco isaaclab+newton isaaclab+ovphysx --device "$device" \
        --table "$out/contract.md" 2>"$out/contract.err" | tee "$out/contract.log" || failed+=(contract)
fi

if wanted tests; then
    step tests
    "$run" -m pytest tests/sim/test_isaaclab.py -q -p no:cacheprovider -W ignore -rs | tee "$out/tests.log" ||
        failed+=(tests)
fi

for physics in newton ovphysx; do
    wanted training || break
    step "training for $minutes minutes on $physics"
    "$run" launch.py task=HumanoidMM sim=isaaclab "physics=$physics" "sim_device=$device" "rl_device=$device" threads=1 \
        "num_envs=$worlds" "max_minutes=$minutes" "runs_dir=$out/runs" "experiment=$physics" \
        >"$out/train_$physics.log" 2>&1 || failed+=("training on $physics")
    tail -20 "$out/train_$physics.log"
done

for physics in mujoco newton ovphysx; do
    if [ -z "${CHECKPOINT:-}" ] || ! wanted policy; then break; fi
    step "$CHECKPOINT on $physics"
    where=("sim=mujoco")
    [ "$physics" = mujoco ] || where=("sim=isaaclab" "physics=$physics" "sim_device=$device" "rl_device=$device")
    "$run" -m isaacmm.evaluate "checkpoint=$CHECKPOINT" num_envs=128 scripts=False threads=1 "${where[@]}" \
        "json=$out/policy_$physics.json" >"$out/policy_$physics.log" 2>&1 || failed+=("policy on $physics")
done

step page
"$run" tests/sim/isaaclab_page.py "$out" | tee "$out/page.md"
printf '\n%d s in all; ' "$SECONDS"
if [ ${#failed[@]} -gt 0 ]; then
    printf 'FAILED: %s\n' "${failed[*]}"
    exit 1
fi
echo "everything passed"
