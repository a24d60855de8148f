/** Mistakes in the kernels of GPUs: each is one edit of one source file, and the op cases on the emulator that must see it. */
import type { Edit } from "../../../../scripts/mutant.js";

export interface CudaMutant extends Edit {
  readonly name: string;
  /** Matches the titles of cases that should fail. */
  readonly cases: string;
}

const mutant = (name: string, file: string, from: string, to: string, cases: string): CudaMutant => ({
  name,
  file: `native/${file}`,
  from,
  to,
  cases,
});

export const CUDA: readonly CudaMutant[] = [
  mutant(
    "a warp's sum reads the wrong lanes",
    "cuda/reduce.cuh",
    "__shfl_xor_sync(0xffffffffu, x.item[k], offset)",
    "__shfl_xor_sync(0xffffffffu, x.item[k], offset / 2)",
    "layer_norm ",
  ),
  mutant(
    "the start of a window is not held inside",
    "cuda/move/strided_copy.cu",
    "(at < 0 ? 0 : at > axis[d].limit ? axis[d].limit : at)",
    "(at < 0 ? 0 : at)",
    "dynamic_(update_)?slice ",
  ),
  mutant(
    "NaN is sorted first",
    "cuda/sort/order.cuh",
    "if (size > largest) return mask;",
    "if (size > largest) return 0;",
    "sort ",
  ),
  mutant(
    "the updates of a row begin one late",
    "cuda/index/scatter_add.cu",
    "begins[row] = static_cast<int32_t>(low);",
    "begins[row] = static_cast<int32_t>(low < n ? low + 1 : low);",
    "scatter_add ",
  ),
  mutant(
    "a tile is read before all of it is written",
    "cuda/move/permute.cu",
    "  __syncthreads();\n  if constexpr (sizeof(T) <= 4) {\n    if (t.wide_out)",
    "  if constexpr (sizeof(T) <= 4) {\n    if (t.wide_out)",
    "transpose ",
  ),
  mutant(
    "keys are multiplied before their copy was waited for",
    "cuda/attention/tensor_forward.cuh",
    "    wait_copies<0>();\n    __syncthreads();  // the keys are there",
    "    __syncthreads();  // the keys are there",
    "attention .*bfloat16",
  ),
  mutant(
    "queries and keys are read at places of another swizzle",
    "cuda/attention/fragments.cuh",
    "chunk.flipped(d % 4 * 32)",
    "chunk.flipped(d % 2 * 32)",
    "attention .*bfloat16",
  ),
];
