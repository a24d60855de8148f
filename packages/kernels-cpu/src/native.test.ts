/** The native executor by itself: programs, memory and errors, without @te/tensor. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { NativeProgram } from "@te/tensor/backend";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { loadNative } from "./load.js";
import type { Native } from "./native.js";

const found = loadNative();
const describeNative = describe.skipIf(!("native" in found));
const native = "native" in found ? found.native : (undefined as unknown as Native);

type Value = NativeProgram["values"][number];
const f32 = (n: number, kind: Value["kind"], at: number): Value => ({ dtype: "float32", shape: [n], kind, at });
const elementwise = (code: string[], inputs: number[], outputs: number[], registers: number[]) => ({
  op: "elementwise",
  inputs,
  outputs,
  params: { code, outputs: registers },
});

/** y = x * factor, once through the arena. */
const scaling = (n: number, factor: number, alias = -1): NativeProgram => ({
  values: [f32(n, 0, 0), f32(n, 1, 0), f32(n, 2, 0)],
  nodes: [
    elementwise([`const float32 ${factor}`, "mul float32 %0 %1"], [0], [1], [2]),
    { op: "copy", inputs: [1], outputs: [2], params: {} },
  ],
  inputs: 1,
  outputs: [{ value: 2, alias }],
  arenaBytes: Math.ceil((4 * n) / 64) * 64,
});

const bytesOf = (values: ArrayLike<number>): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);
const handles: number[] = [];
const keep = (handle: number): number => {
  handles.push(handle);
  return handle;
};
const fromFloats = (values: ArrayLike<number>): number => keep(native.fromArray(bytesOf(values)));
/** The handles of the results, which the caller releases. */
function submit(program: number, inputs: number[], outputs: number): number[] {
  const all = Int32Array.from([...inputs, ...new Array<number>(outputs).fill(0)]);
  native.run(program, all.buffer);
  return [...all.subarray(inputs.length)];
}
const run = (program: number, inputs: number[], outputs: number): number[] =>
  submit(program, inputs, outputs).map(keep);
async function floats(handle: number, n: number): Promise<number[]> {
  const into = new Float32Array(n);
  await native.read(handle, new Uint8Array(into.buffer));
  return [...into];
}
const codeOf = (body: () => unknown): string => {
  try {
    body();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return expect.fail("did not throw");
};
const release = (): void => {
  for (const handle of handles.splice(0)) native.release(handle);
};

describeNative("programs", () => {
  beforeEach(release);
  afterAll(release);

  test("run, read and readSync give the same numbers", async () => {
    const program = native.compile(scaling(5, 3));
    const [y] = run(program, [fromFloats([1, 2, 3, 4, 5])], 1);
    expect(await floats(y!, 5)).toEqual([3, 6, 9, 12, 15]);
    const into = new Float32Array(5);
    native.readSync(y!, new Uint8Array(into.buffer));
    expect([...into]).toEqual([3, 6, 9, 12, 15]);
    native.destroy(program);
  });

  test("fetch gives what read gives, in memory that returns to the pool with the array", async () => {
    const bytes = Uint8Array.from({ length: 1 << 20 }, (_, i) => i % 251);
    const tensor = keep(native.fromArray(bytes));
    const { used } = native.memory();
    const check = async (): Promise<void> => {
      expect(new Uint8Array(await native.fetch(tensor))).toEqual(bytes);
      expect(native.memory().used).toBe(used + (1 << 20));
    };
    await check();
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    for (let i = 0; i < 20 && native.memory().used > used; i++) {
      collect();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(native.memory().used).toBe(used);
  });

  test("runs are in order, and a released input lives until the runs that use it are done", async () => {
    const program = native.compile(scaling(1000, 2));
    let handle = native.fromArray(bytesOf(new Float32Array(1000).fill(1)));
    for (let i = 0; i < 20; i++) {
      const [next] = submit(program, [handle], 1);
      native.release(handle);
      handle = next!;
    }
    keep(handle);
    native.destroy(program);
    expect((await floats(handle, 1000)).every((v) => v === 2 ** 20)).toBe(true);
  });

  test("an output that takes over a donated input uses its memory; the input is gone", async () => {
    const n = 1 << 16;
    const program = native.compile(scaling(n, 2, 0));
    const x = fromFloats(new Float32Array(n).fill(1));
    await native.wait();
    const before = native.memory().used;
    const [y] = run(program, [x], 1);
    expect((await floats(y!, n))[n - 1]).toBe(2);
    // The arena is new; the output is not.
    expect(native.memory().used - before).toBeLessThan(2 * 4 * n);
    await expect(floats(x, n)).rejects.toThrow(/donated/);
  });

  test("an input donated and also used otherwise is copied, not overwritten", async () => {
    const program = native.compile({
      values: [f32(4, 0, 0), f32(4, 0, 1), f32(4, 2, 0), f32(4, 2, 1)],
      nodes: [
        elementwise(["const float32 10", "mul float32 %0 %1"], [0], [2], [2]),
        elementwise(["const float32 1", "add float32 %0 %1"], [1], [3], [2]),
      ],
      inputs: 2,
      outputs: [
        { value: 2, alias: 0 },
        { value: 3, alias: -1 },
      ],
      arenaBytes: 0,
    });
    const x = fromFloats([1, 2, 3, 4]);
    const [scaled, shifted] = run(program, [x, x], 2);
    expect(await floats(scaled!, 4)).toEqual([10, 20, 30, 40]);
    expect(await floats(shifted!, 4)).toEqual([2, 3, 4, 5]);
    expect(await floats(x, 4)).toEqual([1, 2, 3, 4]);
  });

  test("an output may be an input, and two outputs the same value", async () => {
    const program = native.compile({
      values: [f32(3, 0, 0), f32(3, 2, 1)],
      nodes: [{ op: "copy", inputs: [0], outputs: [1], params: {} }],
      inputs: 1,
      outputs: [
        { value: 0, alias: -1 },
        { value: 1, alias: -1 },
        { value: 1, alias: -1 },
      ],
      arenaBytes: 0,
    });
    const results = run(program, [fromFloats([7, 8, 9])], 3);
    for (const y of results) expect(await floats(y, 3)).toEqual([7, 8, 9]);
  });

  test("profiling reports every kernel with its time", async () => {
    const program = native.compile(scaling(1000, 2));
    native.profile(true);
    const [y] = run(program, [fromFloats(new Float32Array(1000))], 1);
    await floats(y!, 1000);
    native.profile(false);
    const records = native.profileResults();
    expect(records.map((r) => [r.op, r.node, r.executable])).toEqual([
      ["elementwise", 0, program],
      ["copy", 1, program],
    ]);
    expect(records.every((r) => r.ns > 0 && r.startNs > 0)).toBe(true);
    expect(native.profileResults()).toEqual([]);
  });
});

describeNative("memory", () => {
  beforeEach(release);

  test("live counts what handles hold; nothing is left after release", async () => {
    await native.wait();
    const before = native.memory();
    const handle = native.create(1 << 20);
    expect(native.memory().live - before.live).toBe(1 << 20);
    native.release(handle);
    await native.wait();
    native.release(native.create(64)); // the device has gone idle: everything released is free by now
    expect(native.memory().live).toBe(before.live);
    expect(native.memory().used).toBe(before.used);
  });

  test("peak is the most that was live; a donated tensor and its output count once", () => {
    const program = native.compile(scaling(256, 2, 0));
    const x = native.create(1024);
    native.resetPeak();
    const { live } = native.memory();
    const [y] = submit(program, [x], 1);
    expect(native.memory()).toMatchObject({ live, peak: live });
    native.release(x);
    expect(native.memory().live).toBe(live);
    const other = native.create(64);
    native.release(other);
    native.release(y!);
    expect(native.memory()).toMatchObject({ live: live - 1024, peak: live + 64 });
  });

  test("a program that runs again and again allocates nothing new", async () => {
    const program = native.compile(scaling(1 << 14, 2));
    const x = fromFloats(new Float32Array(1 << 14));
    const once = async (): Promise<void> => {
      const [y] = submit(program, [x], 1);
      await native.wait();
      native.release(y!);
    };
    for (let i = 0; i < 3; i++) await once();
    native.resetPeak();
    const { usedPeak } = native.memory();
    for (let i = 0; i < 50; i++) await once();
    expect(native.memory().usedPeak).toBeLessThanOrEqual(usedPeak + 2 * 4 * (1 << 14));
  });

  test("sizes that no machine has are errors that say how much was asked for", () => {
    expect(() => native.create(2 ** 45)).toThrow(/cannot allocate 35\.2 TB/);
    expect(codeOf(() => native.create(2 ** 45))).toBe("memory");
    expect(codeOf(() => native.create(1e300))).toBe("memory");
    expect(codeOf(() => native.compile({ ...scaling(4, 1), arenaBytes: 2 ** 50 }))).toBe("memory");
    const huge: Value = { dtype: "float32", shape: [2 ** 40, 2 ** 40], kind: 0, at: 0 };
    expect(codeOf(() => native.compile({ values: [huge], nodes: [], inputs: 1, outputs: [], arenaBytes: 0 }))).toBe(
      "memory",
    );
  });
});

describeNative("errors", () => {
  beforeEach(release);
  afterAll(release);

  test("a stale or invented handle is an error", () => {
    const handle = native.create(16);
    native.release(handle);
    expect(codeOf(() => native.release(handle))).toBe("disposed");
    expect(codeOf(() => native.readSync(handle, new Uint8Array(16)))).toBe("disposed");
    expect(codeOf(() => native.release(-1))).toBe("disposed");
    expect(codeOf(() => native.release(123456))).toBe("disposed");
    const program = native.compile(scaling(4, 1));
    expect(codeOf(() => submit(program, [handle], 1))).toBe("disposed");
    native.destroy(program);
    expect(codeOf(() => submit(program, [handle], 1))).toBe("disposed");
  });

  test("wrong arguments are errors", () => {
    const program = native.compile(scaling(4, 1));
    const x = fromFloats([1, 2, 3]);
    expect(() => submit(program, [x], 1)).toThrow(/input 0 has 12 bytes/);
    expect(() => submit(program, [x, x], 1)).toThrow(/1 inputs and 1 outputs/);
    expect(() => native.run(program, new Int32Array(2) as unknown as ArrayBuffer)).toThrow(/2 is not an ArrayBuffer/);
    expect(() => native.read(x, new Uint8Array(3))).toThrow(/the tensor has 12 bytes, the array 3/);
    expect(() => native.fromArray([1] as unknown as Uint8Array)).toThrow(/argument 1 is not a Uint8Array/);
    expect(() => native.fromArray(new Float32Array(1) as unknown as Uint8Array)).toThrow(/not a Uint8Array/);
    expect(codeOf(() => native.setThreads(0))).toBe("option");
  });

  test("compile names the op that no kernel takes, and why", () => {
    const program = scaling(4, 1);
    const node = { op: "no_such_op", inputs: [0], outputs: [1], params: {} };
    expect(() => native.compile({ ...program, nodes: [node] })).toThrow(
      /no_such_op\(float32\[4\]\): there is no kernel of this name/,
    );
    expect(codeOf(() => native.compile({ ...program, nodes: [node] }))).toBe("unsupported");
    const unknown = { op: "copy", inputs: [0], outputs: [1], params: { speed: 2 } };
    expect(() => native.compile({ ...program, nodes: [unknown] })).toThrow(/parameter 'speed' is not known/);
  });

  test("a program that does not hold together is refused", () => {
    const good = scaling(4, 1);
    const bad: Partial<NativeProgram>[] = [
      { values: [f32(4, 0, 9), f32(4, 1, 0), f32(4, 2, 0)] },
      { values: [f32(4, 0, 0), f32(4, 1, 4), f32(4, 2, 0)] },
      { values: [f32(4, 0, 0), f32(4, 1, 1 << 20), f32(4, 2, 0)] },
      { values: [f32(4, 0, 0), f32(4, 1, 0), f32(40, 2, 0)], outputs: [{ value: 1, alias: -1 }] },
      { nodes: [{ op: "copy", inputs: [7], outputs: [1], params: {} }] },
      { nodes: [{ op: "copy", inputs: [1], outputs: [0], params: {} }] },
      { outputs: [{ value: 2, alias: 3 }] },
      { outputs: [{ value: -1, alias: -1 }] },
      { outputs: [{ value: 3, alias: -1 }] },
      // Larger than what holds them: the arena, the output, the other view of an input, the input that is taken over.
      { values: [f32(4, 0, 0), f32(17, 1, 0), f32(4, 2, 0)] },
      { arenaBytes: 0 },
      { values: [...good.values, f32(5, 2, 0)] },
      { values: [...good.values, f32(5, 0, 0)] },
      { values: [f32(3, 0, 0), f32(4, 1, 0), f32(4, 2, 0)], outputs: [{ value: 2, alias: 0 }] },
      { values: [f32(4, 0, 0), { ...f32(4, 1, 0), shape: [-4] }, f32(4, 2, 0)] },
      { values: [f32(4, 0, 0), f32(4, 1, -64), f32(4, 2, 0)] },
      { values: [f32(4, 0, 0), f32(4, 1, 0), f32(4, 2, 1)] },
      { donated: [1] },
      { inputs: -1 },
      {
        values: [...good.values, f32(4, 2, 1)],
        outputs: [
          { value: 2, alias: 0 },
          { value: 3, alias: 0 },
        ],
      },
    ];
    for (const change of bad) expect(codeOf(() => native.compile({ ...good, ...change }))).toBe("state");
  });

  test("a failed program poisons its outputs and what uses them, and nothing else", async () => {
    const failing = native.compile({ ...scaling(4, 1), arenaBytes: 64 });
    const doubling = native.compile(scaling(4, 2));
    // A buffer without contents: what a donated tensor leaves behind.
    const taking = native.compile(scaling(4, 1, 0));
    const x = fromFloats([1, 2, 3, 4]);
    const [kept] = run(taking, [x], 1);
    const [bad] = run(failing, [x], 1);
    const [worse] = run(doubling, [bad!], 1);
    const [good] = run(doubling, [kept!], 1);
    await expect(floats(worse!, 4)).rejects.toMatchObject({ code: "disposed", message: /donated/ });
    expect(() => native.readSync(bad!, new Uint8Array(16))).toThrow(/donated/);
    expect(await floats(good!, 4)).toEqual([2, 4, 6, 8]);
  });

  test("a kernel that fails while it runs rejects the read with its code; the next run is not touched", async () => {
    const indices = { dtype: "int32", shape: [1] };
    const program = native.compile({
      values: [f32(4, 0, 0), { ...indices, kind: 0, at: 1 }, f32(1, 2, 0)],
      nodes: [{ op: "take", inputs: [0, 1], outputs: [2], params: { axis: 0 } }],
      inputs: 2,
      outputs: [{ value: 2, alias: -1 }],
      arenaBytes: 0,
    });
    const x = fromFloats([1, 2, 3, 4]);
    const at = (i: number): number => keep(native.fromArray(new Uint8Array(Int32Array.of(i).buffer)));
    const [bad] = run(program, [x, at(9)], 1);
    const [good] = run(program, [x, at(2)], 1);
    await expect(floats(bad!, 1)).rejects.toMatchObject({ code: "index", message: /9/ });
    await expect(native.fetch(bad!)).rejects.toMatchObject({ code: "index" });
    expect(await floats(good!, 1)).toEqual([3]);
  });
});
