/** Whether CUDA is there, and what a missing build says. */
import { tmpdir } from "node:os";
import { describe, expect, test } from "vitest";
import { cudaAvailable } from "./index.js";
import { loadCuda } from "./load.js";

describe("cudaAvailable", () => {
  test("answers with devices or with a reason, and never throws", () => {
    const answer = cudaAvailable();
    expect(answer.available).toBe(answer.devices.some(({ reason }) => reason === undefined));
    if (!answer.available) expect(answer.reason).toMatch(/\w/);
  });

  test("a missing build is a reason", () => {
    expect(loadCuda({ TE_KERNELS: "off" })).toEqual({ reason: "TE_KERNELS=off" });
    expect(loadCuda({ TE_NATIVE_DIR: tmpdir() })).toMatchObject({ reason: expect.stringContaining("te_cuda.node") });
  });
});
