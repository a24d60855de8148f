/** grad, valueAndGrad, vjp, customVjp and stopGradient as transformations; the gradients of ops are judged with the ops. */
import "@te/kernels-cpu";
import { customVjp, grad, jit, stopGradient, type Tensor, tensor, valueAndGrad, vjp, zeros } from "@te/tensor";
import { onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { expectBits } from "./helpers.js";

const cube = (x: Tensor): Tensor => x.mul(x).mul(x).sum();

onEachDevice(() => {
  describe("grad", () => {
    test("of x³ is 3 x², and its own gradient 6 x, and 6", async () => {
      const x = tensor([1, -2, 0.5]);
      const first = grad(cube);
      const second = grad((t: Tensor) => first(t).sum());
      const third = grad((t: Tensor) => second(t).sum());
      expect(await first(x).toArray()).toEqual([3, 12, 0.75]);
      expect(await second(x).toArray()).toEqual([6, -12, 3]);
      expect(await third(x).toArray()).toEqual([6, 6, 6]);
    });

    test("has the structure of its argument; what is no float gets zeros, names stay", async () => {
      const params = { w: tensor([2]), ids: tensor([1], { dtype: "int32" }), list: [tensor([3]), null], name: "layer" };
      const g = grad((p: typeof params) => p.w.mul(p.list[0]!).sum())(params);
      expect(await g.w.toArray()).toEqual([3]);
      expect(await g.list[0]!.toArray()).toEqual([2]);
      expect([g.list[1], g.name]).toEqual([null, "layer"]);
      expect([g.ids.dtype, await g.ids.toArray()]).toEqual(["int32", [0]]);
    });

    test("has the dtype of its argument", () => {
      const g = grad((t: Tensor) => t.astype("float32").mul(2).sum())(tensor([1]).astype("bfloat16"));
      expect(g.dtype).toBe("bfloat16");
    });

    test("argnums choose arguments", async () => {
      const f = (a: Tensor, b: Tensor) => a.mul(a).mul(b).sum();
      const [a, b] = [tensor([3]), tensor([5])];
      expect(await grad(f, { argnums: 1 })(a, b).toArray()).toEqual([9]);
      const both = grad(f, { argnums: [1, 0] })(a, b);
      expect([await both[0].toArray(), await both[1].toArray()]).toEqual([[9], [30]]);
    });

    test("a tensor given twice counts in each place by itself", async () => {
      const t = tensor([3]);
      expect(await grad((a: Tensor, b: Tensor) => a.mul(b).sum())(t, t).toArray()).toEqual([3]);
    });

    test("is zero where f does not depend on the argument", async () => {
      expect(await grad((_: Tensor) => tensor(1))(tensor([1, 2])).toArray()).toEqual([0, 0]);
    });

    test("counts uses through the argument only, not through the closure", async () => {
      const t = tensor([4]);
      expect(await grad((a: Tensor) => a.mul(t).sum())(t).toArray()).toEqual([4]);
    });

    test("inside jit gives the same bits", () => {
      const x = tensor([0.3, -1.7, 2.2]);
      const f = (t: Tensor) => t.tanh().mul(t).sum();
      expectBits(jit(valueAndGrad(f))(x), valueAndGrad(f)(x));
    });

    test("hasAux passes extra results through", async () => {
      const f = (t: Tensor) => [t.sum(), { doubled: t.mul(2), name: "aux" }] as const;
      const [[value, aux], g] = valueAndGrad(f, { hasAux: true })(tensor([1, 2]));
      expect([await value.item(), await aux.doubled.toArray(), aux.name]).toEqual([3, [2, 4], "aux"]);
      expect(await g.toArray()).toEqual([1, 1]);
      const [gradient, again] = grad(f, { hasAux: true })(tensor([1, 2]));
      expect([await gradient.toArray(), await again.doubled.toArray()]).toEqual([
        [1, 1],
        [2, 4],
      ]);
    });

    test.each<[RegExp, () => unknown]>([
      [
        /f must return a float scalar, got float32\[2\].*mean\(\) or sum\(\)/,
        () => grad((t: Tensor) => t)(tensor([1, 2])),
      ],
      [/f must return a float scalar, got int32\[\]/, () => grad((t: Tensor) => t.astype("int32").sum())(tensor([1]))],
      [/return \[value, aux\] and set hasAux/, () => grad((t: Tensor) => [t.sum(), t] as never)(tensor([1]))],
      [
        /argnums must be below the number of arguments, 1, got 2/,
        () => grad(cube, { argnums: 2 } as never)(tensor([1])),
      ],
      [/argnum.*argnums/, () => grad(cube, { argnum: 0 } as never)],
    ])("refuses: %s", (message, call) => expect(call).toThrow(message));
  });

  describe("vjp", () => {
    const f = ({ x, w }: { x: Tensor; w: Tensor }): [Tensor, Tensor] => [x.matmul(w), w.sum()];
    const primal = { x: tensor([[1, 2]]), w: tensor([[3], [4]]) };

    test("pulls a cotangent tree back", async () => {
      const [[y, s], pull] = vjp(f, primal);
      expect([await y.toArray(), await s.item()]).toEqual([[[11]], 7]);
      const [g] = pull([tensor([[2]]), tensor(10)]);
      expect(await g.x.toArray()).toEqual([[6, 8]]);
      expect(await g.w.toArray()).toEqual([[12], [14]]);
    });

    test("inside jit too, and twice with different cotangents", async () => {
      const both = jit((p: typeof primal) => {
        const [, pull] = vjp(f, p);
        return [pull([tensor([[1]]), tensor(0)])[0].x, pull([tensor([[0]]), tensor(1)])[0].w];
      });
      const [dx, dw] = both(primal);
      expect([await dx.toArray(), await dw.toArray()]).toEqual([[[3, 4]], [[1], [1]]]);
    });

    test("refuses a cotangent unlike the result", () => {
      const [, pull] = vjp(f, primal);
      expect(() => pull([tensor([[1]])] as never)).toThrow(/vjp: the cotangent must have the structure of the result/);
      expect(() => pull([tensor([1]), tensor(0)])).toThrow(
        /vjp: the cotangent must be like the result, float32\[1,1\]/,
      );
    });
  });

  describe("customVjp", () => {
    /** x², whose derivative it claims to be 100. */
    const odd = customVjp(
      (x: Tensor) => x.mul(x),
      (x: Tensor) => [x.mul(x), { x }],
      ({ x }: { x: Tensor }, g: Tensor) => [g.mul(100).add(x.mul(0))],
    );
    test("computes f, and the derivative that it is given", async () => {
      expect(await odd(tensor([3])).toArray()).toEqual([9]);
      const [value, g] = valueAndGrad((x: Tensor) => odd(x).mul(2).sum())(tensor([3]));
      expect([await value.item(), await g.toArray()]).toEqual([18, [200]]);
      expect(await jit(grad((x: Tensor) => odd(x.mul(5)).sum()))(tensor([1])).toArray()).toEqual([500]);
    });
    test("a missing cotangent is zero; trees in and out", async () => {
      const f = customVjp(
        ({ a, b }: { a: Tensor; b: Tensor }, _: Tensor) => ({ sum: a.add(b) }),
        (p, _) => [{ sum: p.a.add(p.b) }, null],
        (_, g) => [{ a: g.sum, b: g.sum.mul(3) }, null],
      );
      const g = grad((p: { a: Tensor; b: Tensor }, t: Tensor) => f(p, t).sum.sum(), { argnums: [0, 1] })(
        { a: tensor([1]), b: tensor([1]) },
        tensor([7]),
      );
      expect([await g[0].a.toArray(), await g[0].b.toArray(), await g[1].toArray()]).toEqual([[1], [3], [0]]);
    });
    test("refuses cotangents unlike the arguments", () => {
      const f = customVjp(
        (x: Tensor) => x,
        (x: Tensor) => [x, null],
        (_, g) => [[g, g]] as never,
      );
      expect(() => grad((x: Tensor) => f(x).sum())(zeros([1]))).toThrow(
        /customVjp: backward must return a cotangent like/,
      );
    });
  });

  test("stopGradient makes a constant", async () => {
    const g = grad((x: Tensor) => stopGradient(x.mul(2)).mul(x).sum())(tensor([3]));
    expect(await g.toArray()).toEqual([6]);
  });
});
