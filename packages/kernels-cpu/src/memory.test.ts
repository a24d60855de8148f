/** Loops that never turn the event loop: garbage is given back while they run, on both devices. */
import { jit, memory, ones, setDevice, type Tensor, tensor, valueAndGrad, zeros } from "@te/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { loadNative } from "./index.js";

const found = loadNative();
const MiB = 2 ** 20;

/** The most that a loop held beyond what was held before it. */
async function mostHeld(times: number, body: (i: number) => unknown, between?: () => unknown): Promise<number> {
  await new Promise((resolve) => setImmediate(resolve));
  const before = memory().live;
  let most = 0;
  for (let i = 0; i < times; i++) {
    body(i);
    if (between) await between();
    if (i % 16 === 0) most = Math.max(most, memory().live - before);
  }
  return most;
}

const image = [256, 1024]; // 1 MiB

/** Bodies that leave about 1 MiB of garbage each. */
const LOOPS: Readonly<Record<string, () => (i: number) => unknown>> = {
  "eager ops": () => {
    let x = ones(image);
    return () => {
      x = x.add(1);
    };
  },
  "results thrown away": () => {
    const x = ones(image);
    return () => x.mul(2);
  },
  "many small tensors": () => {
    let x = ones([1024]);
    return () => {
      for (let i = 0; i < 256; i++) x = x.add(1);
    };
  },
  "train steps under jit": () => {
    let weights = ones([512, 512]);
    const x = ones([1, 512]);
    const step = jit((w: Tensor) => {
      const [loss, gradient] = valueAndGrad((v: Tensor) => x.matmul(v).sum())(w);
      return [loss, w.sub((gradient as Tensor).mul(1e-3))] as const;
    });
    return () => {
      weights = step(weights)[1];
    };
  },
  "donated states": () => {
    let x = ones(image);
    const step = jit((v: Tensor) => v.mul(0.5), { donateArgnums: [0] });
    return () => {
      x = step(x);
    };
  },
  "reads that block": () => {
    const x = ones(image);
    return (i) => x.add(i).dataSync()[0];
  },
  uploads: () => {
    const host = new Float32Array(256 * 1024);
    const x = zeros(image);
    return () => tensor(host, { shape: image }).add(x);
  },
  "functions with constants of their own": () => (i) => {
    const constant = ones(image).add(i);
    constant.dataSync();
    return jit((x: Tensor) => x.add(constant))(zeros([1]));
  },
  "states that live for a while": () => {
    const states: Tensor[] = [];
    const x = ones(image);
    return (i) => {
      states[i % 12] = x.add(i);
    };
  },
};

const natives = Object.entries(LOOPS);

describe.skipIf(!("native" in found))("a loop that never awaits, on the CPU", () => {
  afterAll(() => setDevice("auto"));

  test.each(natives)("%s", async (_, make) => {
    setDevice("cpu");
    const body = make();
    expect((await mostHeld(400, body)) / MiB).toBeLessThan(160);
  });

  test("a loop that awaits settled promises only", async () => {
    setDevice("cpu");
    expect((await mostHeld(400, LOOPS["eager ops"]!(), () => Promise.resolve())) / MiB).toBeLessThan(160);
  });

  test("what is reachable stays", async () => {
    setDevice("cpu");
    const kept = Array.from({ length: 300 }, (_, i) => ones([64, 1024]).mul(i));
    for (let i = 0; i < 300; i++) ones(image).add(i);
    for (const [i, x] of kept.entries()) expect(x.dataSync()[5]).toBe(i);
  });

  test("what is dropped between two turns of the event loop is released by the next", async () => {
    setDevice("cpu");
    const before = memory().live;
    (() => Array.from({ length: 8 }, () => ones(image).add(1)).length)();
    if ("native" in found) for (let i = 0; i < 8; i++) found.native.collect();
    for (let i = 0; i < 64; i++) ones(image).add(i);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect((memory().live - before) / MiB).toBeLessThan(64);
  });
});

describe("a loop that never awaits, on the reference", () => {
  afterAll(() => setDevice("auto"));

  test.each(["eager ops", "train steps under jit"])("%s", async (name) => {
    setDevice("reference");
    const body = LOOPS[name]!();
    expect((await mostHeld(60, body)) / MiB).toBeLessThan(50);
  });
});
