/** Copies of this package in one process: they share devices, choices stay, and their tensors do not mix unnoticed. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

type Copy = typeof import("@te/tensor") & typeof import("@te/tensor/backend");
type Device = ReturnType<Parameters<Copy["registerBackend"]>[1]>;
const load = async (): Promise<Copy> => {
  vi.resetModules();
  return { ...(await import("@te/tensor")), ...(await import("@te/tensor/backend")) };
};
const KEY = Symbol.for("te.devices");
const world = globalThis as { [KEY]?: unknown };

let before: unknown;
beforeEach(() => {
  vi.stubEnv("TE_KERNELS", undefined);
  before = world[KEY];
  world[KEY] = undefined;
});
afterEach(() => {
  world[KEY] = before;
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

/** The reference under another name. */
const device = (copy: Copy, name: string): Device => {
  copy.setDevice("reference");
  const { currentBackend } = copy;
  return Object.assign(Object.create(currentBackend()), { name });
};
const linesOf = () => {
  const write = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  return () => write.mock.calls.map(([text]) => String(text));
};

describe("devices", () => {
  test("of one copy are devices of all, whenever they are registered", async () => {
    const lines = linesOf();
    const [a, b] = [await load(), await load()];
    expect(a.ones).not.toBe(b.ones);
    expect(await a.ones([2]).add(1).toArray()).toEqual([2, 2]);
    expect(a.currentBackend().name).toBe("reference");
    expect(lines()).toHaveLength(1);
    b.registerBackend("cpu", () => device(a, "cpu"), { priority: 10 });
    a.setDevice("auto");
    expect(a.currentBackend().name).toBe("cpu");
    expect(a.devices().map(({ name }) => name)).toEqual(["reference", "cpu"]);
    expect(await a.ones([2]).add(1).toArray()).toEqual([2, 2]);
    expect(lines()).toHaveLength(1);
  });

  test("are taken from the copy that has them", async () => {
    const [a, b] = [await load(), await load()];
    b.registerBackend("cpu", () => device(a, "cpu"), { priority: 10 });
    a.registerBackend("cpu", () => ({ reason: "the bundle has none" }), { priority: 10 });
    a.setDevice("cpu");
    expect(a.currentBackend().name).toBe("cpu");
  });

  test("that are made for another version are named as the reason", async () => {
    const lines = linesOf();
    world[KEY] = { factories: new Map([["cpu", [{ contract: 0, factory: () => ({}) }]]]), changes: 1 };
    const a = await load();
    expect(a.currentBackend().name).toBe("reference");
    expect(lines().join("")).toMatch(
      /^te: .*another version of @te\/tensor registered the device "cpu" by contract 0, .*one version; using the slow reference\n$/,
    );
    expect(() => a.setDevice("cpu")).toThrow(/setDevice: "cpu" is not available: another version/);
  });

  test("that were chosen by name stay when others come", async () => {
    const a = await load();
    a.setDevice("reference");
    a.registerBackend("cpu", () => expect.fail("not asked for"), { priority: 10 });
    expect(a.currentBackend().name).toBe("reference");
    expect(() => a.setDevice("gpu")).toThrow(/no package registered the device "gpu"/);
    expect(a.currentBackend().name).toBe("reference");
  });

  test("ending on the reference is said once, unless it was asked for", async () => {
    const lines = linesOf();
    const a = await load();
    a.registerBackend("cpu", () => ({ reason: "there are none here" }), { priority: 10 });
    for (let i = 0; i < 3; i++) a.ones([2]).add(i).dataSync();
    expect(lines()).toEqual(["te: native kernels are not available: there are none here; using the slow reference\n"]);
    const b = await load();
    b.setDevice("reference");
    b.ones([2]).add(1).dataSync();
    vi.stubEnv("TE_KERNELS", "off");
    const c = await load();
    c.ones([2]).add(1).dataSync();
    expect(lines()).toHaveLength(1);
  });
});

test("passes of one copy take the programs of another, and nothing else", async () => {
  const [a, b] = [await load(), await load()];
  const x = a.ones([4]);
  const program = a.makeProgram((y: typeof x) => y.mul(2).add(1).exp())(x);
  const plan = (copy: Copy) => copy.planMemory(copy.fuseElementwise(program as never));
  expect(plan(b).arenaBytes).toBe(plan(a).arenaBytes);
  expect(plan(b).program.nodes.map(({ op }) => op.name)).toEqual(plan(a).program.nodes.map(({ op }) => op.name));
  for (const value of [undefined, {}, { ...program }, x])
    expect(() => b.fuseElementwise(value as never)).toThrow(/^fuseElementwise: program must be a Program, got/);
});

test("tensors of another copy are refused as such", async () => {
  const [a, b] = [await load(), await load()];
  a.setDevice("reference");
  b.setDevice("reference");
  expect(() => a.add(a.ones([2]), b.ones([2]))).toThrow(
    /^add: .*got float32\[2\] of another copy of @te\/tensor \(bundle all/,
  );
  expect(() => a.dot(b.ones([2]), a.ones([2]))).toThrow(/of another copy of @te\/tensor/);
  expect(() => a.add(a.ones([2]), a.ones([3]))).toThrow(/^(?!.*another copy)/);
});
