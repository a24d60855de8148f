/** Garbage whose memory is native: when to look for it, and how to make V8 find what died young. */
import type { NativeAddon } from "./addon.js";

/** V8 collects its young objects when they hold this much in array buffers and another one is made. */
const YOUNG_BYTES = 33 * 2 ** 20;

/**
 * Gives back the memory of tensors that are not reachable any more. Nobody else does while no task ends: the callbacks of
 * a FinalizationRegistry wait for the event loop. What dies young, as the state of the last step does, is found in a
 * fraction of a millisecond.
 */
export function reclaim(native: NativeAddon): void {
  if (native.sweep()) return;
  collectYoung();
  if (!native.sweep()) native.collect();
}

/** The pages of the array are never touched, so that it costs nothing. */
function collectYoung(): void {
  try {
    new ArrayBuffer(YOUNG_BYTES);
    new ArrayBuffer(8);
  } catch {
    // No memory for that: collect() needs none.
  }
}
