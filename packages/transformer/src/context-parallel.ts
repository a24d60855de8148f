/** Context parallelism: attention over sequences that a mesh axis splits, its options, and what does not go with it. */
import {
  activeMesh,
  BATCH_AXES,
  globalMeshResource,
  HEAD_AXES,
  isResourceGiven,
  logicalToMeshAxes,
  meshAxisSize,
  type PartitionEntry,
  PartitionSpec,
  SEQLEN_AXES,
  SEQLEN_CP_AXES,
  SEQLEN_TP_AXES,
  withShardingConstraint,
} from "@te/sharding";
import type { Tensor } from "@te/tensor";
import { type Defaults, expectString, fail } from "@te/tensor/op";
import { failChoice } from "./choices.js";
import { allPositions, type ContextOrder } from "./ops/context-order.js";

export interface ContextParallelOptions {
  /**
   * The tokens of each device are those that reorderCausalLoadBalancing gives it, for causal masks: two chunks of the sequence,
   * or stripes of packed ones. Default false: a run of the sequence.
   */
  contextParallelCausalLoadBalanced?: boolean;
  /** Mesh axis that splits the sequence inside attention. Default "": that of MeshResource.cpResource. */
  contextParallelAxis?: string;
  /**
   * ALL_GATHER or ALLGATHER: each device gathers keys and values, and attends with its queries. RING: keys and values go from
   * device to device. In upper or lower case. Default "DEFAULT": ALL_GATHER.
   */
  contextParallelStrategy?: string;
}

export const contextParallelDefaults = {
  contextParallelCausalLoadBalanced: false,
  contextParallelAxis: "",
  contextParallelStrategy: "DEFAULT",
} satisfies Defaults<ContextParallelOptions>;

const STRATEGIES = { DEFAULT: "all_gather", ALL_GATHER: "all_gather", ALLGATHER: "all_gather", RING: "ring" } as const;

type Strategy = (typeof STRATEGIES)[keyof typeof STRATEGIES];

/** The strategy that the options name. Throws for options that are not what they must be. */
export function parseContextParallel(fn: string, options: Required<ContextParallelOptions>): Strategy {
  const { contextParallelCausalLoadBalanced: balanced, contextParallelAxis, contextParallelStrategy: text } = options;
  if (typeof balanced !== "boolean")
    fail("option", fn, "contextParallelCausalLoadBalanced must be true or false", balanced ?? String(balanced));
  expectString(fn, { contextParallelAxis });
  const name = typeof text === "string" ? text.toUpperCase() : "";
  if (Object.hasOwn(STRATEGIES, name)) return STRATEGIES[name as keyof typeof STRATEGIES];
  return failChoice(fn, "contextParallelStrategy", `one of ${Object.keys(STRATEGIES).join(", ")}`, text);
}

/** The axis of the active mesh that splits sequences inside attention, if it has several devices. */
export function contextAxis({ contextParallelAxis: named }: Required<ContextParallelOptions>): string | undefined {
  if (!activeMesh()) return undefined;
  const axis = named !== "" ? named : isResourceGiven() ? globalMeshResource().cpResource : null;
  return axis !== null && meshAxisSize(axis) > 1 ? axis : undefined;
}

/** Logical axes of the sequence of a layer: in and around its products. */
export function sequenceAxes(
  options: Required<ContextParallelOptions> & { readonly enableSequenceParallel: boolean },
): { readonly inside: string; readonly between: string } {
  if (contextAxis(options) !== undefined) return { inside: SEQLEN_CP_AXES, between: SEQLEN_CP_AXES };
  return { inside: SEQLEN_AXES, between: options.enableSequenceParallel ? SEQLEN_TP_AXES : SEQLEN_AXES };
}

/** Where tokens are that were reordered for the mesh: int32 [length]; undefined where they are in order. */
export function contextPositions(
  fn: string,
  options: Required<ContextParallelOptions>,
  length: number,
): Tensor | undefined {
  const axis = contextAxis(options);
  if (axis === undefined || !options.contextParallelCausalLoadBalanced) return undefined;
  checkLength(fn, length, axis, true);
  return allPositions("dual_chunk_swap", meshAxisSize(axis), length);
}

/** What attention is asked for, as far as sequences in parts may not have it. */
export interface ContextCall {
  readonly maskType: { readonly padding: boolean; readonly causal: boolean; readonly bottomRight: boolean };
  readonly isPackedQkv: boolean;
  /** Packed sequences, and whether their descriptor tells the place of each token. */
  readonly isThd: boolean;
  readonly isPlaced: boolean;
  readonly hasBias: boolean;
  readonly hasWindow: boolean;
  readonly dropout: number;
  readonly softmaxType: string;
  readonly maxSegmentsPerSeq: number;
  readonly lengths: readonly number[];
}

/** How attention is computed over the axis. Throws for what sequences in parts do not have. */
export function readContext(
  fn: string,
  axis: string,
  options: Required<ContextParallelOptions>,
  call: ContextCall,
): { readonly strategy: Strategy; readonly order: ContextOrder; readonly parts: number } {
  const strategy = parseContextParallel(fn, options);
  const balanced = options.contextParallelCausalLoadBalanced;
  const refuse = (rule: string, value: unknown, wayOut: string): never =>
    fail("unsupported", fn, `over the context-parallel axis ${axis} ${rule}`, value, wayOut);
  const { padding, causal, bottomRight } = call.maskType;
  const other = "Use no axis for it: a MeshResource without cpResource.";
  if (call.isPackedQkv)
    refuse("keys must be apart from queries", "packed q, k and v", "Use bshd_bs2hd or bshd_bshd_bshd.");
  if (call.isThd ? !padding || !causal || bottomRight : padding || bottomRight)
    refuse(
      `attnMaskType must be ${call.isThd ? "padding_causal with packed sequences" : "no_mask or causal"}`,
      [padding && "padding", causal && "causal", bottomRight && "bottom_right"].filter(Boolean).join("_") || "no_mask",
      call.isThd ? other : `Pack sequences into rows (thd_thd_thd) for padding. ${other}`,
    );
  if (call.isThd && !call.isPlaced && (strategy === "ring" || balanced))
    refuse(
      "a descriptor must tell the place of each token",
      "lengths and offsets",
      "Use SequenceDescriptor.fromSegmentIdsAndPos.",
    );
  if (call.hasBias) refuse("attention takes no bias", "a bias", "Use rotary embedding for positions.");
  if (call.dropout > 0) refuse("attentionDropout must be 0", call.dropout, other);
  if (call.softmaxType !== "vanilla") refuse('softmaxType must be "vanilla"', call.softmaxType, other);
  if (call.hasWindow && !call.isThd)
    refuse("a window needs packed sequences", "windowSize", "Use thd_thd_thd with segments and positions.");
  if (!call.isThd && call.maxSegmentsPerSeq !== 1)
    refuse("maxSegmentsPerSeq must be 1 unless sequences are packed", call.maxSegmentsPerSeq, "Leave it out.");
  for (const length of call.lengths) checkLength(fn, length, axis, balanced && !call.isThd);
  const order = balanced && causal && !call.isThd ? "dual_chunk_swap" : "none";
  return { strategy, order, parts: meshAxisSize(axis) };
}

function checkLength(fn: string, length: number, axis: string, balanced: boolean): void {
  const multiple = meshAxisSize(axis) * (balanced ? 2 : 1);
  if (length % multiple === 0) return;
  const [below, above] = [Math.floor(length / multiple), Math.ceil(length / multiple)].map((n) => n * multiple);
  const near = below === 0 ? `${above}` : `${below} or ${above}`;
  const what = balanced ? "twice the devices, of which each has two chunks" : "the devices";
  fail(
    "shape",
    fn,
    `a sequence split over the axis ${axis} must be a multiple of ${multiple}: ${what}`,
    length,
    `Pad it to ${near}.`,
  );
}

/**
 * x [B, S, .., heads, depth] (sequence first: S before B) with its sequence split over the axis, and its batch and heads as
 * the rules in force say, where they divide.
 */
export function splitSequence(x: Tensor, axis: string, sequenceFirst: boolean): Tensor {
  const [batch, heads] = logicalToMeshAxes([BATCH_AXES, HEAD_AXES]).entries as (string | null)[];
  const at = sequenceFirst ? 0 : 1;
  const fit = (dim: number, name: string | null): string | null =>
    name !== null && name !== axis && x.shape[dim]! % meshAxisSize(name) === 0 ? name : null;
  const entries: PartitionEntry[] = x.shape.map(() => null);
  entries[at] = axis;
  entries[1 - at] = fit(1 - at, batch!);
  entries[x.rank - 2] = fit(x.rank - 2, heads!);
  return withShardingConstraint(x, new PartitionSpec(...entries));
}
