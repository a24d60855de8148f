/** The demo as several processes: they train as one does, one of them speaks, and Ctrl-C saves once. */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { random } from "@te/tensor";
import { STARTERS } from "@te/testkit";
import { afterAll, expect, test } from "vitest";
import { readCorpus } from "../src/data.js";
import { DEMO_MODEL } from "../src/model.js";
import { run } from "../src/run.js";
import { loadSession } from "../src/session.js";
import { PRECISIONS } from "../src/train.js";

const folder = mkdtempSync(join(tmpdir(), "char-lm-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const main = join(import.meta.dirname, "../src/main.ts");
const STEPS = 3;
const missing = STARTERS[0]!.missing;

/** Presses Ctrl-C when a step is done; gives what was said. */
function interruptAt(step: string, args: readonly string[]): Promise<string> {
  const node = ["--conditions=@te/source", "--import", "tsx", main, ...args];
  const child = spawn(process.execPath, node, { detached: true });
  let [said, sent] = ["", false];
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk) => {
      said += chunk;
      // To the group, as a terminal does.
      if (!sent && said.includes(step)) sent = process.kill(-child.pid!, "SIGINT");
    });
  return new Promise((resolve) => child.on("close", () => resolve(said)));
}

test.skipIf(missing)(
  `processes train as one does, and Ctrl-C saves once${missing ? `: ${missing}` : ""}`,
  {
    timeout: 180_000,
  },
  async () => {
    const line = `--processes 2 --mesh tensor=2 --dtype float32 --steps 50 --out ${folder}`;
    const said = await interruptAt(`step  ${STEPS}/50`, line.split(" "));
    expect(said.match(/Moby-Dick: /g), said).toHaveLength(1);
    expect(said.match(/Stopped after step /g), said).toHaveLength(1);
    expect(said).toMatch(/npm run demo -- --mesh tensor=2 --processes 2 --resume \S+\/state\.safetensors\.index\.json/);
    expect(readdirSync(folder)).toHaveLength(3);

    const corpus = readCorpus();
    const vocabulary = corpus.characters.length;
    const { current, key } = await loadSession(join(folder, "state.safetensors.index.json"), vocabulary);
    expect(current!.losses.length).toBeGreaterThanOrEqual(STEPS);
    const settings = { model: { ...DEMO_MODEL, vocabulary }, precision: PRECISIONS[0]!, batch: 4, seed: 0, key };
    expect(await key.data()).toEqual(await random.foldIn(random.key(0), 1).data());
    let done = 0;
    const onStep = (step: number): void => {
      done = step;
    };
    const one = await run(corpus, { ...settings, steps: 50 }, undefined, { onStep, interrupted: () => done >= STEPS });
    for (let i = 0; i < STEPS; i++) expect(Math.abs(one.losses[i]! - current!.losses[i]!)).toBeLessThan(1e-5);
  },
);
