/** What processes tell each other outside of programs: numbers that they agree on, and how work of all of them went. */
import { tensor } from "@te/tensor";
import { expectFunction, expectString, fail } from "@te/tensor/op";
import { withMesh } from "./mesh.js";
import { allReduceOp } from "./ops/collectives.js";
import { processCount, processIndex } from "./world.js";

const LARGEST = 2 ** 31 - 1;

/**
 * The largest of the whole numbers from 0 to 2^31 - 1 that the processes give, once all of them have come here. `purpose` is
 * what an error calls it. As with programs, all processes do this, in the same order; none computes anything meanwhile.
 */
export async function agreeOnLargest(value: number, purpose: string): Promise<number> {
  const fn = "agreeOnLargest";
  if (!Number.isInteger(value) || value < 0 || value > LARGEST)
    fail("option", fn, "value must be a whole number from 0 to 2^31 - 1", value);
  expectString(fn, { purpose });
  const count = processCount();
  if (count === 1) return value;
  const ranks = Array.from({ length: count }, (_, rank) => rank);
  return withMesh(null, async () => {
    const x = tensor(value, { dtype: "int32" });
    const { y } = allReduceOp({ x }, { ranks, place: processIndex(), program: 0, purpose, reduction: "max" });
    const largest = await y.item();
    x.dispose();
    y.dispose();
    return largest;
  });
}

/** How the work of a process stands. From FAILED on the rank is added. */
const [DONE, WORKING, FAILED] = [0, 1, 2];

/** So often processes tell each other that they are still at it: waiting in one exchange ends after TE_COLLECTIVE_TIMEOUT. */
const BEAT_MS = 500;

/**
 * Runs `work`, which takes each process as long as it takes, and gives its result once it is done in all of them. Where it
 * fails in one, it fails in all: there with its own error, in the others, when they are done, with one that names the rank.
 * The same rules as for agreeOnLargest.
 */
export async function finishTogether<T>(purpose: string, work: () => Promise<T>): Promise<T> {
  expectString("finishTogether", { purpose });
  expectFunction("finishTogether", { work });
  if (processCount() === 1) return work();
  let state = WORKING;
  const result = work();
  const settled = result.then(
    () => {
      state = DONE;
    },
    () => {
      state = FAILED + processIndex();
    },
  );
  for (;;) {
    await eitherOr(settled, BEAT_MS);
    const worst = await agreeOnLargest(state, purpose);
    if (worst === WORKING) continue;
    const own = await result;
    if (worst === DONE) return own;
    fail("backend", purpose, `rank ${worst - FAILED} could not do its part, as its own error says`);
  }
}

/** Waits until something is settled, but no longer than some time. */
async function eitherOr(settled: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const time = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([settled, time]);
  clearTimeout(timer);
}
