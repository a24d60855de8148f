/**
 * Every op of every package on the device "cuda", whose kernels run on the emulator here. None may decline but axis_index
 * and attention to sequences that are split, which programs have as their references.
 */
import "./emulated.js";
import "@te/kernels-cpu";
import "@te/fp8";
import "@te/layers";
import "@te/transformer";
import "@te/optim";
import { existsSync } from "node:fs";
import { cudaAvailable } from "@te/kernels-cuda";
import { testBackend } from "@te/testkit";
import { expect, test } from "vitest";

const { available, reason } = cudaAvailable();
if (available) testBackend("cuda", { mayDecline: ["axis_index", "context_attention", "context_attention_backward"] });
else test.skip(`ops on cuda: ${reason}`, () => {});

test("where the native build saw CUDA's headers, its kernels are here: their tests are not skipped by accident", () => {
  const cache = new URL("../../../native/build/emulator", import.meta.url);
  if (process.env.TE_KERNELS !== "off" && existsSync(cache)) expect(reason).toBeUndefined();
});
