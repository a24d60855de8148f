/** Garbage, collected when a test asks for it. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { memory } from "@te/tensor";

/** Bytes in tensors once collections and the finalizers that follow find nothing more, or no more than `enough` are left. */
export async function bytesAfterCollection(enough = 0): Promise<number> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  // Finalizers run when the event loop pleases, and queued work keeps its operands: on a busy machine that takes a while.
  for (let unchanged = 0, last = Number.POSITIVE_INFINITY; unchanged < 20 && last > enough; ) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 5));
    const { live } = memory();
    unchanged = live < last ? 0 : unchanged + 1;
    last = Math.min(last, live);
  }
  return memory().live;
}
