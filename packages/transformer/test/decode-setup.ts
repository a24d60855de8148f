/** A layer with a cache, and feeding it in chunks. */
import type { Module, Variables, VariableTree } from "@te/layers";
import { concat, jit, random, Tensor } from "@te/tensor";
import { normals, perturbed } from "@te/testkit";
import { expect } from "vitest";
import { TransformerLayer, type TransformerLayerOptions, TransformerLayerType } from "../src/index.js";

export const LENGTH = 9;
export const base: TransformerLayerOptions = {
  hiddenSize: 16,
  mlpHiddenSize: 32,
  numAttentionHeads: 4,
  hiddenDropout: 0,
  attentionDropout: 0,
};

/** encoded, attentionMask and encoderDecoderMask of a call, as far as they are given. */
export type Extra = readonly (Tensor | null)[];

export interface Setting {
  readonly layer: TransformerLayer;
  readonly x: Tensor;
  readonly variables: Variables;
  readonly axis: number;
  readonly extra: Extra;
}

export function setUp(options: TransformerLayerOptions, extra: Extra = []): Setting {
  const layer = new TransformerLayer({ ...base, ...options });
  const axis = options.transposeBatchSequence ? 0 : 1;
  const x = normals(axis === 0 ? [LENGTH, 2, 16] : [2, LENGTH, 16]);
  const made = (layer as Module).init(random.key(0), x, ...extra, { decode: true });
  return { layer, x, variables: { ...made, params: perturbed(made.params) }, axis, extra };
}

export const rows = (x: Tensor, axis: number, from: number, to: number): Tensor =>
  x.slice(
    x.shape.map((_, i) => (i === axis ? from : 0)),
    x.shape.map((d, i) => (i === axis ? to : d)),
  );

/** Feeds chunks of these lengths, with the cache carried along. */
export function decode(
  { layer, x, variables, axis, extra }: Setting,
  chunks: readonly number[],
  mask?: Tensor,
): Tensor {
  const step = jit((variables: Variables, fresh: Tensor, mask: Tensor | null) =>
    layer.apply(variables, fresh, extra[0] ?? null, mask, extra[2] ?? null, {
      decode: true,
      maxDecodeLength: LENGTH,
      mutable: ["cache"],
    }),
  );
  const parts: Tensor[] = [];
  let [at, cache] = [0, variables.cache!];
  for (const count of chunks) {
    const [y, changed] = step(
      { ...variables, cache },
      rows(x, axis, at, at + count),
      mask ? rows(mask, 2, at, at + count) : null,
    );
    parts.push(y);
    cache = changed.cache;
    at += count;
  }
  const name = layer.layerType === TransformerLayerType.DECODER ? "self_attention" : "attention";
  expect(tensorIn(cache, name, "cache_index").dataSync()[0]).toBe(at);
  return concat(parts, axis);
}

/** The variable at this path. */
export function tensorIn(tree: VariableTree, ...path: string[]): Tensor {
  const at = path.reduce<Tensor | VariableTree | undefined>((at, name) => (at as VariableTree)[name], tree);
  if (!(at instanceof Tensor)) throw new Error(`no variable ${path.join("/")}`);
  return at;
}

export const ones = (n: number): number[] => Array(n).fill(1);
