/** Tensors of billions of rows without elements: no device goes through the rows. */
import { cumsum, dot, scatterAdd, setDevice, softmax, sort, type Tensor, take, takeAlongAxis, zeros } from "@te/tensor";
import "@te/kernels-cpu";
import { presentDevices } from "@te/testkit";
import { afterAll, expect, test } from "vitest";

const MANY = 2 ** 40;
const float = (...shape: number[]): Tensor => zeros(shape);
const index = (...shape: number[]): Tensor => zeros(shape, { dtype: "int32" });

const CALLS: Readonly<Record<string, () => Tensor>> = {
  sort: () => sort(float(0, MANY), 0),
  "sort of integers": () => sort(index(0, MANY), 0),
  cumsum: () => cumsum(float(0, MANY), 0),
  "cumsum of integers": () => cumsum(index(0, MANY), 0),
  softmax: () => softmax(float(0, MANY), 0),
  take: () => take(float(MANY, 2, 0), index(3), { axis: 1 }),
  "take of nothing": () => take(float(MANY, 0), index(0), { axis: 1 }),
  takeAlongAxis: () => takeAlongAxis(float(MANY, 0), index(MANY, 0), 0),
  scatterAdd: () => scatterAdd(index(3), float(3, MANY, 0), { axis: 0, size: 5 }),
  "scatterAdd of nothing": () => scatterAdd(index(0), float(MANY, 0, 0), { axis: 1, size: 0 }),
  dot: () => dot(float(MANY, 0), float(0, 0)),
  "dot over nothing": () =>
    dot(float(MANY, 0, 3), float(MANY, 3, 0), { lhsContract: [2], rhsContract: [1], lhsBatch: [0], rhsBatch: [0] }),
};

afterAll(() => setDevice("auto"));
test.each(
  presentDevices().flatMap((device) => Object.entries(CALLS).map(([name, call]) => [device, name, call] as const)),
)(
  "%s: %s",
  async (device, _, call) => {
    setDevice(device);
    const start = process.cpuUsage();
    const result = call();
    expect(result.size).toBe(0);
    expect(await result.data()).toHaveLength(0);
    expect(process.cpuUsage(start).user).toBeLessThan(1e6); // a second, whatever else runs here
  },
  20_000,
);
