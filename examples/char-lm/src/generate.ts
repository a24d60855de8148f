/** Text from a trained model, one character at a time, with a KV cache. */
import type { Variables, VariableTree } from "@te/layers";
import { jit, random, type Tensor, tensor, zeros } from "@te/tensor";
import type { CharModel } from "./model.js";
import { disposeAll, inPrecision, type Precision } from "./train.js";

export interface GenerateOptions {
  /** At least one id. Prompt and continuation together are as long as the model's sequence at most. */
  readonly prompt: Int32Array;
  /** How many ids to generate. */
  readonly count: number;
  /** Divides the logits; 0 takes the most probable id. */
  readonly temperature: number;
  readonly key: Tensor;
  /** Called with each id in turn as it becomes known. */
  readonly onId?: (id: number) => void;
}

interface DecodeState {
  readonly cache: VariableTree;
  readonly key: Tensor;
}

/** The keys and values of no characters yet, for `sequence` of them. */
export function emptyCache(model: CharModel, precision: Precision): VariableTree {
  const ids = zeros([1, model.config.sequence], { dtype: "int32" });
  const { cache, ...rest } = inPrecision(precision, () => model.init(random.key(0), ids, { decode: true }));
  const { params_axes: _, ...tensors } = rest;
  disposeAll(tensors);
  return cache!;
}

/**
 * The jit step (state, variables, ids int32 [1, n]) → [next state, id int32 [1, 1]]: reads n new ids into the cache and
 * draws the one that follows. The state is donated. n is the prompt's length first and 1 from then on.
 */
function createDecodeStep(model: CharModel, temperature: number) {
  return jit(
    ({ cache, key }: DecodeState, variables: Variables, ids: Tensor): [DecodeState, Tensor] => {
      const [logits, changed] = model.apply({ ...variables, cache }, ids, { decode: true, mutable: ["cache"] });
      const last = logits
        .slice([0, ids.shape[1]! - 1, 0], [1, ids.shape[1]!, model.config.vocabulary])
        .astype("float32");
      const [next, use] = random.split(key) as [Tensor, Tensor];
      const id = temperature === 0 ? last.argmax(-1) : random.categorical(use, last.div(temperature));
      return [{ cache: changed.cache, key: next }, id];
    },
    { donateArgnums: [0] },
  );
}

/** Continues a prompt; gives the new ids. Step k + 1 is on its way before the id of step k is read. */
export async function generate(
  model: CharModel,
  precision: Precision,
  variables: Variables,
  { prompt, count, temperature, key, onId }: GenerateOptions,
): Promise<Int32Array> {
  const room = model.config.sequence - prompt.length;
  if (prompt.length === 0 || count > room) {
    throw new RangeError(
      `generate: prompt and continuation must fit into ${model.config.sequence} ids, got ${prompt.length} + ${count}.`,
    );
  }
  const step = createDecodeStep(model, temperature);
  const found = new Int32Array(count);
  let pending: Promise<void> = Promise.resolve();
  let ids = tensor(prompt, { shape: [1, prompt.length] });
  // A key of its own: the state is donated.
  let state: DecodeState = { cache: emptyCache(model, precision), key: random.foldIn(key, 0) };
  for (let i = 0; i < count; i++) {
    const used = ids;
    [state, ids] = inPrecision(precision, () => step(state, variables, used));
    used.dispose();
    const reading = ids.item().then((id) => {
      found[i] = id;
      onId?.(id);
    });
    await pending;
    pending = reading;
  }
  await pending;
  disposeAll([state, ids]);
  return found;
}
