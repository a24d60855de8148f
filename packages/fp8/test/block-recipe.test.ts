/** Recipes from outside of the package: one with a scale per block, and what recipes must keep to. */
import { type Tensor, tensor, vjp } from "@te/tensor";
import { errorN, expectError, normals, valuesOf } from "@te/testkit";
import { describe, expect, test } from "vitest";
import {
  autocast,
  currentRecipe,
  DelayedScaling,
  fp8DotGeneral,
  type ProductMetas,
  productMetas,
  type Recipe,
} from "../src/index.js";
import { BlockScaling, dequantizeBlocks } from "./block-recipe.js";

const recipe = new BlockScaling();
const metas = productMetas(recipe, () => expect.fail("no variables"));
const AXES = { lhsContract: [1], rhsContract: [0] };

describe("a recipe with a scale per block", () => {
  test("takes the largest element of a block below the largest number, with a power of two", async () => {
    const x = tensor([[...Array(32).fill(448), 449, 1, 3.5]]);
    const made = recipe.quantizer().quantize(x, null, [1]);
    expect(await made.scaleInv.toArray()).toEqual([[1, 2]]);
    expect(made.q.shape).toEqual(x.shape);
    expect(await dequantizeBlocks(made, [1]).slice([0, 32], [1, 35]).toArray()).toEqual([[448, 1, 3.5]]);
    expect(
      await recipe
        .quantizer()
        .quantize(tensor([0, 0]), null, [0])
        .scaleInv.toArray(),
    ).toEqual([2 ** -126]);
  });

  test("keeps blocks of very different sizes apart, where one scale would lose the small ones", () => {
    const small = normals([8, 64], { seed: 1 }).mul(1e-5);
    const x = small.add(tensor([...Array(32).fill(0), ...Array(32).fill(1000)]));
    const kernel = normals([64, 16], { seed: 2 });
    const part = (r: Recipe, m: ProductMetas): Float64Array => {
      const first = tensor([...Array(32).fill(1), ...Array(32).fill(0)]).reshape([64, 1]);
      return valuesOf(fp8DotGeneral(x, kernel.mul(first), m, AXES, { recipe: r })).values as Float64Array;
    };
    const exact = valuesOf(x.slice([0, 0], [8, 32]).matmul(kernel.slice([0, 0], [32, 16]))).values;
    expect(errorN(part(recipe, metas), exact)).toBeLessThan(0.06);
    const whole = new DelayedScaling();
    expect(
      errorN(
        part(
          whole,
          productMetas(whole, (_, init) => init()),
        ),
        exact,
      ),
    ).toBeGreaterThan(0.5);
  });

  test("multiplies over any axes, and rounds every operand along those of each of its products", () => {
    const [x, kernel] = [normals([4, 6, 5, 8], { seed: 3 }), normals([7, 8, 3, 6], { seed: 4 })];
    const dy = normals([4, 5, 7, 3], { seed: 5 });
    const axes = { lhsContract: [3, 1], rhsContract: [1, 3] };
    const seen: string[] = [];
    const noting: Recipe<null> = {
      fromFloat32: false,
      toString: () => "noting",
      dot: (...args) => recipe.dot(...args),
      quantizer(role) {
        const quantizer = recipe.quantizer();
        return {
          ...quantizer,
          quantize(x, state, along) {
            seen.push(`${role} [${along}]`);
            return quantizer.quantize(x, state, along);
          },
        };
      },
    };
    const [y, pull] = vjp(
      (x: Tensor, kernel: Tensor) => fp8DotGeneral(x, kernel, metas, axes, { recipe: noting }),
      x,
      kernel,
    );
    const [dx, dkernel] = pull(dy) as [Tensor, Tensor];
    const left = x.transpose([0, 2, 3, 1]).reshape([20, 48]);
    const right = kernel.transpose([1, 3, 0, 2]).reshape([48, 21]);
    const g = dy.reshape([20, 21]);
    const expected = {
      y: [y, left.matmul(right).reshape([4, 5, 7, 3])],
      dx: [dx, g.matmul(right.T).reshape([4, 5, 8, 6]).transpose([0, 3, 1, 2])],
      dkernel: [dkernel, left.T.matmul(g).reshape([8, 6, 7, 3]).transpose([2, 0, 3, 1])],
    } as const;
    for (const [name, [actual, exact]] of Object.entries(expected)) {
      const error = errorN(valuesOf(actual).values, valuesOf(exact).values);
      expect(error, name).toBeLessThan(0.06);
      expect(error, name).toBeGreaterThan(1e-3);
    }
    const wanted = ["x [3,1]", "x [0,2]", "kernel [1,3]", "kernel [0,2]", "grad [2,3]", "grad [0,1]"];
    expect(new Set(seen)).toEqual(new Set(wanted));
  });
});

describe("recipes from outside", () => {
  test("are in force as they are", () => {
    expect(autocast({ enabled: true, recipe }, currentRecipe)).toBe(recipe);
  });

  test.each<[string, object]>([
    ["a product", { quantizer: () => 0, fromFloat32: true, toString: () => "" }],
    ["a quantizer", { dot: () => 0, fromFloat32: true, toString: () => "" }],
    ["where it rounds from", { quantizer: () => 0, dot: () => 0, toString: () => "" }],
    ["a text of their own", { quantizer: () => 0, dot: () => 0, fromFloat32: true }],
  ])("must have %s", (_, value) => {
    expectError("option", /the recipe must be a DelayedScaling or Float8CurrentScaling, got /, () =>
      autocast({ enabled: true, recipe: value as never }, () => 0),
    );
  });

  test.each<[string, object, RegExp]>([
    [
      "another type",
      { dtype: "float8_e5m2" },
      /the quantizer of x must make float8_e5m2, as its dtype says, got float8_e4m3fn/,
    ],
    ["scales of another shape", { scaleShape: () => [1] }, /scaleInv of x must have shape \[1\], got float32\[8,2\]/],
  ])("must keep to what their quantizers say: %s", (_, other, message) => {
    const wrong: Recipe<null> = {
      fromFloat32: false,
      toString: () => "wrong",
      dot: (...args) => recipe.dot(...args),
      quantizer: () => ({ ...recipe.quantizer(), ...other }),
    };
    expectError("state", message, () =>
      fp8DotGeneral(normals([8, 64]), normals([64, 4]), metas, AXES, { recipe: wrong }),
    );
  });

  test("metas must be those of the recipe", () => {
    expectError("option", /metas.x must be an object, got null/, () =>
      fp8DotGeneral(normals([8, 64]), normals([64, 4]), metas, AXES, { recipe: new DelayedScaling() }),
    );
  });
});
