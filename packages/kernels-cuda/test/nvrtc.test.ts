/**
 * The CUDA C++ that is written for the elementwise chains of train steps: NVRTC itself makes code for Hopper of it. Runs where
 * NVRTC is, as in a CUDA toolkit or as `pip install nvidia-cuda-nvrtc`; a GPU is not needed, since nothing is run.
 */
import "./emulated.js";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setDevice } from "@te/tensor";
import { type Backend, byteSize, type DeviceBuffer, registerBackend } from "@te/tensor/backend";
import { afterAll, describe, expect, test } from "vitest";
import { openGpu } from "../src/backend.js";
import { loadCuda } from "../src/load.js";
import { PRECISIONS, SHAPES, training } from "./models.js";

const SIZE = { hidden: 512, batch: 2, length: 128 };

/** The file of NVRTC: what TE_TEST_NVRTC names, that of a toolkit, or that of a Python environment. */
function findNvrtc({ TE_TEST_NVRTC, CUDA_HOME, VIRTUAL_ENV }: NodeJS.ProcessEnv): string | undefined {
  if (TE_TEST_NVRTC) return TE_TEST_NVRTC;
  const versions = VIRTUAL_ENV && existsSync(join(VIRTUAL_ENV, "lib")) ? readdirSync(join(VIRTUAL_ENV, "lib")) : [];
  const wheels = versions.flatMap((version) =>
    ["cu13", "cuda_nvrtc"].map((name) => join(VIRTUAL_ENV!, "lib", version, "site-packages/nvidia", name, "lib")),
  );
  const homes = [CUDA_HOME, "/usr/local/cuda"].flatMap((home) => (home ? [join(home, "lib64")] : []));
  return [...homes, "/usr/lib/x86_64-linux-gnu", ...wheels]
    .flatMap((folder) => ["libnvrtc.so.13", "libnvrtc.so.12"].map((name) => join(folder, name)))
    .find((path) => existsSync(path));
}

const nvrtc = findNvrtc(process.env);
const kernels = mkdtempSync(join(tmpdir(), "te-nvrtc-"));
const before = { TE_NVRTC: process.env.TE_NVRTC, TE_KERNEL_CACHE: process.env.TE_KERNEL_CACHE };
if (nvrtc) Object.assign(process.env, { TE_NVRTC: nvrtc, TE_KERNEL_CACHE: kernels });
const loaded = loadCuda();
const opened = nvrtc ? openGpu(loaded, "cuda") : { reason: "NVRTC was not found; TE_TEST_NVRTC names its file" };

afterAll(() => {
  setDevice("auto");
  rmSync(kernels, { recursive: true, force: true });
  for (const [name, value] of Object.entries(before))
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
});

const bufferOf = (bytes: number): DeviceBuffer => ({
  bytes,
  read: async () => new Uint8Array(bytes),
  readSync: () => new Uint8Array(bytes),
  release() {},
  donate() {},
  reclaim: () => false,
});

/** The emulated GPU, which prepares every program that it is given and runs none. */
const preparing = (gpu: Backend): Backend => ({
  name: "preparing",
  description: gpu.description,
  passes: gpu.passes ?? [],
  supports: (node) => gpu.supports(node),
  compile(program) {
    gpu.compile(program).dispose();
    return { run: () => program.outputs.map((id) => bufferOf(byteSize(program.values[id]!))), dispose() {} };
  },
  fromHost: ({ byteLength }) => bufferOf(byteLength),
  memory: () => ({ live: 0, peak: 0, cached: 0, arena: 0 }),
  resetPeak() {},
});

/** The machine code that is in the cache: behind a mark and a fingerprint. */
const compiled = (): Buffer[] =>
  readdirSync(kernels).map((name) => {
    const file = readFileSync(join(kernels, name));
    return file.subarray(file.indexOf("\x7fELF"));
  });

const steps = Object.entries(SHAPES).flatMap(([shape, options]) =>
  Object.entries(PRECISIONS).map(([name, precision]) => [shape, name, options, precision] as const),
);

const gpu = "backend" in opened ? opened : undefined;
const why = "reason" in opened ? ` (${opened.reason})` : "";
if (why) console.log(`The chains of train steps are not compiled${why}.`);

describe.skipIf(!gpu)(`NVRTC${why}`, () => {
  if (gpu) registerBackend("preparing", () => preparing(gpu.backend));

  test.each(steps)("compiles the chains of a train step of the shape of %s in %s", (_, __, options, precision) => {
    setDevice("preparing");
    const { state, step } = training(options, SIZE, precision);
    step(state, 0);
    expect("info" in loaded && loaded.info().problems).toEqual([]);
  });

  test("has made code for Hopper of all of them", () => {
    const images = compiled();
    expect(images.length).toBeGreaterThan(30);
    for (const image of images) {
      expect(image.readUInt16LE(18)).toBe(190); // EM_CUDA
      expect(image.includes(".text.te_kernel")).toBe(true);
    }
  });
});
