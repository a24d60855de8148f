/** GPT-2 one token at a time: its weights in a format, its cache, and the step that draws the next token. */
import { DelayedScaling, fp8Autocast, quantizeWith } from "@te/fp8";
import { quantizeKernels, type Variables } from "@te/layers";
import { jit, random, type Tensor, tree, zeros } from "@te/tensor";
import { byteSize } from "@te/tensor/backend";
import { type GPT2, Gpt2 } from "./gpt2-model.js";
import { disposeAll } from "./timing.js";

export const DECODE_FORMATS = ["float32", "bfloat16", "float8_e4m3fn"] as const;
/** Of the weights; activations are bfloat16 beside FP8. */
export type DecodeFormat = (typeof DECODE_FORMATS)[number];

export interface Decoder {
  /** Draws one more token, int32 [1, 1], which the next call takes over. */
  readonly step: () => Tensor;
  /** What a token reads of the weights: all of them, but one row of the positions. */
  readonly weightBytes: number;
  readonly dispose: () => void;
}

/** A model with random weights and a cache for `length` tokens, of which it has seen none. */
export function decoder(config: typeof GPT2, weights: DecodeFormat, length: number): Decoder {
  const dtype = weights === "float32" ? weights : "bfloat16";
  const isFp8 = dtype !== weights;
  const recipe = new DelayedScaling({ amaxHistoryLen: 16 });
  const inContext = <T>(body: () => T): T => fp8Autocast({ enabled: isFp8, fp8Recipe: recipe }, body);
  const model = new Gpt2(config, dtype, dtype);
  const [ids, start] = [zeros([1, length], { dtype: "int32" }), zeros([], { dtype: "int32" })];
  const { cache, params_axes: _, ...made } = inContext(() => model.init(random.key(0), ids, start));
  const variables = isFp8 ? inFp8(made, recipe) : made;
  let state = { cache, start, ids: zeros([1, 1], { dtype: "int32" }) };
  const advance = jit(
    ({ cache, start, ids }: typeof state, v: Variables): typeof state => {
      const [logits, changed] = model.apply({ ...v, cache: cache! }, ids, start, { mutable: ["cache"] });
      return { cache: changed.cache, start: start.add(1), ids: logits.astype("float32").argmax(-1) };
    },
    { donateArgnums: [0] },
  );
  const read = tree.leavesWithPath(variables.params).filter(({ path }) => path[0] !== "wpe");
  return {
    step() {
      state = inContext(() => advance(state, variables));
      return state.ids;
    },
    weightBytes: read.reduce((sum, { leaf }) => sum + byteSize(leaf as Tensor), 0),
    dispose: () => disposeAll([state, variables]),
  };
}

/** The variables with all that is multiplied in FP8; frees the wide ones. */
function inFp8(made: Variables, recipe: DelayedScaling): Variables {
  const quantized = quantizeKernels(made, recipe);
  const { q, scaleInv } = quantizeWith(null, made.params.wte as Tensor, "float8_e4m3fn");
  const variables = {
    params: { ...quantized.params, wte: q },
    fp8_metas: { ...quantized.fp8_metas, wte_scale_inv: scaleInv },
  };
  const kept = new Set(tree.leaves(variables));
  for (const leaf of tree.leaves(made)) if (!kept.has(leaf)) (leaf as Tensor).dispose();
  return variables;
}
