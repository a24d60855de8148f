/** Drawn programs over drawn meshes: a few ops of many kinds, constraints between them, and the gradient of all of it. */
import { Mesh, shardingConstraintOp } from "@te/sharding";
import { concat, grad, logsumexp, softmax, type Tensor, take } from "@te/tensor";
import { fromFloat64, type HostArray, sizeOf } from "@te/tensor/op";
import { generator, normal, seedOf } from "./fill.js";
import { drawLayout, findSplitError } from "./partition-suite.js";

type Draw = () => number;
const pick = <T>(draw: Draw, from: readonly T[]): T => from[Math.floor(draw() * from.length)]!;

const MESHES = [
  new Mesh({ a: 2 }),
  new Mesh({ a: 3 }),
  new Mesh({ a: 2, b: 2 }),
  new Mesh({ a: 2, b: 3 }),
  new Mesh({ a: 2, b: 2, c: 2 }),
];
const SHAPES = [[4, 6], [6, 4], [2, 4, 6], [12], [4, 4, 3], [1, 6], [8, 2]];

/** A step of a program: what it makes of the values so far, or undefined where none of them fits. */
type Step = (draw: Draw, values: readonly Tensor[], mesh: Mesh) => Tensor | undefined;

const STEPS: readonly Step[] = [
  (draw, values) => pick(draw, values).tanh(),
  (draw, values) => pick(draw, values).mul(pick(draw, [0.5, -1, 2])),
  (draw, values) => {
    const [x, y] = [pick(draw, values), pick(draw, values)];
    return String(x.shape) === String(y.shape) ? pick(draw, [x.add(y), x.mul(y), x.maximum(y)]) : undefined;
  },
  (draw, values) => {
    const [x, y] = [pick(draw, values), pick(draw, values)];
    return y.rank === 1 && x.shape.at(-1) === y.shape[0] ? x.sub(y) : undefined;
  },
  (draw, values) => {
    const [x, y] = [pick(draw, values), pick(draw, values)];
    if (x.rank < 2 || y.rank !== 2) return undefined;
    if (x.shape.at(-1) === y.shape[0]) return x.matmul(y);
    return x.shape.at(-1) === y.shape[1] ? x.matmul(y.T) : undefined;
  },
  (draw, values) => {
    const x = pick(draw, values);
    const left = x.shape.map((_, i) => i);
    return x.transpose(x.shape.map(() => left.splice(Math.floor(draw() * left.length), 1)[0]!));
  },
  (draw, values) => {
    const x = pick(draw, values);
    const at = Math.floor(draw() * x.rank);
    const [head, tail] = [x.shape.slice(0, at), x.shape.slice(at + 1)];
    const factor = [2, 3].find((n) => x.shape[at]! % n === 0);
    if (draw() < 0.5 && tail.length > 0) return x.reshape([...head, x.shape[at]! * tail[0]!, ...tail.slice(1)]);
    return factor ? x.reshape([...head, factor, x.shape[at]! / factor, ...tail]) : undefined;
  },
  (draw, values) => {
    const x = pick(draw, values);
    return x.rank > 1 ? x.sum(Math.floor(draw() * x.rank), { keepDims: draw() < 0.3 }) : undefined;
  },
  (draw, values) => {
    const x = pick(draw, values);
    return x.rank > 1 ? logsumexp(x, Math.floor(draw() * x.rank)) : undefined;
  },
  (draw, values) => softmax(pick(draw, values), -1),
  (draw, values) => pick(draw, values).cumsum(0),
  (draw, values) => {
    const x = pick(draw, values);
    const at = Math.floor(draw() * x.rank);
    const length = x.shape[at]!;
    const keep = Math.ceil(length / 2);
    return x.slice(
      x.shape.map((_, i) => (i === at ? length - keep : 0)),
      x.shape,
    );
  },
  (draw, values) => {
    const x = pick(draw, values);
    return concat([x, x.mul(0.5)], Math.floor(draw() * x.rank));
  },
  (draw, values) => {
    const x = pick(draw, values);
    const rows = x.slice(
      x.shape.map(() => 0),
      x.shape.map((d, i) => (i === 0 ? Math.min(d, 2) : d)),
    );
    return take(x, rows.reshape([-1]).mul(0).astype("int32"), { axis: 0 }).sum(0, { keepDims: true });
  },
  (draw, values, mesh) => {
    const x = pick(draw, values);
    const { dims } = drawLayout(mesh, x.shape, draw);
    const pairs = dims.flatMap((axes, dim) => axes.map((axis) => [axis, dim] as const));
    const names = mesh.axisNames;
    return shardingConstraintOp(
      { x },
      {
        axes: pairs.map(([axis]) => axis),
        dims: pairs.map(([, dim]) => dim),
        mesh: names,
        meshShape: names.map((name) => mesh.shape[name]!),
      },
    ).y;
  },
];

const MOST = 2 ** 10;

/** Says how a drawn program, or its gradient, differs from itself when it is split, or nothing. */
export function findProgramError(seed: number): string | undefined {
  const setUp = generator(seedOf(`program ${seed}`));
  const mesh = pick(setUp, MESHES);
  const given = Array.from({ length: 3 }, (): HostArray => {
    const shape = pick(setUp, SHAPES);
    return {
      shape,
      dtype: "float32",
      data: fromFloat64(
        "float32",
        Float64Array.from({ length: sizeOf(shape) }, () => normal(setUp)),
      ),
    };
  });
  const count = 3 + Math.floor(setUp() * 8);
  const program = (...inputs: Tensor[]): Tensor[] => {
    const draw = generator(seedOf(`steps ${seed}`));
    const values = [...inputs];
    for (let tries = 0; values.length < inputs.length + count && tries < 200; tries++) {
      const made = pick(draw, STEPS)(draw, values, mesh);
      if (made && made.size <= MOST && made.rank <= 5) values.push(made);
    }
    return values.slice(-2);
  };
  const loss = (...inputs: Tensor[]): Tensor =>
    program(...inputs)
      .map((y) => y.mul(y).sum())
      .reduce((a, b) => a.add(b));
  const names = given.map((_, i) => `gradient of input ${i}`);
  const draw = generator(seedOf(`layouts ${seed}`));
  const inexact = (of: readonly unknown[]): boolean[] => of.map(() => false);
  return (
    findSplitError({ f: program, given, names: ["the last but one", "the last"], exact: [false, false] }, mesh, draw) ??
    findSplitError(
      {
        f: (...inputs) => grad(loss, { argnums: [0, 1, 2] })(...(inputs as [Tensor, Tensor, Tensor])),
        given,
        names,
        exact: inexact(names),
      },
      mesh,
      draw,
    )
  );
}
