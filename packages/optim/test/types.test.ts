/** Optimizers take and give trees of one type. Nothing runs: tsc judges this file. */
import { grad, type Tensor, type Tree, tree } from "@te/tensor";
import { expectTypeOf, test } from "vitest";
import {
  type AdamState,
  adamw,
  applyUpdates,
  chain,
  clipByGlobalNorm,
  type EmptyState,
  globalNorm,
} from "../src/index.js";

declare const x: Tensor;
/** Type-checks `body` without running it. */
const only = (_body: () => unknown): void => {};

interface Params {
  readonly w: Tensor;
  readonly bias?: Tensor;
  readonly layers: readonly { kernel: Tensor }[];
}
type Nested = { [name: string]: Tensor | Nested };
declare const params: Params;
declare const nested: Nested;

test("updates and parameters keep the type of the tree", () =>
  only(() => {
    const optimizer = adamw({ learningRate: 1 });
    const gradients = grad((p: Params) => p.w.sum())(params);
    const [updates, state] = optimizer.update(gradients, optimizer.init(params), params);
    expectTypeOf(updates).toEqualTypeOf<Params>();
    expectTypeOf(state).toEqualTypeOf<AdamState>();
    expectTypeOf(applyUpdates(params, updates)).toEqualTypeOf<Params>();
    expectTypeOf(applyUpdates(nested, nested)).toEqualTypeOf<Nested>();
    expectTypeOf(globalNorm([x, { x }, null])).toEqualTypeOf<Tensor>();
    const step = <P extends Tree<Tensor>>(p: P): P => applyUpdates(p, p);
    expectTypeOf(step({ w: x })).toEqualTypeOf<{ w: Tensor }>();
  }));

test("chain has the states of its parts", () =>
  only(() => {
    const optimizer = chain(clipByGlobalNorm(1), adamw({ learningRate: 1 }));
    const state = optimizer.init(nested);
    expectTypeOf(state[0]).toEqualTypeOf<EmptyState>();
    expectTypeOf(state[1]).toEqualTypeOf<AdamState>();
  }));

test("a mask is a tree of booleans or makes one", () =>
  only(() => {
    adamw({ learningRate: 1, mask: { w: true, layers: [false] } });
    adamw({ learningRate: 1, mask: (params: Tree<Tensor>) => tree.map((p) => p.rank > 1, params) });
    adamw({ learningRate: 1, mask: (p: Nested) => tree.map((p) => p.rank > 1, p) });
    // @ts-expect-error: numbers
    adamw({ learningRate: 1, mask: { w: 1 } });
  }));

test("mistakes", () =>
  only(() => {
    const optimizer = adamw({ learningRate: 1 });
    const state = optimizer.init(params);
    // @ts-expect-error: a number is no parameter
    optimizer.init({ w: 3 });
    // @ts-expect-error: gradients and state swapped
    optimizer.update(state, params, params);
    // @ts-expect-error: parameters of another structure
    optimizer.update(params, state, { v: x });
    // @ts-expect-error: updates of another structure
    applyUpdates(params, { v: x });
    // @ts-expect-error: the state of another optimizer
    optimizer.update(params, chain(optimizer).init(params), params);
    // @ts-expect-error: text
    globalNorm({ w: x, name: "layer" });
  }));
