/** Worker threads that are terminated while they work on a native device. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const call = promisify(execFile);

// What a worker does over and over until it is terminated.
const BUSY = {
  "runs programs": "for (;;) { native.readSync(run(), new Uint8Array(4)); for (let i = 0; i < 20; i++) run(); }",
  "reads without waiting":
    "for (let i = 0; ; i++) { native.read(run(), new Uint8Array(4)); if (i % 64 === 0) native.readSync(x, new Uint8Array(4)); }",
  "awaits reads": "(async () => { for (;;) await native.read(run(), new Uint8Array(4)); })()",
  "awaits large results": "(async () => { for (;;) await native.fetch(native.fromArray(new Uint8Array(1 << 17))); })()",
  "awaits the device": "(async () => { for (;;) { run(); await native.wait(); } })()",
  compiles:
    "for (;;) { native.ownProgram(native.compile(spec), {}); native.supports({ op: 'x', inputs: [], outputs: [], params: {} }); }",
  "gets errors":
    "for (;;) { try { native.run(program, new ArrayBuffer(0)); } catch {} try { native.release(-1); } catch {} }",
  uploads:
    "for (;;) { native.readSync(native.upload(new Uint8Array(1 << 19)), new Uint8Array(1 << 19)); native.collect(); }",
  asks: "for (;;) { native.memory(); native.profileResults(); native.sweep(); }",
  "reads from timers": "setInterval(() => { native.read(run(), new Uint8Array(4)); native.wait(); }, 0)",
  exits: "for (let i = 0; i < 20; i++) native.read(run(), new Uint8Array(4)); setTimeout(() => process.exit(), 5)",
};

/**
 * Declares a test for each thing that a worker may be at when it is terminated: nothing else ends, and the device works on.
 * `native` is an expression of CommonJS that gives the functions of the device.
 */
export function testBusyWorkers(native: string): void {
  test.each(Object.entries(BUSY))("a worker that %s is terminated, and nothing else ends", async (_, work) => {
    const source = `
      const { parentPort } = require("node:worker_threads");
      const native = ${native};
      const value = (kind) => ({ dtype: "float32", shape: [1], kind, at: 0 });
      const spec = { values: [value(0), value(2)], inputs: 1, outputs: [{ value: 1, alias: -1 }], arenaBytes: 0,
        nodes: [{ op: "copy", inputs: [0], outputs: [1], params: {} }] };
      const program = native.compile(spec);
      const x = native.fromArray(new Uint8Array(4));
      const handles = Int32Array.of(x, 0);
      const run = () => { native.run(program, handles.buffer); native.own(handles[1], {}); return handles[1]; };
      parentPort.postMessage("ready");
      ${work};`;
    const body = `
      const { Worker } = require("node:worker_threads");
      const one = (delay) => new Promise((resolve) => {
        const worker = new Worker(${JSON.stringify(source)}, { eval: true });
        worker.once("message", () => setTimeout(() => worker.terminate(), delay));
        worker.once("exit", resolve);
      });
      (async () => {
        for (let i = 0; i < 6; i++) await one(2 * i);
        await Promise.all([0, 1, 2, 3].map(one));
        const into = new Uint8Array(3);
        await native.read(native.fromArray(new Uint8Array([1, 2, 3])), into);
        console.log(into.join());
      })();`;
    const { stdout, stderr } = await call(process.execPath, ["-e", `const native = ${native};\n${body}`], {
      timeout: 60_000,
    });
    expect(stderr).toBe("");
    expect(stdout.trim()).toBe("1,2,3");
  });
}
