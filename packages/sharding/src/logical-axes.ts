/** Logical axes of the layers, and the table of mesh axes that split them. */
import { activeMesh, meshAxisSize } from "./mesh.js";
import { resourceOrNone } from "./mesh-resource.js";

/** The batch: split for data parallelism. */
export const BATCH_AXES = "nvte_batch";
/** The sequence, whole. */
export const SEQLEN_AXES = "nvte_seqlen";
/** The sequence, split for sequence parallelism. */
export const SEQLEN_TP_AXES = "nvte_seqlen_tp";
/** The sequence, split for context parallelism. */
export const SEQLEN_CP_AXES = "nvte_seqlen_cp";
/** Attention heads: split for tensor parallelism. */
export const HEAD_AXES = "nvte_head";
/** The hidden dimension, whole. */
export const HIDDEN_AXES = "nvte_hidden";
/** The hidden dimension, split for tensor parallelism. */
export const HIDDEN_TP_AXES = "nvte_hidden_tp";
/** The dimension that packs q, k and v, or the activations of a gated unit; whole. */
export const JOINED_AXES = "nvte_joined";
/** A dimension of a weight, whole. */
export const W_NO_SHARD_AXES = "nvte_w_no_shard";
/** A dimension of a weight, split for fully sharded data parallelism. */
export const W_FSDP_AXES = "nvte_w_fsdp";
/** A dimension of a weight, split for tensor parallelism. */
export const W_TP_AXES = "nvte_w_tp";
/** The packing dimension of a weight, whole. */
export const W_JOINED_AXES = "nvte_w_joined";

/** @internal The logical axes of the layers, in the order of the table. */
export const layerAxes: readonly string[] = [
  BATCH_AXES,
  SEQLEN_AXES,
  SEQLEN_TP_AXES,
  SEQLEN_CP_AXES,
  HEAD_AXES,
  HIDDEN_AXES,
  HIDDEN_TP_AXES,
  JOINED_AXES,
  W_NO_SHARD_AXES,
  W_FSDP_AXES,
  W_TP_AXES,
  W_JOINED_AXES,
];

/** A logical axis name and the mesh axis that splits it, or null. */
export type LogicalAxisRule = readonly [logicalName: string, meshAxis: string | null];

/**
 * Every logical axis of the layers and its mesh axis under the resource in force, in a fixed order.
 *
 *     nvte_batch                             fsdpResource if its axis is larger than 1, otherwise dpResource
 *     nvte_seqlen_tp                         tpspResource
 *     nvte_seqlen_cp                         cpResource
 *     nvte_head, nvte_hidden_tp, nvte_w_tp   tpspResource if its axis is larger than 1, otherwise tpResource
 *     nvte_w_fsdp                            fsdpResource
 *     the others                             null
 *
 * Without an active mesh the sizes are unknown, and an axis that the resource names counts as larger than 1. With
 * neither a mesh nor a guard every entry is null; a mesh without a guard is an error.
 */
export function logicalAxisTable(): readonly LogicalAxisRule[] {
  const resource = resourceOrNone();
  const mesh = activeMesh();
  const isSplit = (axis: string | null) => axis !== null && (!mesh || meshAxisSize(axis, mesh) > 1);
  const batch = isSplit(resource.fsdpResource) ? resource.fsdpResource : resource.dpResource;
  const tensor = isSplit(resource.tpspResource) ? resource.tpspResource : resource.tpResource;
  const split: Readonly<Record<string, string | null>> = {
    [BATCH_AXES]: batch,
    [SEQLEN_TP_AXES]: resource.tpspResource,
    [SEQLEN_CP_AXES]: resource.cpResource,
    [HEAD_AXES]: tensor,
    [HIDDEN_TP_AXES]: tensor,
    [W_FSDP_AXES]: resource.fsdpResource,
    [W_TP_AXES]: tensor,
  };
  return layerAxes.map((name) => [name, split[name] ?? null]);
}
