/** Options of the original that ask for what no device here computes: they have their names, and only their defaults. */
import { type Defaults, fail } from "@te/tensor/op";

export interface ScoreModOptions {
  /** A function on the scores inside the kernel. Must be null (default): use a bias or a mask. */
  scoreMod?: null;
  /** Its derivative. Must be null (default). */
  scoreModBprop?: null;
}

export interface ContextParallelOptions {
  /** Give each device of the context-parallel axis two chunks of the sequence. Must be false (default). */
  contextParallelCausalLoadBalanced?: boolean;
  /** Mesh axis that splits the sequence inside attention. Must be "" (default): attention sees whole sequences. */
  contextParallelAxis?: string;
  /** "DEFAULT" (default); "ALL_GATHER" and "RING" need a context-parallel axis, which is not supported. */
  contextParallelStrategy?: string;
}

export const scoreModDefaults = { scoreMod: null, scoreModBprop: null } satisfies Defaults<ScoreModOptions>;

export const contextParallelDefaults = {
  contextParallelCausalLoadBalanced: false,
  contextParallelAxis: "",
  contextParallelStrategy: "DEFAULT",
} satisfies Defaults<ContextParallelOptions>;

/** Throws unless scoreMod and scoreModBprop are left at null. */
export function refuseScoreMod(fn: string, options: Required<ScoreModOptions>): void {
  for (const name of ["scoreModBprop", "scoreMod"] as const) {
    if (options[name] === null) continue;
    const rule = `${name} must be null: scores are computed inside a kernel that runs no functions`;
    fail("unsupported", fn, rule, options[name], "Pass a bias or a mask, or set softmaxType.");
  }
}

const STRATEGIES = ["DEFAULT", "ALL_GATHER", "ALLGATHER", "RING"];

/** Throws unless the options of context parallelism are left at their defaults. */
export function refuseContextParallel(fn: string, options: Required<ContextParallelOptions>): void {
  const { contextParallelCausalLoadBalanced: balanced, contextParallelAxis: axis } = options;
  const strategy = String(options.contextParallelStrategy).toUpperCase();
  const reason = "attention is not split along the sequence";
  const wayOut = "Split the batch or the heads instead: dpResource, fsdpResource or tpspResource of a MeshResource.";
  if (!STRATEGIES.includes(strategy))
    fail(
      "option",
      fn,
      `contextParallelStrategy must be one of ${STRATEGIES.join(", ")}`,
      options.contextParallelStrategy,
    );
  if (strategy !== "DEFAULT")
    fail("unsupported", fn, `contextParallelStrategy must be "DEFAULT": ${reason}`, strategy, wayOut);
  if (axis !== "") fail("unsupported", fn, `contextParallelAxis must be "": ${reason}`, axis, wayOut);
  if (balanced) fail("unsupported", fn, `contextParallelCausalLoadBalanced must be false: ${reason}`, balanced, wayOut);
}
