/** What a call of context-parallel attention asks for, and what of it a device hands to attention. */
import type { Aval, Tensor } from "@te/tensor";
import { fail } from "@te/tensor/op";
import {
  ATTENTION_DEFAULTS,
  type AttentionOperands,
  type AttentionParams,
  type AttentionSizes,
} from "./attention-problem.js";
import { allPositions, type ContextOrder } from "./context-order.js";

/** Options of attention that parts of a sequence can have; see AttentionParams. */
const SHARED = ["layout", "packing", "scale", "causal", "windowLeft", "windowRight", "float32Logits"] as const;

export interface ContextParams extends Pick<AttentionParams, (typeof SHARED)[number]> {
  /**
   * "all_gather": every device gathers the keys and values, and scatters their gradients. "ring": they go around, and with
   * them their gradients, while each device computes with those that it has.
   */
  strategy: "all_gather" | "ring";
  /** Where the tokens are, unless positions are given. */
  order: ContextOrder;
  /** The number of parts. */
  parts: number;
}

export const CONTEXT_DEFAULTS: ContextParams = {
  layout: "bshd",
  packing: "none",
  scale: 1,
  causal: false,
  windowLeft: -1,
  windowRight: -1,
  float32Logits: false,
  strategy: "all_gather",
  order: "none",
  parts: 1,
};

export const CONTEXT_KINDS = {
  strategy: ["all_gather", "ring"],
  order: ["none", "dual_chunk_swap"],
  parts: "size",
} as const;

/** The operands beside q and k that forward and backward share. */
export const CONTEXT_OPERANDS = ["v", "segmentsQ", "segmentsKv", "positionsQ", "positionsKv"] as const;

/** These of the options of attention. */
export const sharedParams = (params: AttentionParams | ContextParams): Pick<ContextParams, (typeof SHARED)[number]> =>
  Object.fromEntries(SHARED.map((name) => [name, params[name]])) as never;

/** What a device asks of attention. */
export const attentionParams = (params: ContextParams): AttentionParams => ({
  ...ATTENTION_DEFAULTS,
  ...sharedParams(params),
});

/** The axis of q, k, v and out along which the sequence lies. */
export const sequenceAxis = ({ layout }: Pick<ContextParams, "layout">): 0 | 1 => (layout === "bshd" ? 1 : 0);

/** Whether positions count. */
export const isPlaced = ({ causal, windowLeft, windowRight }: ContextParams): boolean =>
  causal || windowLeft >= 0 || windowRight >= 0;

/** Throws where the sequences cannot be cut so. */
export function checkContext(x: AttentionOperands<Aval>, params: ContextParams, sizes: AttentionSizes): void {
  const { order, parts, packing } = params;
  const fn = "context_attention";
  if (packing === "qkv") fail("option", fn, "queries must be apart from keys", packing);
  if (parts < 1) fail("option", fn, "parts must be at least 1", parts);
  const chunks = order === "none" ? parts : 2 * parts;
  for (const length of [sizes.queries, sizes.keys])
    if (length % chunks !== 0)
      fail("shape", fn, `a sequence in ${parts} parts must be a multiple of ${chunks}`, length);
  if ((x.positionsQ === undefined) !== (x.positionsKv === undefined))
    fail("option", fn, "positionsQ and positionsKv go together", "one of them", "Pass both.");
  if (x.positionsQ && order !== "none") fail("option", fn, "positions say the order already", order);
}

/** The operands of attention on whole sequences, which are in the order of the parts. */
export function wholeOperands<T extends AttentionOperands<Tensor>>(
  x: T,
  params: ContextParams,
  { batch, queries, keys }: AttentionSizes,
): T {
  if (params.order === "none" || !isPlaced(params)) return x;
  const places = (length: number): Tensor =>
    allPositions(params.order, params.parts, length).broadcastTo([batch, length]);
  return { ...x, positionsQ: places(queries), positionsKv: places(keys) };
}
