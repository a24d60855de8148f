/** What init and apply take and give, inferred from a module's call. Nothing runs: tsc judges this file. */
import { updateCollections } from "@te/fp8";
import { grad, type Tensor, valueAndGrad } from "@te/tensor";
import { expectTypeOf, test } from "vitest";
import {
  type AxesTree,
  checkVariables,
  DenseGeneral,
  type Dropout,
  LayerNormMLP,
  Module,
  type Rngs,
  type Variables,
  type VariableTree,
} from "../src/index.js";

declare const x: Tensor;
declare const key: Tensor;
/** Type-checks `body` without running it. */
const only = (_body: () => unknown): void => {};

/** Options may follow any argument from the first on. */
class Attend extends Module {
  override get optionsPosition(): number {
    return 3;
  }
  call(x: Tensor, mask?: Tensor | null, bias?: Tensor, { scale = 1 }: { scale?: number } = {}): [Tensor, Tensor] {
    return [x.mul(scale), mask ?? bias ?? x];
  }
}

/** Options stand where call has them. */
class Fixed extends Module {
  call(x: Tensor, mask?: Tensor, { scale = 1 }: { scale?: number } = {}): Tensor {
    return x.mul(mask ?? scale);
  }
}

class Sum extends Module {
  call(...all: Tensor[]): Tensor {
    return all.reduce((a, b) => a.add(b));
  }
}

class Table extends Module {
  call(): { table: Tensor } {
    return { table: x };
  }
}

declare const dense: DenseGeneral;
declare const dropout: Dropout;
declare const attend: Attend;
declare const fixed: Fixed;
declare const sum: Sum;
declare const table: Table;
declare const any: Module;
declare const variables: Variables;

test("variables are trees of tensors by collection", () =>
  only(() => {
    const made = dense.init(key, x);
    expectTypeOf(made).toEqualTypeOf<Variables>();
    expectTypeOf(made.params).toEqualTypeOf<VariableTree>();
    expectTypeOf(made.params_axes).toEqualTypeOf<AxesTree | undefined>();
    expectTypeOf(made.fp8_metas).toEqualTypeOf<VariableTree | undefined>();
    dense.apply({ params: { kernel: x } }, x);
    dropout.apply({}, x, { deterministic: true });
    // @ts-expect-error: a number is no variable
    dense.apply({ params: { kernel: 3 } }, x);
    // @ts-expect-error: collections hold variables by name
    dense.apply({ params: x }, x);
  }));

test("a gradient by variables has their type; updateCollections keeps it", () =>
  only(() => {
    const loss = (v: Variables): Tensor => dense.apply(v, x).sum();
    expectTypeOf(grad(loss)(variables)).toEqualTypeOf<Variables>();
    const [, { params, fp8_metas }] = valueAndGrad(loss)(variables);
    const next: Variables = updateCollections({ params, fp8_metas }, variables);
    expectTypeOf(updateCollections({ params: { w: x } }, next).params).toEqualTypeOf<{ w: Tensor }>();
    const { params_axes: _, ...tensors } = variables;
    const again: Variables = tensors;
    return again;
  }));

test("the result is that of call", () =>
  only(() => {
    expectTypeOf(dense.apply(variables, x)).toEqualTypeOf<Tensor>();
    expectTypeOf(attend.apply(variables, x)).toEqualTypeOf<[Tensor, Tensor]>();
    expectTypeOf(table.apply(variables)).toEqualTypeOf<{ table: Tensor }>();
    expectTypeOf(any.apply(variables, x, 3, { mutable: ["cache"] })).toBeAny();
  }));

test("with mutable the result comes with the collections that it names", () =>
  only(() => {
    const [y, changed] = attend.apply(variables, x, { mutable: ["cache", "mine"], scale: 2 });
    expectTypeOf(y).toEqualTypeOf<[Tensor, Tensor]>();
    expectTypeOf(changed).toEqualTypeOf<{ cache: VariableTree; mine: VariableTree }>();
    const options = { mutable: ["cache"], scale: 2 } as const;
    expectTypeOf(attend.apply(variables, x, null, x, options)[1]).toEqualTypeOf<{ cache: VariableTree }>();
    expectTypeOf(table.apply(variables, { mutable: ["params_axes"] })[1].params_axes).toEqualTypeOf<AxesTree>();
    // @ts-expect-error: another collection
    changed.params;
    // @ts-expect-error: mutable is a list
    attend.apply(variables, x, { mutable: "cache" });
  }));

test("arguments are those of call; options follow the last one given", () =>
  only(() => {
    const rngs: Rngs = { dropout: key };
    attend.apply(variables, x, { scale: 2, rngs });
    attend.apply(variables, x, null, { scale: 2 });
    attend.apply(variables, x, undefined, x, { scale: 2 });
    attend.apply(variables, x, undefined, { rngs });
    attend.init(rngs, x, { scale: 2 });
    attend.init(rngs, x, null, x, { scale: 2 });
    attend.checkVariables(variables, x, { scale: 2 });
    fixed.apply(variables, x, x, { scale: 2, rngs });
    fixed.apply(variables, x, { rngs });
    sum.apply(variables, x, x, x, { rngs });
    table.apply(variables, { rngs });
    any.init(key, 3, "x", { anything: true });
    // @ts-expect-error: an argument is missing
    dense.apply(variables);
    // @ts-expect-error: an argument is missing
    dense.init(key);
    // @ts-expect-error: one argument too many
    dense.apply(variables, x, x);
    // @ts-expect-error: an argument of another type
    dense.checkVariables(variables, [1, 2]);
    // @ts-expect-error: the option is scale
    attend.apply(variables, x, { scael: 2 });
    // @ts-expect-error: scale is a number
    attend.init(key, x, { scale: "2" });
    // @ts-expect-error: options are the last argument
    attend.apply(variables, x, { scale: 2 }, x);
    // @ts-expect-error: a module that does not know the place of its options takes them there only
    fixed.apply(variables, x, { scale: 2 });
    // @ts-expect-error: rngs and mutable are for apply
    fixed.init(key, x, { rngs });
    // @ts-expect-error: a stream is a key
    dropout.apply({}, x, { rngs: { dropout: 3 } });
    // @ts-expect-error: the call takes tensors
    sum.apply(variables, x, 3);
  }));

test("the layers of this package", () =>
  only(() => {
    const mlp = new LayerNormMLP({ intermediateDim: 8 });
    expectTypeOf(mlp.apply(variables, x, { deterministic: true })[0]).toEqualTypeOf<Tensor>();
    expectTypeOf<DenseGeneral>().toExtend<Module>();
    checkVariables(new DenseGeneral({ features: 4 }).init(key, x), variables);
    // @ts-expect-error: the option is deterministic
    mlp.apply(variables, x, { determinstic: true });
  }));
