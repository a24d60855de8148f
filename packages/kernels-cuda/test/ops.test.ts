/**
 * Every op of every package on the device "cuda", whose kernels run on the emulator here. None may decline but those in which
 * processes exchange: the device joins no others yet.
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
const collectives = ["all_gather", "all_to_all", "ppermute", "agree", "all_reduce", "reduce_scatter", "axis_index"];
if (available) testBackend("cuda", { mayDecline: collectives });
else test.skip(`ops on cuda: ${reason}`, () => {});

test("where the native build saw CUDA's headers, its kernels are here: their tests are not skipped by accident", () => {
  const cache = new URL("../../../native/build/emulator", import.meta.url);
  if (process.env.TE_KERNELS !== "off" && existsSync(cache)) expect(reason).toBeUndefined();
});
