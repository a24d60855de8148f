/** Processes and worker threads that use the device: they end cleanly, whatever is queued. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
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
});
