/** What goes into a tensor and comes out: typed arrays, nested arrays, items, text, and the end of its life. */
import "@te/kernels-cpu";
import { DTYPES, full, memory, ones, type Tensor, tensor, zeros } from "@te/tensor";
import { onEachDevice } from "@te/testkit";
import { expect, test } from "vitest";

onEachDevice((device) => {
  test("typed arrays come back as they went in", async () => {
    for (const [data, dtype] of [
      [Float32Array.of(1.5, -0, Number.NaN), "float32"],
      [Int32Array.of(-2147483648, 3), "int32"],
      [Uint32Array.of(4294967295), "uint32"],
      [Uint8Array.of(255, 0), "uint8"],
    ] as const) {
      const t = tensor(data);
      expect([t.dtype, t.shape, t.device]).toEqual([dtype, [data.length], device]);
      expect(await t.data()).toEqual(data);
      expect(t.dataSync()).toEqual(data);
    }
  });

  test("a tensor keeps its own copy", async () => {
    const data = Float32Array.of(1, 2);
    const t = tensor(data);
    data[0] = 9;
    (await t.data())[1] = 9;
    expect(await t.toArray()).toEqual([1, 2]);
  });

  test("codes of narrow types go in as they are, numbers are rounded", async () => {
    const codes = tensor(Uint16Array.of(0x3f80, 0xc000), { dtype: "bfloat16" });
    expect(await codes.toArray()).toEqual([1, -2]);
    expect(await tensor([1.001953125, 1.005859375], { dtype: "bfloat16" }).toArray()).toEqual([1, 1.0078125]);
    expect(await tensor(Uint8Array.of(0x7e), { dtype: "float8_e4m3fn" }).toArray()).toEqual([448]);
    expect(await tensor([true, false]).toArray()).toEqual([true, false]);
  });

  test("scalars, empty tensors, and items", async () => {
    expect(await tensor(3).item()).toBe(3);
    expect(await tensor([[2]]).item()).toBe(2);
    expect(await zeros([0, 3]).toArray()).toEqual([]);
    expect(await zeros([2, 0]).toArray()).toEqual([[], []]);
    await expect(tensor([1, 2]).item()).rejects.toThrow(/item: the tensor must have one element, got float32\[2\]/);
  });

  test("every dtype makes a tensor and text", () => {
    for (const dtype of DTYPES.filter((name) => device === "reference" || name !== "float64"))
      expect(String(ones([2], { dtype }))).toMatch(new RegExp(`^${dtype}\\[2\\] \\[(1, 1|true, true)\\]$`));
  });

  test("text shows values, with long axes cut", () => {
    expect(
      String(
        tensor([
          [1, 2.5],
          [Number.NaN, -0],
        ]),
      ),
    ).toBe("float32[2,2] [[1, 2.5], [NaN, 0]]");
    expect(String(tensor(new Float32Array(100)))).toBe("float32[100] [0, 0, 0, …, 0, 0, 0]");
    expect(String(zeros([0]))).toBe("float32[0] []");
  });

  test("dispose frees at once, twice is harmless, and use afterwards is an error that says so", () => {
    const before = memory().live;
    const t = tensor(new Float32Array(1 << 14)).add(1);
    t.dataSync();
    expect(memory().live).toBeGreaterThanOrEqual(before + (1 << 16));
    const keep = t.mul(2);
    t.dispose();
    t.dispose();
    expect(() => t.dataSync()).toThrow(/dataSync: .* it was disposed/);
    expect(() => t.add(1)).toThrow(/disposed/);
    expect(String(t)).toBe("disposed float32[16384]");
    expect(keep.dataSync()[0]).toBe(2);
  });

  test("using disposes at the end of the block", () => {
    let outside: Tensor;
    {
      using inside = tensor([1]);
      outside = inside;
    }
    expect(() => outside.dataSync()).toThrow(/disposed/);
  });

  test.each<[RegExp, () => unknown]>([
    [/nested arrays must be rectangular, but \[2\] stands beside \[1\]/, () => tensor([[1, 2], [3]])],
    [/elements must be numbers or booleans, got x/, () => tensor(["x"] as never)],
    [/shape \[2,2\] needs 4 elements, got 3/, () => tensor([1, 2, 3], { shape: [2, 2] })],
    [/a Uint16Array holds bfloat16 or float16 codes/, () => tensor(new Uint16Array(1), { dtype: "float32" })],
    [/dtype must be one of .*, got int64/, () => tensor([1], { dtype: "int64" as never })],
    [/data must be an array of numbers, got BigInt64Array. Convert it/, () => tensor(new BigInt64Array(1) as never)],
    [
      /data must be an array of numbers, got BigInt64Array/,
      () => tensor(new BigInt64Array(1) as never, { dtype: "int32" }),
    ],
  ])("refuses: %s", (message, make) => expect(make).toThrow(message));

  test.each([
    [300, "uint8", "\\[0, 255\\]"],
    [-1, "uint32", "\\[0, 4294967295\\]"],
    [2 ** 31, "int32", "\\[-2147483648, 2147483647\\]"],
    [0.5, "int32", "\\[-2147483648, 2147483647\\]"],
    [Number.NaN, "int32", "\\[-2147483648, 2147483647\\]"],
    [2, "bool", "\\[0, 1\\]"],
  ] as const)("refuses %f for %s, as full does", (value, dtype, range) => {
    const rule = `must be an integer in ${range} for ${dtype}, got ${value}\\. Choose a float dtype`;
    expect(() => tensor([[0, value]], { dtype })).toThrow(new RegExp(`^tensor: every element ${rule}`));
    expect(() => full([2], value, { dtype })).toThrow(new RegExp(`^full: value ${rule}`));
  });
  test("keeps the ends of the ranges, and true and false as 1 and 0", async () => {
    expect(await tensor([0, 255], { dtype: "uint8" }).toArray()).toEqual([0, 255]);
    expect(await tensor([-(2 ** 31), 2 ** 31 - 1], { dtype: "int32" }).toArray()).toEqual([-(2 ** 31), 2 ** 31 - 1]);
    expect(await tensor([true, false], { dtype: "int32" }).toArray()).toEqual([1, 0]);
    expect(() => tensor([true, 2])).toThrow(/for bool, got 2/);
  });
  test("converts typed arrays of another dtype", async () => {
    const wide = new Float64Array([300.7, -1, Number.NaN]);
    expect(await tensor(wide, { dtype: "uint8" }).toArray()).toEqual([255, 0, 0]);
    expect(await tensor(wide, { dtype: "bool" }).toArray()).toEqual([true, true, true]);
    const truth = tensor(new Uint8Array([0, 7]), { dtype: "bool" });
    expect(await truth.astype("int32").toArray()).toEqual([0, 1]);
  });
});
