/** Child processes that make the calls, so that one that dies or hangs is an answer too and the others go on. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export interface Stretch {
  readonly seed: number;
  readonly from: number;
  readonly to: number;
  /** MiB that the process may take beyond what it has after its start; 0: any. */
  readonly memory: number;
  /** Where files go, and the file `now` with the call that runs. */
  readonly folder: string;
  readonly verbose: boolean;
}

/** Something that should not be. */
export interface Finding {
  readonly index: number;
  readonly kind: "crash" | "hang" | "error" | "mismatch";
  /** The call. */
  readonly text: string;
  readonly what: string;
}

export interface SessionOptions {
  readonly seed: number;
  readonly from: number;
  readonly calls: number;
  readonly jobs: number;
  /** Seconds that a call may take. */
  readonly limit: number;
  /** MiB that a child may take; 0: any. */
  readonly memory: number;
  readonly verbose: boolean;
  /** Of the children, beside that of this process. */
  readonly env: NodeJS.ProcessEnv;
  readonly onFinding: (finding: Finding) => void;
  readonly onProgress: (done: number) => void;
}

/** Calls per process: a start costs two seconds, and memory that is lost is given back at its end. */
const STRETCH = 4000;
const CHILD = fileURLToPath(new URL("child.ts", import.meta.url));

/** Makes all calls. */
export async function runSession(options: SessionOptions): Promise<void> {
  const end = options.from + options.calls;
  let next = options.from;
  let done = 0;
  const worker = async (): Promise<void> => {
    while (next < end) {
      const to = Math.min(end, next + Math.min(STRETCH, Math.ceil(options.calls / options.jobs)));
      let from = next;
      next = to;
      // A process that ended early goes on in another one, behind the call that ended it.
      while (from < to) {
        const reached = await runChild(options, from, to);
        done += reached - from;
        from = reached;
        options.onProgress(done);
      }
    }
  };
  await Promise.all(Array.from({ length: options.jobs }, worker));
}

/** Runs one child; gives the index that the next one begins with. */
async function runChild(options: SessionOptions, from: number, to: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "te-fuzz-"));
  const child = spawn(process.execPath, ["--conditions=@te/source", "--import", "tsx", "--expose-gc", CHILD], {
    stdio: ["ignore", "ignore", "pipe", "ipc"],
    env: { ...process.env, ...options.env },
  });
  let stderr = "";
  child.stderr!.on("data", (data) => {
    if (options.verbose) process.stderr.write(data);
    stderr = `${stderr}${data}`.slice(-4000);
  });
  child.on("message", (finding: Finding) => options.onFinding(finding));
  const { seed, memory, verbose } = options;
  child.send({ seed, from, to, folder, memory, verbose } satisfies Stretch);
  const hung = watch(child, folder, options.limit);
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
    child.on("close", (...how) => resolve(how));
  });
  const [now, text] = readNow(folder);
  rmSync(folder, { recursive: true, force: true });
  if (hung() !== undefined) {
    options.onFinding({ index: hung()!, kind: "hang", text, what: `no answer within ${options.limit} s` });
    return hung()! + 1;
  }
  if (now === "done") return to;
  if (now === "") throw new Error(`a child of the fuzzer ended before its first call: ${lastLines(stderr)}`);
  const index = Number(now);
  options.onFinding({
    index,
    kind: "crash",
    text,
    what: `the process ended with ${signal ?? code}: ${lastLines(stderr)}`,
  });
  return index + 1;
}

/** Kills the child when one call runs for too long; the result tells which. */
function watch(child: ChildProcess, folder: string, limit: number): () => number | undefined {
  let [last, since] = ["", Date.now()];
  let hung: number | undefined;
  const timer = setInterval(() => {
    const [now] = readNow(folder);
    if (now !== last) [last, since] = [now, Date.now()];
    const patience = last === "" ? 60 + limit : limit;
    if (Date.now() - since < patience * 1000) return;
    hung = Number(last);
    child.kill("SIGKILL");
  }, 250);
  child.on("close", () => clearInterval(timer));
  return () => hung;
}

function readNow(folder: string): [now: string, text: string] {
  try {
    const [now = "", text = ""] = readFileSync(join(folder, "now"), "utf8").trim().split("\n");
    return [now, text];
  } catch {
    return ["", ""];
  }
}

const lastLines = (text: string): string => text.trim().split("\n").slice(-12).join("\n    ");
