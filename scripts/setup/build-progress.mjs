// Runs in a worker, because the main thread blocks in the build: tells how far the ninja or make that writes `log` is.
import { readFileSync, writeSync } from "node:fs";
import { workerData } from "node:worker_threads";

const { log, live } = workerData;
const began = Date.now();

function show() {
  const text = readFileSync(log, "utf8");
  // "[12/180] Building …" of ninja, "[ 12%] Building …" of make.
  const found = text.match(/\[\s*\d+(\/\d+|%)\]/g)?.at(-1);
  if (!found) return;
  const seconds = Math.round((Date.now() - began) / 1000);
  writeSync(2, live ? `\r${found} ${seconds} s` : `${found} after ${seconds} s\n`);
}

setInterval(
  () => {
    try {
      show();
    } catch {
      // The log is not there yet.
    }
  },
  live ? 500 : 60_000,
);
