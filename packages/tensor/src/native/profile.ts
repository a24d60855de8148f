/** The time of every kernel of a run, on any native device. */

import { fail } from "../errors.js";
import { expectFunction, expectObject } from "../expect.js";
import { lackingFunction, type NativeAddon } from "./addon.js";

/** One kernel of a profiled run. */
export interface KernelTiming {
  readonly op: string;
  /** Position in the compiled program, and which program. */
  readonly node: number;
  readonly program: number;
  /** On the clock of process.hrtime. */
  readonly startNs: number;
  readonly ns: number;
}

/**
 * Runs `body` and returns the time of every kernel that ran on the device meanwhile, in order. Kernels run one by one then,
 * and nothing is replayed.
 */
export async function profileKernels(native: NativeAddon, body: () => void | Promise<void>): Promise<KernelTiming[]> {
  expectObject("profileKernels", { native });
  const lacking = lackingFunction(native);
  if (lacking !== undefined)
    fail("option", "profileKernels", "native must have the functions of NativeAddon", `one without ${lacking}`);
  expectFunction("profileKernels", { body });
  await native.wait();
  native.profileResults();
  native.profile(true);
  try {
    await body();
    await native.wait();
  } finally {
    native.profile(false);
  }
  return native
    .profileResults()
    .map(({ op, node, executable, startNs, ns }) => ({ op, node, program: executable, startNs, ns }));
}
