/** Mistakes in native code: each is one edit of one source file, and the test of native/test that must see it. */
import { normalize } from "node:path/posix";
import type { Edit } from "../../../../scripts/mutant.js";

/** The tests of native/test that see a mistake, and the kernels that each runs: files of native/cpu and its folders. */
export const NATIVE_TESTS = {
  softmax_test: ["softmax", "softmax_backward", "logsumexp", "cross_entropy"],
  norm_test: ["layer_norm", "rms_norm", "layer_norm_quantize", "rms_norm_quantize"],
  reduce_test: ["reduce", "argmax"],
  index_test: ["take", "scatter_add", "cumsum", "sort"],
  quantize_test: ["quantize"],
  side_thread_test: ["none"],
  team_test: ["none"],
  attention_test: [
    "attention",
    "attention_backward",
    "attention_bias_backward",
    "bfloat16_unit",
    "amx",
    "avx512_bf16",
    "neon_bf16",
  ],
  dot_test: ["dot", "scaled_dot", "gemm", "gemv_vbmi", "bfloat16_unit", "amx", "avx512_bf16", "neon_bf16"],
} as const satisfies Record<string, readonly string[]>;

export type NativeTest = keyof typeof NATIVE_TESTS;

/** Where the address sanitizer sees every access nothing runs aside: a test of that is built without. */
export const isSanitized = (test: NativeTest): boolean => test !== "side_thread_test";

export interface NativeMutant extends Edit {
  readonly name: string;
  readonly test: NativeTest;
}

const SIDE = "../core/side_thread.cc";
const TEAM = "../core/team.cc";

const mutant = (name: string, file: string, from: string, to: string, test: NativeTest): NativeMutant => ({
  name,
  file: normalize(`native/cpu/${file}`),
  from,
  to,
  test,
});

export const NATIVE: readonly NativeMutant[] = [
  mutant(
    "a wait ends before its exchange has",
    SIDE,
    "return finished_ >= number;",
    "return finished_ + 1 >= number;",
    "side_thread_test",
  ),
  mutant(
    "exchanges behind one that failed are tried",
    SIDE,
    "if (!fails) task.kernel->run(task.call);",
    "task.kernel->run(task.call);",
    "side_thread_test",
  ),
  mutant("a run begins with the failure of the last", SIDE, "  failure_ = nullptr;\n", "", "side_thread_test"),
  mutant(
    "nobody hears of an exchange that fails",
    SIDE,
    "if (failure_) std::rethrow_exception(failure_);",
    "",
    "side_thread_test",
  ),
  mutant("a run ends while it exchanges", SIDE, "wait_locked(lock, started_);", "", "side_thread_test"),
  mutant(
    "an exchange takes no time",
    SIDE,
    "*task.ns = now_ns() - *task.start_ns;",
    "*task.ns = 0;",
    "side_thread_test",
  ),
  mutant(
    "a kernel ends while another thread is in a range",
    TEAM,
    "    await(gate_, [](uint32_t gate) { return gate == 0; });\n",
    "",
    "team_test",
  ),
  mutant("every other range is left out", TEAM, "next.fetch_add(1,", "next.fetch_add(2,", "team_test"),
  mutant("an error in a range is lost", TEAM, "    if (failure_) std::rethrow_exception(failure_);\n", "", "team_test"),
  mutant("an error of one call is that of the next", TEAM, "    failure_ = nullptr;\n", "", "team_test"),
  mutant(
    "a thread leaves what another has not begun",
    TEAM,
    "for (int i = 0; i < sharers; ++i) {\n      Share& share",
    "for (int i = 0; i < 1; ++i) {\n      Share& share",
    "team_test",
  ),
  mutant("all threads have one number", TEAM, "    index_in_team = index;\n", "", "team_test"),
  mutant(
    "a kernel looks at the first of no rows",
    "rows.h",
    "if (begin < end) body(part, begin, end);",
    "body(part, begin, end);",
    "softmax_test",
  ),
  mutant(
    "the last step of a row reads what lies behind it",
    "simd/lane_pairs.h",
    "std::memcpy(row, from, static_cast<size_t>(count) * sizeof *row);",
    "std::memcpy(row, from, sizeof row);",
    "softmax_test",
  ),
  mutant(
    "exponentials are taken without the largest element",
    "softmax_row.h",
    "return weight_exp_lanes<E>(v - base);",
    "return weight_exp_lanes<E>(v);",
    "softmax_test",
  ),
  mutant(
    "rows beyond a group of four are left out of a norm's gradient",
    "norm_backward.h",
    "for (; row < end; ++row) run_rows<T, 1>(call, writer, gamma, scratch, row);",
    "",
    "norm_test",
  ),
  mutant(
    "a maximum passes over NaN",
    "reduce_fold.h",
    "if (bits > 0x7f800000u) return std::numeric_limits<double>::quiet_NaN();",
    "",
    "reduce_test",
  ),
  mutant(
    "an exclusive sum includes its own element",
    "cumsum.cc",
    "sums[i] = static_cast<float>(exclusive_ ? total : next);",
    "sums[i] = static_cast<float>(next);",
    "index_test",
  ),
  mutant(
    "the index behind the last is taken",
    "index.h",
    "if (n == 0 || static_cast<int64_t>(largest) < size) return;",
    "if (n == 0 || static_cast<int64_t>(largest) <= size) return;",
    "index_test",
  ),
  mutant(
    "numbers beyond float8 are not clipped",
    "simd/float8_codes.h",
    "return smaller_halves(codes, kLargest) |",
    "return codes |",
    "quantize_test",
  ),
  mutant(
    "the amax forgets the end of a row",
    "fused_quantize.h",
    "most = larger_words(most, quantize_step<T, Q>(y, scale, q + i, count));",
    "const Words here = quantize_step<T, Q>(y, scale, q + i, count);\n" +
      "    if (count == kPair) most = larger_words(most, here);",
    "quantize_test",
  ),
  mutant(
    "the second stretch of the depth replaces the first",
    "gemm/float_tile.h",
    "to[j] = add ? to[j] + from[j] : from[j];",
    "to[j] = from[j];",
    "dot_test",
  ),
  mutant(
    "the second stretch of a bfloat16 product replaces the first",
    "gemm/bfloat16_unit.cc",
    "float sum = p.add ? c : 0;",
    "float sum = 0;",
    "dot_test",
  ),
  mutant(
    "gradients of keys that the first rows do not see begin with what was there",
    "attention/block.h",
    "return all.low == 0 && all.high >= keys;",
    "return true;",
    "attention_test",
  ),
  mutant(
    "gradients of keys that no row sees are what was there",
    "attention/floats.h",
    "if (rows.empty() && !add) std::fill",
    "if (false) std::fill",
    "attention_test",
  ),
  mutant(
    "a product that is rounded where it is summed has no bias",
    "gemm/packed.h",
    "epilogue_.biased ? bias : nullptr}",
    "nullptr}",
    "dot_test",
  ),
  mutant(
    "a product is rounded after the first stretch of the depth",
    "gemm/packed.h",
    "is_rounded = is_last && unit_rounds_;",
    "is_rounded = unit_rounds_;",
    "dot_test",
  ),
];
