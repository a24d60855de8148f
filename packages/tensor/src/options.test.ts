/** Options objects: defaults, and unknown names that are answered with the nearest known one. */
import { expect, test } from "vitest";
import { checkpoint, grad, jit, TeError, type Tensor } from "./index.js";
import { checkOptions, withDefaults } from "./options.js";

interface Options {
  features: number;
  useBias?: boolean;
  axis?: number | null;
  dropoutRngName?: string;
}
const defaults = { features: undefined, useBias: false, axis: -1, dropoutRngName: "dropout" };
const known = Object.keys(defaults);

test("what is left out or undefined takes its default; null stays", () => {
  const given: Options = { features: 3, useBias: undefined, axis: null };
  expect(withDefaults("f", given, defaults)).toEqual({
    features: 3,
    useBias: false,
    axis: null,
    dropoutRngName: "dropout",
  });
});

test.each([
  ["use_bias", "Did you mean useBias\\? Options: features, useBias, axis, dropoutRngName\\.$"],
  ["usebias", "Did you mean useBias\\?"],
  ["feature", "Did you mean features\\?"],
  ["aixs", "Did you mean axis\\?"],
  ["axes", "Did you mean axis\\?"],
  ["dropout", "Did you mean dropoutRngName\\?"],
  ["mask", "Options: features"],
])("an unknown option %s", (name, message) => {
  const fails = () => checkOptions("DenseGeneral", { [name]: 1 }, known);
  expect(fails).toThrow(new RegExp(`^DenseGeneral: unknown option ${name}\\. ${message}`));
  expect(fails).toThrow(TeError);
});

test.each([[null], [3], [[]], [undefined]])("options that are no object: %j", (options) => {
  expect(() => checkOptions("f", options as never, known)).toThrow(/f: options must be an object.*Options: features/);
});

test("the functions of this package", () => {
  const f = (x: Tensor) => x;
  expect(() => jit(f, { donateArgnum: [0] } as never)).toThrow(
    /jit: unknown option donateArgnum\. Did you mean donateArgnums\?/,
  );
  expect(() => grad(f, { argNums: 0 } as never)).toThrow(/grad: unknown option argNums\. Did you mean argnums\?/);
  expect(() => checkpoint(f, { polcy: 0 } as never)).toThrow(
    /checkpoint: unknown option polcy\. Did you mean policy\?/,
  );
});
