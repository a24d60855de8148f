/** Which GPUs there are, which one "cuda" is, and the sentence for each way in which it cannot be used. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openGpu } from "./backend.js";
import { countGpus, findGpu, gpuNames } from "./gpus.js";
import type { CudaAnswer, CudaDevice, NativeCuda } from "./native.js";

const gpu = (ordinal: number, more: Partial<CudaDevice> = {}): CudaDevice => ({
  ordinal,
  name: `GPU ${ordinal}`,
  computeCapability: "9.0",
  memoryBytes: 2 ** 30,
  ...more,
});

const machine = (devices: CudaDevice[], more: Partial<CudaAnswer & NativeCuda> = {}): NativeCuda => ({
  cudaAvailable: () => ({ available: devices.length > 0, devices, ...more }),
  info: () => ({ cublasLt: "13.1.0" }),
  replays: () => ({ replayed: 0, executed: 0 }),
  open: () => expect.fail("nothing to open"),
  joinWorld: () => expect.fail("nothing to join"),
  sentBytes: () => ({}),
  leaveWorld: () => expect.fail("nothing to leave"),
  ...more,
});

const reasonOf = (found: object): unknown => ("reason" in found ? found.reason : expect.fail("it was found"));

describe("GPUs", () => {
  test("are counted without the driver", () => {
    const folder = mkdtempSync(join(tmpdir(), "te-gpus-"));
    expect(countGpus({}, folder)).toBe(0);
    for (const name of ["dxg", "null"]) writeFileSync(join(folder, name), "");
    expect(countGpus({}, folder)).toBe(1);
    for (const name of ["nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm"]) writeFileSync(join(folder, name), "");
    expect(countGpus({}, folder)).toBe(2);
    rmSync(folder, { recursive: true });
    expect(countGpus({}, folder)).toBe(0);
    expect(countGpus({ TE_CUDA_EMULATED: "1" }, folder)).toBe(1);
    expect(countGpus({ TE_CUDA_EMULATED: "1", TE_EMU_DEVICES: "3" }, folder)).toBe(3);
  });

  test.each([
    [0, {}, ["cuda"]],
    [1, {}, ["cuda"]],
    [3, {}, ["cuda", "cuda:1", "cuda:2"]],
    [3, { TE_CUDA_DEVICE: "1" }, ["cuda", "cuda:0", "cuda:2"]],
    [2, { TE_CUDA_DEVICE: "first" }, ["cuda", "cuda:1"]],
    [3, { OMPI_COMM_WORLD_LOCAL_RANK: "2" }, ["cuda", "cuda:0", "cuda:1"]],
    [3, { TE_RANK: "4" }, ["cuda", "cuda:0", "cuda:2"]],
    [3, { TE_RANK: "4", TE_CUDA_DEVICE: "0" }, ["cuda", "cuda:1", "cuda:2"]],
  ])("%i of them with %o have the names %o", (count, env, names) => {
    expect(gpuNames(count, env)).toEqual(names);
  });

  test("are found by name", () => {
    const native = machine([gpu(0), gpu(1)]);
    expect(findGpu(native, "cuda", {})).toEqual({ native, gpu: gpu(0) });
    expect(findGpu(native, "cuda", { TE_CUDA_DEVICE: "1" })).toEqual({ native, gpu: gpu(1) });
    expect(findGpu(native, "cuda:1", {})).toEqual({ native, gpu: gpu(1) });
    expect(reasonOf(findGpu(native, "cuda:2", {}))).toBe("there is no GPU 2");
  });

  test.each([["7"], ["-1"], ["1.5"], ["first"], ["00"]])("TE_CUDA_DEVICE=%s is one sentence", (text) => {
    expect(reasonOf(findGpu(machine([gpu(0), gpu(1)]), "cuda", { TE_CUDA_DEVICE: text }))).toBe(
      `TE_CUDA_DEVICE must be the number of a GPU, 0 to 1, got "${text}"`,
    );
    expect(reasonOf(findGpu(machine([gpu(0)]), "cuda", { TE_CUDA_DEVICE: text }))).toBe(
      `TE_CUDA_DEVICE must be 0, the number of the only GPU, got "${text}"`,
    );
  });

  test("that cannot be used say why", () => {
    const old = machine([gpu(0, { reason: "GPU 0 has compute capability 7.5" })]);
    const busy = machine([gpu(0)], {
      open: () => {
        throw new Error("cudaStreamCreate: all CUDA-capable devices are busy or unavailable");
      },
    });
    expect(reasonOf(openGpu({ reason: "TE_KERNELS=off" }, "cuda", {}))).toBe("TE_KERNELS=off");
    expect(reasonOf(openGpu(machine([], { reason: "there is no driver" }), "cuda", {}))).toBe("there is no driver");
    expect(reasonOf(openGpu(old, "cuda", {}))).toBe("GPU 0 has compute capability 7.5");
    expect(reasonOf(openGpu(busy, "cuda", {}))).toBe(
      "GPU 0 cannot be used: cudaStreamCreate: all CUDA-capable devices are busy or unavailable",
    );
  });
});
