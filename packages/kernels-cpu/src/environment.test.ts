/** Processes and worker threads that use the device: they end cleanly, whatever is queued. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { testBusyWorkers } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { loadNative } from "./load.js";

const found = loadNative();
const path = "path" in found ? found.path : "";
const call = promisify(execFile);

/** Runs a script that has `native`, a program `slow` of many exponentials, and `queue(n)`, and gives what it prints. */
async function script(body: string): Promise<string> {
  const setUp = `
    const native = require(${JSON.stringify(path)});
    const n = 1 << 20;
    const value = (kind, at) => ({ dtype: "float32", shape: [n], kind, at });
    const code = Array.from({ length: 40 }, (_, i) => "tanh float32 %" + i);
    const slow = native.compile({ values: [value(0, 0), value(2, 0)], inputs: 1, outputs: [{ value: 1, alias: -1 }], arenaBytes: 0,
      nodes: [{ op: "elementwise", inputs: [0], outputs: [1], params: { code, outputs: [40] } }] });
    const x = native.fromArray(new Uint8Array(4 * n));
    const handles = Int32Array.of(x, 0);
    const queue = (count) => { for (let i = 0; i < count; i++) native.run(slow, handles.buffer); return handles[1]; };
  `;
  const { stdout, stderr } = await call(process.execPath, ["-e", `${setUp}\n${body}`], { timeout: 60_000 });
  expect(stderr).toBe("");
  return stdout.trim();
}

describe.skipIf(!path)("the end of a process", () => {
  test("process.exit does not wait for queued work", async () => {
    const start = Date.now();
    expect(await script("queue(2000); console.log('bye'); process.exit(0);")).toBe("bye");
    expect(Date.now() - start).toBeLessThan(20_000);
  });

  test("process.exit in the midst of a product of another library is no crash; later listeners still read", async () => {
    const body = `
      const square = (kind, at) => ({ dtype: "bfloat16", shape: [512, 512], kind, at });
      const axes = { lhsContract: [1], rhsContract: [0], lhsBatch: [], rhsBatch: [] };
      const product = native.compile({ values: [square(0, 0), square(0, 1), square(2, 0)], inputs: 2, outputs: [{ value: 2, alias: -1 }],
        arenaBytes: 0, nodes: [{ op: "dot", inputs: [0, 1], outputs: [2], params: axes }] });
      const a = native.fromArray(new Uint8Array(2 * 512 * 512));
      const operands = Int32Array.of(a, a, 0);
      for (let i = 0; i < 24; i++) native.run(product, operands.buffer);
      process.on("exit", () => {
        const into = new Uint8Array(3);
        native.readSync(native.fromArray(new Uint8Array([1, 2, 3])), into);
        console.log(into.join());
        for (let i = 0; i < 24; i++) native.run(product, operands.buffer);
      });
      setTimeout(() => process.exit(), DELAY);`;
    for (const delay of [0, 4, 8]) expect(await script(body.replace("DELAY", String(delay)))).toBe("1,2,3");
  });

  test("work that nobody reads does not keep the process alive", async () => {
    expect(await script("queue(2000); console.log('end of script');")).toBe("end of script");
  });

  test("a pending read keeps the process alive until it is done", async () => {
    expect(await script("native.read(queue(3), new Uint8Array(4 * n)).then(() => console.log('read'));")).toBe("read");
  });

  test("the event loop runs while the device works", async () => {
    const body = `
      let ticks = 0;
      const timer = setInterval(() => ticks++, 1);
      native.read(queue(20), new Uint8Array(4 * n)).then(() => { clearInterval(timer); console.log(ticks > 2 ? "ticked" : "blocked " + ticks); });`;
    expect(await script(body)).toBe("ticked");
  });

  test("an uncaught exception with work queued is only that exception", async () => {
    await expect(script("queue(500); throw new Error('mine');")).rejects.toMatchObject({
      code: 1,
      stderr: /Error: mine/,
    });
  });

  test("worker threads have buffers of their own and end with work queued", async () => {
    const body = `
      const { Worker } = require("node:worker_threads");
      const source = \`
        const { parentPort } = require("node:worker_threads");
        const native = require(${JSON.stringify(path)});
        const handle = native.fromArray(new Uint8Array([1, 2, 3]));
        const into = new Uint8Array(3);
        native.read(handle, into).then(() => parentPort.postMessage([...into].join()));
        native.read(handle, new Uint8Array(3));
      \`;
      queue(5);
      const answers = Array.from({ length: 4 }, () => new Promise((resolve) => {
        const worker = new Worker(source, { eval: true });
        worker.on("message", (m) => { worker.terminate(); resolve(m); });
      }));
      Promise.all(answers).then((all) => { console.log(all.join(" ")); queue(5); });`;
    expect(await script(body)).toBe("1,2,3 1,2,3 1,2,3 1,2,3");
  });

  testBusyWorkers(`require(${JSON.stringify(path)})`);

  test("terminating a worker does not wait for what others have queued", async () => {
    const body = `
      const { Worker } = require("node:worker_threads");
      const source = "const native = require(" + JSON.stringify(${JSON.stringify(path)}) + "); native.read(native.fromArray(new Uint8Array(3)), new Uint8Array(3)); require('node:worker_threads').parentPort.postMessage(1);";
      const worker = new Worker(source, { eval: true });
      worker.once("message", async () => {
        queue(4000);
        await worker.terminate();
        let done = false;
        native.wait().then(() => { done = true; });
        setImmediate(() => { console.log(done ? "waited" : "at once"); process.exit(); });
      });`;
    expect(await script(body)).toBe("at once");
  });
});

// With sanitizers the queued work takes many minutes, and what is judged here is when things happen.
describe.skipIf(!path || process.env.TE_SANITIZE === "1")("the event loop", () => {
  test("queueing thousands of runs waits for none of them", async () => {
    const body = `
      native.readSync(queue(50), new Uint8Array(4 * n));
      const start = performance.now();
      native.readSync(queue(50), new Uint8Array(4 * n));
      const each = (performance.now() - start) / 50;
      // Of most calls: the system may take the processor from any.
      const took = Float64Array.from({ length: 10_000 }, () => { const t = performance.now(); queue(1); return performance.now() - t; }).sort();
      console.log(took[9_000] < each / 2 ? "ok" : [took[9_000], each].join());
      process.exit();`;
    expect(await script(body)).toBe("ok");
  });

  test("an upload is copied by the device, and the array is kept until then", async () => {
    const body = `
      let array = new Uint8Array(1 << 26).fill(7);
      queue(100);
      const handle = native.upload(array);
      console.log(native.memory().used < 1 << 26 ? "later" : "at once");
      array = undefined;
      native.collect();
      const into = new Uint8Array(1 << 26);
      native.read(handle, into).then(() => console.log(into.every((byte) => byte === 7)));`;
    expect(await script(body)).toBe("later\ntrue");
  });
});
