/** Large arrays on their way to the device and back: what was given is what counts, and the event loop turns meanwhile. */
import { ones, setDevice, tensor } from "@te/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { loadNative } from "./index.js";

const devices = ["reference", ...("native" in loadNative() ? ["cpu"] : [])];
const LENGTH = 3 * 2 ** 20;

/** How often the event loop turns until the promise is settled. */
async function turns(promise: Promise<unknown>): Promise<number> {
  let count = 0;
  let going = true;
  const tick = (): void => {
    count++;
    if (going) setImmediate(tick);
  };
  setImmediate(tick);
  await promise;
  going = false;
  return count;
}

describe.each(devices)("on %s", (device) => {
  afterAll(() => setDevice("auto"));

  test("a tensor holds what its array held, whatever happens to the array later", async () => {
    setDevice(device);
    const work = ones([128, 128]);
    for (let i = 0; i < 20; i++) work.matmul(work);
    const host = new Float32Array(LENGTH).fill(3);
    const x = tensor(host);
    host.fill(4);
    const y = x.add(1);
    host.fill(5);
    expect([x.dataSync()[0], x.dataSync()[LENGTH - 1]]).toEqual([3, 3]);
    expect(y.dataSync()[LENGTH - 1]).toBe(4);
    expect(x.device).toBe(device);
  });

  test("what data() gives is the caller's", async () => {
    setDevice(device);
    const x = tensor(new Float64Array(LENGTH).fill(2)); // converted: it waits in host memory until a device needs it
    const before = await x.data();
    before.fill(9);
    expect((await x.data())[LENGTH - 1]).toBe(2);
    const y = x.mul(2);
    (await y.data()).fill(9);
    expect((await y.data())[0]).toBe(4);
    expect((await y.add(x).data())[LENGTH - 1]).toBe(6);
  });

  test("values(), toArray() and data() of large tensors let the event loop turn", async () => {
    setDevice(device);
    const x = tensor(Float64Array.from({ length: LENGTH }, (_, i) => i % 1000));
    expect(await turns(x.data())).toBeGreaterThan(1);
    expect(await turns(x.values())).toBeGreaterThan(3);
    const nested = x.reshape([3, 2 ** 10, 2 ** 10]).toArray();
    expect(await turns(nested)).toBeGreaterThan(6);
    const rows = ((await nested) as number[][][])[2]![1]!.slice(-2);
    expect(rows).toEqual([(2 ** 21 + 2 ** 11 - 2) % 1000, (2 ** 21 + 2 ** 11 - 1) % 1000]);
    const values = await x.astype("bfloat16").astype("float32").sub(x).abs().values();
    expect(values.length).toBe(LENGTH);
    expect([values[999], values[256], values[LENGTH - 1]]).toEqual([1, 0, 1]);
  });
});
