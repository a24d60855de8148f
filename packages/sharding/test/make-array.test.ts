/** Tensors made part by part, where parts are, and what processes agree on. */
import { type Tensor, tensor } from "@te/tensor";
import { expectError, onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";
import {
  agreeOnLargest,
  devicePut,
  finishTogether,
  type Index,
  Mesh,
  makeArrayFromCallback,
  NamedSharding,
  PartitionSpec,
} from "../src/index.js";

const mesh = new Mesh({ data: 2, tensor: 3 });
const over = (...entries: (string | null | string[])[]) => new NamedSharding(mesh, new PartitionSpec(...entries));
const x = tensor(
  Float32Array.from({ length: 24 }, (_, i) => i),
  { shape: [4, 6] },
);
const cut = (index: Index): Tensor =>
  x.slice(
    index.map(([start]) => start),
    index.map(([, end]) => end),
  );

onEachDevice(() => {
  test.each([
    ["data", "tensor"],
    [null, ["tensor", "data"]],
    ["data", null],
  ])("over %j, %j parts are asked for once, and lie where devicePut puts them", async (first, second) => {
    const sharding = over(first as string | null, second as string | null);
    const asked: Index[] = [];
    const y = await makeArrayFromCallback([4, 6], sharding, async (index) => {
      asked.push(index);
      return cut(index);
    });
    const wanted = devicePut(x, sharding);
    expect(new Set(asked.map(String)).size).toBe(asked.length);
    expect(asked.length).toBe(new Set(sharding.devicesIndicesMap([4, 6]).map(String)).size);
    expect(String(y.sharding?.spec)).toBe(String(wanted.sharding?.spec));
    const parts = (x: Tensor) =>
      Promise.all(x.addressableShards.map(async ({ index, data }) => [index, await data()] as const));
    expect(await parts(y)).toEqual(await parts(wanted));
    expect(await y.add(1).sum().item()).toBe(300);
  });

  test("on a mesh of one device it is the part itself", async () => {
    const alone = new NamedSharding(new Mesh({ data: 1 }), new PartitionSpec("data"));
    const y = await makeArrayFromCallback([4, 6], alone, () => x);
    expect([y, y.sharding]).toEqual([x, undefined]);
  });
});

test("where the parts of devices are", () => {
  expect(over("data", "tensor").devicesIndicesMap([4, 6])[4]).toEqual([
    [2, 4],
    [2, 4],
  ]);
  expect(over().devicesIndicesMap([3])).toEqual(new Array(6).fill([[0, 3]]));
  expectError("shape", /dimension 0 must be a multiple of 3/, () => over("tensor").devicesIndicesMap([4]));
});

describe("what does not fit is refused", () => {
  test.each([
    ["a dimension that does not divide", [4, 6], over("tensor"), cut, /dimension 0 must be a multiple of 3/],
    ["no shape", 4, over(), cut, /makeArrayFromCallback: /],
    ["no sharding", [4, 6], "data", cut, /sharding must be a NamedSharding, got data/],
    ["no function", [4, 6], over(), x, /makePart must be a function/],
    ["no tensor", [4, 6], over(), () => 3, /a part must be a tensor, got 3/],
    [
      "a part of another shape",
      [4, 6],
      over("data"),
      () => x,
      /the part must have the shape \[2,6\], got float32\[4,6\]/,
    ],
    [
      "parts of two dtypes",
      [4, 6],
      over("data"),
      (index: Index) => (index[0]![0] === 0 ? cut(index) : cut(index).astype("int32")),
      /all parts must be float32, got int32\[2,6\]/,
    ],
  ])("%s", async (_, shape, sharding, makePart, message) => {
    await expect(makeArrayFromCallback(shape as never, sharding as never, makePart as never)).rejects.toThrow(message);
  });
});

test("a process that is alone agrees with itself", async () => {
  expect(await agreeOnLargest(7, "a test")).toBe(7);
  expect(await finishTogether("a test", async () => "done")).toBe("done");
  await expect(finishTogether("a test", () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  await expect(agreeOnLargest(-1, "a test")).rejects.toThrow(/value must be a whole number/);
});
