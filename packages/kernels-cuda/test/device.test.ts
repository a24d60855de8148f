/** What users see of the device: its description, its times and memory, and the line that says why it is not used. */
import "./emulated.js";
import "@te/kernels-cpu";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cudaAvailable, cudaInfo, cudaMemory, cudaPasses, profile } from "@te/kernels-cuda";
import { currentBackend, devices, ones, setDevice, tensor } from "@te/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { countGpus } from "../src/gpus.js";

const { available } = cudaAvailable();

describe.skipIf(!available)("the device", () => {
  test("is taken before the CPU, and says what it runs on", () => {
    expect(currentBackend().name).toBe("cuda");
    const info = cudaInfo();
    if (!info.available) return expect.fail(info.reason);
    expect(info.products).toMatch(/cuBLASLt/);
    expect(currentBackend().description).toBe(
      `${info.name}, compute capability ${info.computeCapability}, ${info.products}`,
    );
    expect(devices()).toContainEqual({ name: "cuda", available: true, description: currentBackend().description });
  });

  test("has the passes that it says it has", () => {
    setDevice("cuda");
    expect(currentBackend().passes?.map(({ name }) => name)).toEqual(cudaPasses.map(({ name }) => name));
  });

  test("tells the time of every kernel", async () => {
    setDevice("cuda");
    const x = ones([64, 64]);
    const timings = await profile(async () => void (await x.sum().data()));
    expect(timings.length).toBeGreaterThan(0);
    for (const { op, ns, node } of timings) expect([typeof op, ns >= 0, node >= 0]).toEqual(["string", true, true]);
    expect(await profile(() => {})).toEqual([]);
  });

  test("tells its memory", async () => {
    setDevice("cuda");
    const before = cudaMemory().live;
    const y = ones([256, 256]).add(1);
    await y.data();
    expect(cudaMemory().live - before).toBeGreaterThanOrEqual(4 * 256 * 256);
    expect(cudaMemory().used).toBeGreaterThan(0);
    y.dispose();
  });

  test("a GPU that is not there is a reason", () => {
    expect(cudaInfo("cuda:9")).toEqual({ available: false, reason: "there is no GPU 9" });
    expect(() => cudaMemory("cuda:9")).toThrow('cudaMemory: the device "cuda:9" must be available. there is no GPU 9.');
    expect(() => setDevice("cuda:9")).toThrow(/^setDevice: "cuda:9" is not available: /);
  });

  test("work goes through as elsewhere", async () => {
    setDevice("cuda");
    expect(await tensor([1, 2, 3]).mul(2).toArray()).toEqual([2, 4, 6]);
  });
});

describe("a program that imports the package", () => {
  const folder = mkdtempSync(join(tmpdir(), "te-cuda-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const SOURCE = `
    import "@te/kernels-cpu";
    import "@te/kernels-cuda";
    import { currentBackend, ones, setDevice } from "@te/tensor";
    if (process.argv[2]) setDevice(process.argv[2]);
    ones([2]).add(1).data().then((y) => console.log(y.join(), "on", currentBackend().name));`;
  const program = join(folder, "program.mjs");
  const entry = join(import.meta.dirname, "../out-device.mjs");
  writeFileSync(entry, SOURCE);
  const root = join(import.meta.dirname, "../../..");
  const flags = ["--bundle", "--platform=node", "--format=esm", "--conditions=@te/source", "--log-level=error"];
  execFileSync(join(root, "node_modules/.bin/esbuild"), [entry, ...flags, `--outfile=${program}`]);
  rmSync(entry);

  const native = process.env.TE_NATIVE_DIR ?? join(root, "native/build");
  function run(env: Record<string, string>, device?: string) {
    const { TE_CUDA_EMULATED: _, TE_KERNELS: __, ...plain } = process.env;
    const { stdout, stderr } = spawnSync(process.execPath, [program, ...(device ? [device] : [])], {
      encoding: "utf8",
      env: { ...plain, TE_NATIVE_DIR: native, ...env },
    });
    return [stdout.trim(), stderr.trim()];
  }

  test.skipIf(countGpus({}) > 0)("says nothing where there is no GPU", () => {
    expect(run({})).toEqual(["2,2 on cpu", ""]);
  });

  test.skipIf(!available)("runs on the GPU", () => {
    expect(run({ TE_CUDA_EMULATED: "1" })).toEqual(["2,2 on cuda", ""]);
  });

  test.skipIf(!available)("takes another GPU by its number", () => {
    const two = { TE_CUDA_EMULATED: "1", TE_EMU_DEVICES: "2" };
    expect(run(two, "cuda:1")).toEqual(["2,2 on cuda:1", ""]);
    expect(run({ ...two, TE_CUDA_DEVICE: "1" })).toEqual(["2,2 on cuda", ""]);
    expect(run({ ...two, TE_CUDA_DEVICE: "1" }, "cuda:0")).toEqual(["2,2 on cuda:0", ""]);
  });

  test.skipIf(!available)("runs on the CPU and says why, where the GPU cannot be used", () => {
    const said =
      'te: "cuda" is not available: TE_CUDA_DEVICE must be 0, the number of the only GPU, got "4"; using "cpu"';
    expect(run({ TE_CUDA_EMULATED: "1", TE_CUDA_DEVICE: "4" })).toEqual(["2,2 on cpu", said]);
  });

  test.skipIf(!available)("says how to build for a GPU that the build has no code for", () => {
    const reason = "this build of te_cuda.node has no code for compute capability 9.0; build it with TE_CUDA_ARCH=90";
    const said = `te: "cuda" is not available: emulated on the CPU cannot be used: ${reason}; using "cpu"`;
    expect(run({ TE_CUDA_EMULATED: "1", TE_EMU_NO_CODE: "1" })).toEqual(["2,2 on cpu", said]);
  });
});
