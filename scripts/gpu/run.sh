#!/bin/bash
# Checks and measures a GPU with what lies beside this file: no Node.js, npm or network is needed, Python is used where it is.
#   bash run.sh OUT [part ...]
# Every part has its own limit, and all of them end within TE_GPU_SECONDS (460). OUT gets, as it goes, summary.jsonl (a line for
# each part), cases.json, train.json, bench.json, peers.json, jax.json and log.txt. With TE_CUDA_EMULATED=1 and a TE_NATIVE_DIR the
# same runs in small on the emulator. Exit 1 where a part failed.
set -u
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?usage: run.sh OUT [part ...]}" && out=$(cd "$1" && pwd) || exit 2
shift
wanted=${*:-environment abi cases train bench torch memcheck racecheck jax}
end=$((SECONDS + ${TE_GPU_SECONDS:-460}))
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# note PART RC SECONDS: a line of summary.jsonl, with the last line that the part printed.
note() {
  local last
  last=$(tail -n 1 "$work/part.log" 2>/dev/null | tr -d '"\\\000-\037' | cut -c1-200)
  printf '{"part": "%s", "rc": %s, "seconds": %s, "last": "%s"}\n' "$1" "$2" "$3" "$last" >>"$out/summary.jsonl"
  echo "$1: rc $2, $3 s: $last"
}

# part NAME LIMIT COMMAND...: runs it with its limit or what is left of the time; 124 means that it ran out.
part() {
  local name=$1 limit=$2 began=$SECONDS rc
  shift 2
  case " $wanted " in *" $name "*) ;; *) return ;; esac
  ((limit = limit < end - SECONDS ? limit : end - SECONDS))
  : >"$work/part.log"
  if ((limit < 3)); then
    note "$name" 124 0
    failed=1
    return
  fi
  timeout -k 5 "$limit" "$@" >"$work/part.log" 2>&1
  rc=$?
  { echo "== $name: rc $rc"; cat "$work/part.log"; } >>"$out/log.txt"
  note "$name" "$rc" $((SECONDS - began))
  ((rc == 0)) || failed=1
}

# What is not on this machine is no failure.
have() { command -v "$1" >/dev/null || { echo "$1 is not here"; return 1; }; }

unpack() {
  if tar -xJf "$here/native.tar.xz" -C "$work" 2>/dev/null; then return; fi
  python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$here/native.tar.xz" "$work"
}
node=node
if [ -f "$here/native.tar.xz" ]; then
  unpack || exit 1
  node=$work/node
  export TE_NATIVE_DIR=${TE_NATIVE_DIR:-$work}
fi
TE_COMMIT=$(cat "$here/commit")
export TE_COMMIT
emulated=${TE_CUDA_EMULATED:-}
small=${emulated:+--small}

# NVIDIA's libraries and headers lie where the system, a toolkit or a Python package has put them.
found=$work/found
: >"$found"
[ -n "$emulated" ] || find / \( -path /proc -o -path /sys \) -prune -o \
  -name 'libcublasLt.so.1[23]' -print -o -name 'libnvrtc.so.1[23]' -print -o \
  -name cublasLt.h -print -o -name cuda_runtime_api.h -print 2>/dev/null >"$found"
# first NAME...: the file of the first of these names that is here.
first() {
  local name
  for name; do grep -m 1 "/$name\$" "$found" && return; done
}
if [ -z "$emulated" ]; then
  export TE_CUBLASLT=${TE_CUBLASLT-$(first libcublasLt.so.13 libcublasLt.so.12)}
  export TE_NVRTC=${TE_NVRTC-$(first libnvrtc.so.13 libnvrtc.so.12)}
fi

environment() {
  echo "commit $TE_COMMIT, node $("$node" --version)"
  echo "cuBLASLt: ${TE_CUBLASLT:-not found here}; NVRTC: ${TE_NVRTC:-not found here}"
  free -g | sed -n 2p
  have nvidia-smi || return 0
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem,power.limit --format=csv,noheader
}

abi() {
  local header runtime
  [ -f "$here/abi/test/cuda/cublaslt_abi_test.cc" ] || { echo "there is no check"; return 0; }
  header=$(first cublasLt.h)
  runtime=$(first cuda_runtime_api.h)
  [ -n "$header" ] && [ -n "$runtime" ] || { echo "NVIDIA's headers are not here"; return 0; }
  g++ -std=c++20 -fsyntax-only -I"$here/abi" -I"$(dirname "$header")" -I"$(dirname "$runtime")" \
    "$here/abi/test/cuda/cublaslt_abi_test.cc" && echo "the declarations of cuBLASLt agree"
}

# A sample under one of NVIDIA's checkers. Those of memory and races slow kernels down by a factor of ten and more.
sanitize() {
  local tool=$1
  have compute-sanitizer || return 0
  compute-sanitizer --tool "$tool" --error-exitcode 9 "$node" --expose-gc "$here/cases.mjs" --sample 6 --seconds 30 \
    --out "$work/$tool.json" --ops layer_norm,rms_norm_backward,softmax,quantize,dot,scaled_dot,attention,reduce_sum,transpose,take,adamw_update
}

peers() {
  have python3 || return 0
  python3 "$here/peers.py" "$@" $small
}

# Its report is in bench.json; what it says on the way is its log. Products take the fastest algorithm of cuBLASLt, found once.
bench() {
  TE_TUNE=1 TE_TUNE_FILE="$work/products.txt" "$node" --expose-gc "$here/bench.mjs" gpu --json --out "$out/bench.json" --seconds 120 $small >/dev/null
}

export here node small work out found
export -f environment abi first sanitize peers bench have

js=("$node" --expose-gc)
sample=()
[ -z "$emulated" ] || sample=(--ops "${TE_GPU_OPS:-layer_norm,softmax,quantize,dot}")
part environment 30 bash -c environment
part abi 40 bash -c abi
part cases 120 "${js[@]}" "$here/cases.mjs" --out "$out/cases.json" --seconds 110 "${sample[@]}"
part train 60 "${js[@]}" "$here/train.mjs" --out "$out/train.json" $small
part bench 140 bash -c bench
part torch 110 bash -c 'peers torch --out "$out/peers.json" --seconds 100'
part memcheck 45 bash -c 'sanitize memcheck'
part racecheck 45 bash -c 'sanitize racecheck'
part jax 60 bash -c 'XLA_PYTHON_CLIENT_PREALLOCATE=false peers jax --out "$out/jax.json" --seconds 55'
exit $failed
