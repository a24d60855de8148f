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
    "for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);",
    "for (int offset = 16; offset > 1; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);",
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
];
