/** What norms exchange over meshes, with their quantization and without: statistics of rows that are split, and never these. */
import {
  type Collective,
  devicePut,
  Mesh,
  makePartitioned,
  NamedSharding,
  PartitionSpec,
  withMesh,
  withShardingConstraint,
} from "@te/sharding";
import type { Tensor } from "@te/tensor";
import { normals, onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { layerNormBackwardOp, layerNormOp } from "../src/ops/layer-norm.js";
import { layerNormQuantizeOp, rmsNormQuantizeOp } from "../src/ops/norm-quantize.js";
import { rmsNormBackwardOp, rmsNormOp } from "../src/ops/rms-norm.js";

const [ROWS, HIDDEN] = [6, 16];
const ITEM = 4;
/** Bytes of one statistic of all rows, of all of x, of what belongs to gamma, and of an amax. */
const [STATISTIC, WHOLE, PARAMETER, AMAX] = [ROWS * ITEM, ROWS * HIDDEN * ITEM, HIDDEN * ITEM, ITEM];

const gamma = normals([HIDDEN], { seed: "gamma" });
const beta = normals([HIDDEN], { seed: "beta" });
const scale = normals([1], { seed: "scale" }).abs();
const rstd = normals([ROWS], { seed: "rstd" }).abs();

type Norm = (x: Tensor) => Readonly<Record<string, Tensor>>;

/** Each norm with what it exchanges: where rows are split, and where each row is whole. */
const NORMS: readonly [string, Norm, split: number[], whole: number[]][] = [
  // The mean, what its rounding lost, and the variance.
  ["layer_norm", (x) => layerNormOp({ x, gamma, beta }), [STATISTIC, STATISTIC, STATISTIC], []],
  [
    "layer_norm_quantize",
    (x) => layerNormQuantizeOp({ x, gamma, beta, scale }),
    [STATISTIC, STATISTIC, STATISTIC, AMAX],
    [AMAX],
  ],
  // What the rounding of the mean lost, then two means together.
  [
    "layer_norm_backward",
    (x) => layerNormBackwardOp({ dy: x, x, gamma, mean: rstd, rstd }),
    [STATISTIC, 2 * STATISTIC],
    [2 * PARAMETER],
  ],
  ["rms_norm", (x) => rmsNormOp({ x, gamma }), [STATISTIC], []],
  ["rms_norm_quantize", (x) => rmsNormQuantizeOp({ x, gamma, scale }), [STATISTIC, AMAX], [AMAX]],
  ["rms_norm_backward", (x) => rmsNormBackwardOp({ dy: x, x, gamma, rstd }), [STATISTIC], [PARAMETER]],
];

const mesh = new Mesh({ tensor: 2 });
const spec = (...entries: (string | null)[]) => new PartitionSpec(...entries);
const exchanged = (f: (x: Tensor) => unknown, of: PartitionSpec): string[] =>
  withMesh(mesh, () => {
    const x = devicePut(normals([ROWS, HIDDEN]), new NamedSharding(mesh, of));
    const kindOf = ({ kind, bytes }: Collective): string => `${kind} ${bytes}`;
    return makePartitioned(f)(x).collectives().map(kindOf);
  });
const reduced = (bytes: readonly number[]): string[] => bytes.map((each) => `all_reduce ${each}`);

onEachDevice((device) => {
  describe.each(NORMS)("%s exchanges", (_, norm, split, whole) => {
    test("statistics where the hidden dimension is split", () => {
      expect(exchanged(norm, spec(null, "tensor"))).toEqual(reduced(split));
    });

    test("nothing of its rows where these are split", () => {
      expect(exchanged(norm, spec("tensor"))).toEqual(reduced(whole));
    });
  });

  test.each([
    ["layer_norm", (x: Tensor) => layerNormOp({ x, gamma, beta }).y, 3, WHOLE],
    ["layer_norm_quantize", (x: Tensor) => layerNormQuantizeOp({ x, gamma, beta, scale }).q, 3, WHOLE / ITEM],
    ["rms_norm_quantize", (x: Tensor) => rmsNormQuantizeOp({ x, gamma, scale }).q, 1, WHOLE / ITEM],
  ] as const)("%s whose result is wanted whole gathers once", (_, norm, statistics, result) => {
    const wanted = (x: Tensor): Tensor => withShardingConstraint(norm(x), spec());
    // A kernel for the norm gets all of x. Without one its result is gathered, in its own bytes.
    const own = [...reduced(new Array(statistics).fill(STATISTIC)), `all_gather ${result}`];
    const found = exchanged(wanted, spec(null, "tensor"));
    expect(found).toEqual(device === "reference" ? own : [`all_gather ${WHOLE}`]);
  });
});
