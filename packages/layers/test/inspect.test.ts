/** Modules as text: in console.log, in strings, and inside of other objects. */
import { inspect } from "node:util";
import type { Tensor } from "@te/tensor";
import { expect, test } from "vitest";
import { DenseGeneral, LayerNorm, Module, ones } from "../src/index.js";

class Block extends Module {
  readonly norm = new LayerNorm({ epsilon: 1e-6, layernormType: "rmsnorm" });
  readonly layers = [2, 3].map((features) => new DenseGeneral({ features }));
  call(x: Tensor): Tensor {
    return this.layers.reduce((x, layer) => layer.call(x), this.norm.call(x));
  }
}

test("the options that are not at their defaults", () => {
  expect(`${new LayerNorm()}`).toBe("LayerNorm {}");
  const options = { features: 3, useBias: true, axis: -1, kernelAxes: [], biasInit: ones, name: "out" };
  const text = "DenseGeneral { features: 3, useBias: true, biasInit: [Function: ones], name: 'out' }";
  expect(inspect(new DenseGeneral(options), { breakLength: 200 })).toBe(text);
  expect(String(new DenseGeneral(options))).toBe(text);
});

test("submodules in properties", () => {
  expect(String(new Block())).toBe(
    "Block { norm: LayerNorm { layernormType: 'rmsnorm' }, layers: [ DenseGeneral { features: 2 }, DenseGeneral { features: 3 } ] }",
  );
  expect(inspect({ a: { b: { c: new Block() } } })).toContain("[Block]");
  expect(inspect({ block: new Block() }, { depth: 1, breakLength: 200 })).toBe(
    "{ block: Block { norm: [LayerNorm], layers: [Array] } }",
  );
});
