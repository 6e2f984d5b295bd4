#!/usr/bin/env bash
# Ten minutes on a GPU: equality first, then times. Needs torch, torchvision, Triton, rich, pandas, pyarrow and pytest with xdist.
#
#     bash benchmarks/device.sh            in the root of the repository
#
# Wheels in .wheels are installed into a temporary folder without a network: imagecorruptions (frost's photographs) and robench's own
# (its metadata). DEVICE=cpu IMAGES=32 COUNT=2 tries everything out without a GPU.
set -uo pipefail
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
DEVICE=${DEVICE:-cuda} COUNT=${COUNT:-256} IMAGES=${IMAGES:-16384} PYTHON=${PYTHON:-python3}
OUT=${OUT:-$(mktemp -d)}
SITE=$(mktemp -d)
mkdir -p "$OUT"
if compgen -G ".wheels/*.whl" >/dev/null; then
    $PYTHON -m pip install -q --no-index --no-deps --no-compile --target "$SITE" .wheels/*.whl || exit
fi
export PYTHONPATH=$PWD/src:$SITE:$PWD${PYTHONPATH:+:$PYTHONPATH}
failed=0

step() { # name, limit in seconds, command: prints as it goes, and keeps the text in $OUT
    local name=$1 limit=$2 start=$SECONDS
    shift 2
    echo "== $name"
    timeout -k 5 "$limit" "$@" 2>&1 | tee "$OUT/$name.txt"
    local status=${PIPESTATUS[0]}
    echo "== $name: status $status after $((SECONDS - start)) s"
    [ "$status" = 0 ] || failed=1
}

[ "$DEVICE" = cuda ] && nvidia-smi --query-gpu=name,driver_version,clocks.sm,memory.used --format=csv,noheader
step law 80 $PYTHON benchmarks/device.py law --device "$DEVICE" --seconds 70
tests="-m gpu tests/transforms/test_laws.py tests/transforms/test_frames.py tests/evaluation/test_prefetch.py"
[ "$DEVICE" = cpu ] && tests="-k noise tests/transforms/test_kernels.py"
# shellcheck disable=SC2086
step tests 100 $PYTHON -m pytest -q -x -n 6 -p no:cacheprovider -o filterwarnings= --tb=line $tests
step kernels 110 $PYTHON benchmarks/device.py bare kernels --device "$DEVICE" --images "$COUNT" --seconds 95
step imagenet-c 150 $PYTHON benchmarks/throughput.py --device "$DEVICE" --images "$IMAGES" --suites imagenet-c
step imagenet-p 90 $PYTHON benchmarks/throughput.py --device "$DEVICE" --images "$((IMAGES / 2))" --suites imagenet-p
echo "texts in $OUT"
exit $failed
