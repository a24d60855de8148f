/** The types that transformations infer from a function, and the mistakes that they refuse. Nothing runs: tsc judges this file. */
import {
  type Aval,
  checkpoint,
  customVjp,
  evalShape,
  grad,
  jit,
  makeProgram,
  type Tensor,
  type Tree,
  tree,
  valueAndGrad,
  vjp,
} from "@te/tensor";
import type { Program } from "@te/tensor/backend";
import { describe, expectTypeOf, test } from "vitest";

declare const x: Tensor;
/** Type-checks `body` without running it. */
const only = (_body: () => unknown): void => {};

interface Params {
  readonly w: Tensor;
  readonly bias?: Tensor;
}
type Nested = { [name: string]: Tensor | Nested };

const loss = (w: { a: Tensor }, x: Tensor): Tensor => w.a.mul(x).sum();
const withAux = (w: { a: Tensor }, x: Tensor) => [w.a.mul(x).sum(), { seen: x, step: 3 }] as const;

describe("grad", () => {
  test("the gradient is a tree like argument 0, or like those that argnums names", () =>
    only(() => {
      expectTypeOf(grad(loss)({ a: x }, x)).toEqualTypeOf<{ a: Tensor }>();
      expectTypeOf(grad(loss, { argnums: 1 })({ a: x }, x)).toEqualTypeOf<Tensor>();
      expectTypeOf(grad(loss, { argnums: [1, 0] })({ a: x }, x)).toEqualTypeOf<[Tensor, { a: Tensor }]>();
      expectTypeOf(grad((...all: Tensor[]) => all[0]!, { argnums: [0, 5] })(x)).toEqualTypeOf<[Tensor, Tensor]>();
      expectTypeOf(grad((p: Params) => p.w)({ w: x })).toEqualTypeOf<Params>();
      expectTypeOf(grad((p: Nested) => x.mul(Object.keys(p).length))({})).toEqualTypeOf<Nested>();
    }));
  test("numbers become tensors; names, booleans and null stay", () =>
    only(() => {
      const f = (p: { k: number; list: [Tensor, number]; name: "relu"; on: boolean; none: null }) => p.list[0];
      const given = { k: 1, list: [x, 2] as [Tensor, number], name: "relu" as const, on: true, none: null };
      expectTypeOf(grad(f)(given)).toEqualTypeOf<{
        k: Tensor;
        list: [Tensor, Tensor];
        name: "relu";
        on: boolean;
        none: null;
      }>();
    }));
  test("a number may be given for a tensor", () =>
    only(() => {
      expectTypeOf(grad(loss)({ a: 2 }, 3)).toEqualTypeOf<{ a: Tensor }>();
      expectTypeOf(grad((k: Tensor) => k.mul(k))(3)).toEqualTypeOf<Tensor>();
    }));
  test("hasAux", () =>
    only(() => {
      type Aux = { seen: Tensor; step: number };
      const [gradient, aux] = grad(withAux, { hasAux: true })({ a: x }, x);
      expectTypeOf(gradient).toEqualTypeOf<{ a: Tensor }>();
      expectTypeOf(aux).toMatchTypeOf<Aux>();
      const [, inPlace] = grad((p: Tensor) => [p.sum(), { p }], { hasAux: true })(x);
      expectTypeOf(inPlace).toEqualTypeOf<{ p: Tensor }>();
      const [[value, again], both] = valueAndGrad(withAux, { argnums: [0, 1], hasAux: true })({ a: x }, x);
      expectTypeOf(value).toEqualTypeOf<Tensor>();
      expectTypeOf(again).toMatchTypeOf<Aux>();
      expectTypeOf(both).toEqualTypeOf<[{ a: Tensor }, Tensor]>();
    }));
  test("of a gradient, and of a function of any tree", () =>
    only(() => {
      expectTypeOf(grad((x: Tensor) => grad((x: Tensor) => x.pow(3).sum())(x).sum())(x)).toEqualTypeOf<Tensor>();
      const step = <P>(f: (params: P) => Tensor, params: P) => valueAndGrad(f)(params)[1];
      expectTypeOf(step((p: Params) => p.w, {} as Params)).toEqualTypeOf<Params>();
    }));
  test("valueAndGrad", () =>
    only(() => {
      expectTypeOf(valueAndGrad(loss)({ a: x }, x)).toEqualTypeOf<[value: Tensor, gradient: { a: Tensor }]>();
      expectTypeOf(jit(valueAndGrad(loss))({ a: x }, x)).toEqualTypeOf<[value: Tensor, gradient: { a: Tensor }]>();
    }));
  test("mistakes", () =>
    only(() => {
      // @ts-expect-error: f returns no tensor
      grad((x: Tensor) => x.shape);
      // @ts-expect-error: f returns a pair, and hasAux is missing
      grad(withAux);
      // @ts-expect-error: f returns no pair
      grad(loss, { hasAux: true });
      // @ts-expect-error: an asynchronous f
      grad(async (x: Tensor) => x);
      // @ts-expect-error: there are two arguments
      grad(loss, { argnums: 2 });
      // @ts-expect-error: there are two arguments
      valueAndGrad(loss, { argnums: [0, 2] });
      // @ts-expect-error: positions count from the front
      grad(loss, { argnums: -1 });
      // @ts-expect-error: the option is argnums
      grad(loss, { argNums: 1 });
      // @ts-expect-error: another tree
      grad(loss)({ b: x }, x);
      // @ts-expect-error: an argument is missing
      grad(loss)({ a: x });
      // @ts-expect-error: a string for a tensor
      grad(loss)({ a: "x" }, x);
      // @ts-expect-error: the gradient has no other names
      grad(loss)({ a: x }, x).b;
    }));
});

test("vjp", () =>
  only(() => {
    const [y, pull] = vjp(loss, { a: x }, x);
    expectTypeOf(y).toEqualTypeOf<Tensor>();
    expectTypeOf(pull(x)).toEqualTypeOf<[w: { a: Tensor }, x: Tensor]>();
    const [[sum, { twice }], pullBoth] = vjp((x: Tensor) => [x.sum(), { twice: x.mul(2) }], x);
    expectTypeOf([sum, twice]).toEqualTypeOf<Tensor[]>();
    expectTypeOf(pullBoth([x, { twice: x }])).toEqualTypeOf<[x: Tensor]>();
    // @ts-expect-error: a cotangent unlike the result
    pull({ y: x });
    // @ts-expect-error: a cotangent is missing
    pullBoth([x]);
    // @ts-expect-error: a primal is missing
    vjp(loss, { a: x });
    // @ts-expect-error: the result is no tensor
    vjp((x: Tensor) => x.size, x);
  }));

test("jit and checkpoint keep the type of the function; an array that it returns is a tuple", () =>
  only(() => {
    expectTypeOf(jit(loss)).toEqualTypeOf<typeof loss>();
    expectTypeOf(checkpoint(loss)).toEqualTypeOf<typeof loss>();
    const step = jit((p: Params, x: Tensor) => [p.w.mul(x), { ...p, w: x }, "name"], { donateArgnums: [0] });
    expectTypeOf(step({ w: x }, x)).toEqualTypeOf<[Tensor, { w: Tensor; bias?: Tensor }, string]>();
    expectTypeOf(jit(<T>(x: T): T => x)("a" as const)).toEqualTypeOf<"a">();
    // @ts-expect-error: another tree
    jit(loss)({ b: x }, x);
    // @ts-expect-error: not a function
    jit(x);
    // @ts-expect-error: the option is donateArgnums
    jit(loss, { donateArgnum: [0] });
  }));

test("makeProgram and evalShape", () =>
  only(() => {
    expectTypeOf(makeProgram(loss)({ a: x }, 2)).toEqualTypeOf<Program>();
    expectTypeOf(evalShape(loss, { a: x }, x)).toEqualTypeOf<Aval>();
    const shapes = evalShape((x: Tensor) => [x, { y: x, n: 3, none: null }], x);
    expectTypeOf(shapes).toEqualTypeOf<[Aval, { y: Aval; n: number; none: null }]>();
    // @ts-expect-error: an argument is missing
    makeProgram(loss)({ a: x });
    // @ts-expect-error: another tree
    evalShape(loss, x, x);
  }));

test("customVjp", () =>
  only(() => {
    const f = customVjp(
      (p: { a: Tensor; n: string }, x: Tensor) => p.a.mul(x),
      (p, x) => [p.a.mul(x), { p, x }],
      ({ p, x }, ct) => [{ a: ct.mul(x), n: p.n }, null],
    );
    expectTypeOf(f).toEqualTypeOf<(p: { a: Tensor; n: string }, x: Tensor) => Tensor>();
    const square = (x: Tensor) => x.mul(x);
    const forward = (x: Tensor) => [x.mul(x), x] as const;
    // @ts-expect-error: forward returns no pair
    customVjp(square, square, (_: unknown, ct) => [ct]);
    const another = (x: Tensor) => [[x], x] as const;
    // @ts-expect-error: forward returns another result
    customVjp(square, another, (_, ct) => [ct]);
    // @ts-expect-error: a cotangent unlike the argument
    customVjp(square, forward, (x, ct) => [{ x: ct.mul(x) }]);
    // @ts-expect-error: one cotangent too many
    customVjp(square, forward, (x, ct) => [ct.mul(x), ct]);
  }));

test("tree.map keeps the structure", () =>
  only(() => {
    const params = { w: x, list: [x, null] as [Tensor, null] };
    expectTypeOf(tree.map((t) => t.mul(2), params)).toEqualTypeOf<{ w: Tensor; list: [Tensor, null] }>();
    expectTypeOf(tree.map((t) => t.rank, params)).toEqualTypeOf<{ w: number; list: [number, null] }>();
    expectTypeOf(tree.map((t) => t.neg(), {} as Params)).toEqualTypeOf<Params>();
    expectTypeOf(tree.map((t) => t.neg(), {} as Nested)).toEqualTypeOf<Nested>();
    expectTypeOf(tree.map((t) => t.rank > 1, {} as Tree<Tensor>)).toEqualTypeOf<Tree<boolean>>();
    expectTypeOf(tree.map((a: number, b: number) => `${a + b}`, [1, 2], [3, 4])).toEqualTypeOf<string[]>();
    // @ts-expect-error: leaves are tensors
    tree.map((t: number) => t + 1, params);
  }));
