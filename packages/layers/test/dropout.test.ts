/** Dropout: which elements go, how often, and from which key. */
import { ones, random, setDevice, type Tensor, vjp } from "@te/tensor";
import { FLOATS } from "@te/tensor/op";
import { expectError, findBitDifference, normals, onEachDevice, presentDevices, valuesOf } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { Dropout, LayerNormMLP } from "../src/index.js";

const rngs = { dropout: random.key(7) };
const values = (t: Tensor): number[] => [...(valuesOf(t).values as Float64Array)];

onEachDevice(() => {
  describe("Dropout", () => {
    test.each(FLOATS)("%s: kept elements are scaled, the others are zero, at the rate asked for", (dtype) => {
      for (const rate of [0.1, 0.5]) {
        const size = 20_000;
        const y = values(new Dropout({ rate }).apply({}, ones([100, 200], { dtype }), { rngs }));
        const kept = y.filter((v) => v !== 0);
        const [low, high] = [Math.min(...kept), Math.max(...kept)];
        expect(low, "every kept element is scaled alike").toBe(high);
        expect(high).toBeCloseTo(1 / (1 - rate), dtype === "bfloat16" ? 2 : 3);
        const deviation = Math.sqrt(size * rate * (1 - rate));
        expect(Math.abs(kept.length - size * (1 - rate))).toBeLessThan(4 * deviation);
      }
    });

    test("one key gives one mask, another key another, a second module in the same pass another", () => {
      const module = new Dropout({ rate: 0.5 });
      const x = normals([16, 16]);
      const y = module.apply({}, x, { rngs });
      expect(findBitDifference(module.apply({}, x, { rngs }), y)).toBeUndefined();
      expect(findBitDifference(module.apply({}, x, { rngs: { dropout: random.key(8) } }), y)).toBeDefined();
    });

    test("deterministic, or with rate 0, it is the identity and needs no key", () => {
      const x = normals([4, 4]);
      expect(findBitDifference(new Dropout({ rate: 0.5 }).apply({}, x, { deterministic: true }), x)).toBeUndefined();
      expect(findBitDifference(new Dropout({ rate: 0 }).apply({}, x), x)).toBeUndefined();
    });

    test("rate 1 gives zeros", () => {
      const y = new Dropout({ rate: 1 }).apply({}, normals([4, 4]), { rngs });
      expect(values(y).every((v) => v === 0)).toBe(true);
    });

    test.each([[[0]], [[1]], [[-1]], [[0, 2]], [[0, 1, 2]]])("broadcast dims %j share one draw", (broadcastDims) => {
      const [a, b, c] = [6, 7, 8];
      const y = values(new Dropout({ rate: 0.5, broadcastDims }).apply({}, ones([a, b, c]), { rngs }));
      const shared = new Set(broadcastDims.map((d) => (d < 0 ? d + 3 : d)));
      const at = (i: number, j: number, k: number) => y[(i * b + j) * c + k];
      for (let i = 0; i < a; i++)
        for (let j = 0; j < b; j++)
          for (let k = 0; k < c; k++) {
            expect(at(i, j, k)).toBe(at(shared.has(0) ? 0 : i, shared.has(1) ? 0 : j, shared.has(2) ? 0 : k));
          }
      if (shared.size < 3) expect(new Set(y).size, "some are dropped, some are not").toBe(2);
    });

    test("the gradient passes where the value did", () => {
      const module = new Dropout({ rate: 0.4 });
      const [y, pull] = vjp((x: Tensor) => module.apply({}, x, { rngs }), ones([32, 32]));
      const [dx] = pull(ones([32, 32])) as [Tensor];
      expect(findBitDifference(dx, y)).toBeUndefined();
    });
  });

  describe("LayerNormMLP", () => {
    const x = normals([3, 5, 16]);
    const options = { intermediateDim: 256, intermediateDropoutRate: 0.5 };

    test("drops between the products, with broadcast dims and a stream of its own", () => {
      const module = new LayerNormMLP({
        ...options,
        intermediateDropoutRngName: "mine",
        intermediateHiddenDropoutDims: [0, -2],
      });
      const variables = module.init({ params: random.key(0), mine: random.key(1) }, x);
      expectError("option", /random stream "mine"/, () => module.apply(variables, x, { rngs }));
      const full = module.apply(variables, x, { deterministic: true })[0];
      const dropped = module.apply(variables, x, { rngs: { mine: random.key(1) } })[0];
      expect(findBitDifference(dropped, full)).toBeDefined();
      // One mask for all rows: rows that are equal stay equal.
      const same = normals([1, 1, 16]).broadcastTo([3, 5, 16]);
      const rows = values(module.apply(variables, same, { rngs: { mine: random.key(1) } })[0]);
      expect(rows).toEqual(rows.map((_, i) => rows[i % 16]));
    });

    test("without broadcast dims rows differ", () => {
      const module = new LayerNormMLP(options);
      const variables = module.init(random.key(0), x);
      const same = normals([1, 1, 16]).broadcastTo([3, 5, 16]);
      const rows = values(module.apply(variables, same, { rngs })[0]);
      expect(rows.slice(0, 16)).not.toEqual(rows.slice(16, 32));
    });
  });
});

test("every device drops the same elements", () => {
  const x = normals([33, 65]);
  const masks = presentDevices().map((device) => {
    setDevice(device);
    return values(new Dropout({ rate: 0.3 }).apply({}, x, { rngs })).map((v) => v === 0);
  });
  setDevice("auto");
  for (const mask of masks) expect(mask).toEqual(masks[0]);
});
