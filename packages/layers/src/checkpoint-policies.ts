/** Checkpoint policies that know the products of the layers, in FP8 and outside of it. */
import { type CheckpointPolicy, checkpointPolicies } from "@te/tensor";
import { expectObject } from "@te/tensor/op";

/** The name under which policies know the results of the layers' products outside of FP8. */
export const TE_GEMM = "te_gemm";

/** Keep the results of the layers' products, in FP8 and outside of it. Other products are computed again. */
export function teGemmsSaveable(node: Parameters<CheckpointPolicy>[0]): boolean {
  expectObject("teGemmsSaveable", { node });
  return node.op === "scaled_dot" || node.name === TE_GEMM;
}

/** Keep the results of all products: those of the layers and `dot`. */
export const checkpointDotsAndTeGemms: CheckpointPolicy = (node) =>
  checkpointPolicies.dotsSaveable(node) || teGemmsSaveable(node);

/** Keep the results of the layers' products, and of every `dot` without batch axes. */
export const dotsAndTeGemmsWithNoBatchDims: CheckpointPolicy = (node) =>
  checkpointPolicies.dotsWithNoBatchDimsSaveable(node) || teGemmsSaveable(node);
