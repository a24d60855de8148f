/** npm run demo: trains the character model in three precisions, compares them, and lets the last one write. */
import { mkdir } from "node:fs/promises";
import { join, relative } from "node:path";
import type { Variables } from "@te/layers";
import { agreeOnLargest, processCount } from "@te/sharding";
import { currentBackend, random, setDevice, TeError } from "@te/tensor";
import { type Corpus, decode, encode, readCorpus } from "./data.js";
import { generate } from "./generate.js";
import { bringTogether, byFirst, formatMesh, isFirst, offMesh, onMesh } from "./mesh.js";
import { type Options, parseOptions, USAGE, UsageError } from "./options.js";
import { planSession } from "./plan.js";
import { ASKS_TO_STOP, isStarted, startProcesses } from "./processes.js";
import { formatCount, formatTime, type Output, Progress } from "./progress.js";
import { measurePeaks, resultTable, weightsPath, writeChart, writeWeights } from "./report.js";
import { type RunOutcome, run } from "./run.js";
import { type RunResult, type Session, saveSession } from "./session.js";
import { disposeAll, type Trainer } from "./train.js";

/** Where several processes run together, the first one speaks. */
const output: Output = {
  isTTY: process.stdout.isTTY,
  get columns() {
    return process.stdout.columns;
  },
  write: (text) => isFirst() && process.stdout.write(text),
};
const say = (line = ""): void => void output.write(`${line}\n`);

/** What Ctrl-C sends, or what mpirun makes of it: that of Open MPI sends SIGCONT, and ends its processes a little later. */
const isUnderOpenMpi = process.env.OMPI_COMM_WORLD_SIZE !== undefined;
const SIGNALS: readonly NodeJS.Signals[] = isUnderOpenMpi
  ? ["SIGINT", "SIGTERM", ASKS_TO_STOP, "SIGCONT"]
  : ["SIGINT", "SIGTERM", ASKS_TO_STOP];

/**
 * Calls body with a question: was Ctrl-C pressed? The first one only makes the answer yes, a second ends the process. All
 * processes that run together ask, and get the same answer.
 */
async function withInterrupt<T>(body: (interrupted: () => Promise<boolean>) => Promise<T>): Promise<T> {
  let asked = 0;
  const ask = (): void => {
    asked = 1;
  };
  for (const signal of SIGNALS) process.once(signal, ask);
  try {
    return await body(async () => (await agreeOnLargest(asked, "Ctrl-C")) === 1);
  } finally {
    for (const signal of SIGNALS) process.off(signal, ask);
  }
}

async function chooseDevice({ device }: Options): Promise<string> {
  if (device === "cuda") await import("@te/kernels-cuda");
  setDevice(device);
  return offMesh(currentBackend).name;
}

/** Makes the runs that are left. Returns the session with all results and the last run, or undefined when interrupted. */
async function train(
  session: Session,
  corpus: Corpus,
  options: Options,
  interrupted: () => Promise<boolean>,
): Promise<{ session: Session; last: RunOutcome } | undefined> {
  const widest = Math.max(...session.precisions.map((p) => p.name.length));
  let { results, current } = session;
  for (;;) {
    const precision = session.precisions[results.length]!;
    const progress = new Progress(
      output,
      precision.name.padEnd(widest),
      session.steps,
      session.batch * session.model.sequence,
    );
    const onStep = (step: number, loss: number): void => progress.update(step, loss);
    const last = await run(corpus, { ...session, precision }, current ?? undefined, { onStep, interrupted });
    progress.end();
    if (last.heldOut === undefined) {
      await stop({ ...session, results, current: last }, options);
      return undefined;
    }
    const tokensPerSecond = (session.batch * session.model.sequence * last.timedSteps) / last.timedSeconds;
    results = [...results, { precision, losses: last.losses, heldOut: last.heldOut, tokensPerSecond }];
    current = null;
    const params = bringTogether(last.state.variables.params);
    const path = weightsPath(session.out, precision);
    await byFirst("the weights", () => writeWeights(path, params, session.model, corpus.characters));
    if (results.length === session.precisions.length) return { session: { ...session, results }, last };
    disposeAll(last.state);
  }
}

/** Saves the session and says how to go on. */
async function stop(session: Session, { mesh, processes }: Options): Promise<void> {
  const { state, losses, timedSteps, timedSeconds } = session.current!;
  const path = join(session.out, mesh ? "state.safetensors.index.json" : "state.safetensors");
  await saveSession(path, { ...session, current: { state, losses, timedSteps, timedSeconds } });
  const precision = session.precisions[session.results.length]!;
  say(`\nStopped after step ${losses.length} of ${session.steps} in ${precision.name}; everything is saved. To go on:`);
  const split = [mesh && `--mesh ${formatMesh(mesh)} `, processes && `--processes ${processes} `];
  say(`  npm run demo -- ${split.map((words) => words ?? "").join("")}--resume ${quote(shown(path))}`);
}

/** As it can be typed here: relative where that is shorter. */
function shown(path: string): string {
  const near = relative(process.cwd(), path);
  return near.startsWith("..") ? path : near;
}

const quote = (path: string): string => (/^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`);

async function report({ results, model, out }: Session, corpus: Corpus): Promise<void> {
  say(`\n${resultTable(results, model, measurePeaks())}\n`);
  say(
    `A model that knows only how frequent each character is has a loss of ${corpus.unigramEntropy.toFixed(4)} (nats per character).`,
  );
  const [bfloat16, fp8] = ["none", "delayed"].map((recipe) =>
    results.find(({ precision }) => precision.dtype === "bfloat16" && precision.recipe === recipe),
  );
  if (bfloat16 && fp8) say(`FP8 against bfloat16: ${compare(fp8, bfloat16)}.`);
  const chart = join(out, "loss.svg");
  await writeChart(chart, results, corpus.unigramEntropy);
  const weights = results.map(({ precision }) => weightsPath(out, precision));
  say(`Written: ${[chart, ...weights].map(shown).join(", ")}`);
}

function compare(a: RunResult, b: RunResult): string {
  const percent = 100 * (a.heldOut / b.heldOut - 1);
  return `held-out loss ${percent < 0 ? "−" : "+"}${Math.abs(percent).toFixed(2)} %`;
}

/** Lets the model of the last run go on from the opening of the book. */
async function write(
  { model, precisions, seed }: Session,
  trainer: Trainer,
  variables: Variables,
  { characters }: Corpus,
): Promise<void> {
  const opening = "Call me Ishmael. ".slice(0, model.sequence / 2);
  const count = model.sequence - opening.length;
  say(`\nThe ${precisions.at(-1)!.name} model writes, with a KV cache and temperature 0.8:\n`);
  process.stdout.write(opening);
  const began = performance.now();
  await generate(trainer.model, precisions.at(-1)!, variables, {
    prompt: encode(characters, opening),
    count,
    temperature: 0.8,
    key: random.foldIn(random.key(seed), 2),
    onId: (id) => process.stdout.write(decode(characters, [id])),
  });
  say(`\n\n${formatCount(count / ((performance.now() - began) / 1000))} characters/s`);
}

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(argv);
  if (options.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  if (options.processes !== undefined && !isStarted()) return startProcesses(options.processes, argv);
  return onMesh(options.mesh, () => demonstrate(options));
}

async function demonstrate(options: Options): Promise<number> {
  const began = performance.now();
  const corpus = readCorpus();
  const device = await chooseDevice(options);
  // The first use of a mesh joins the processes that were started together: from here on one of them speaks.
  const { description } = currentBackend();
  say(
    `Moby-Dick: ${formatCount(corpus.training.length)} characters to train on, ${formatCount(corpus.heldOut.length)} held out, ${corpus.characters.length} different.`,
  );
  say(`Device: ${device} (${description}).`);
  const session = await planSession(options, corpus, device, say);
  await mkdir(session.out, { recursive: true });
  const { layers, hiddenSize, heads, sequence } = session.model;
  say(
    `Model: ${layers} layers of width ${hiddenSize}, ${heads} heads, ${sequence} characters; ${session.steps} steps of ${session.batch} × ${sequence}.\n`,
  );
  const done = await withInterrupt((interrupted) => train(session, corpus, options, interrupted));
  // A status other than 0 of one process ends the others at once.
  if (!done) return processCount() > 1 ? 0 : 130;
  const variables = bringTogether(done.last.state.variables);
  await byFirst("the report", async () => {
    await report(done.session, corpus);
    await offMesh(() => write(done.session, done.last.trainer, variables, corpus));
    say(`\nDone in ${formatTime((performance.now() - began) / 1000)}.`);
  });
  return 0;
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    const expected = error instanceof UsageError || TeError.is(error);
    process.stderr.write(`${expected ? `demo: ${error.message}` : error instanceof Error ? error.stack : error}\n`);
    process.exitCode = error instanceof UsageError ? 2 : 1;
  },
);
