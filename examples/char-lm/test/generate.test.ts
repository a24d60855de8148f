/** Text that the model writes: the KV cache against whole forward passes, and what decides the draw. */
import { random, tensor } from "@te/tensor";
import { describe, expect, test } from "vitest";
import { encode } from "../src/data.js";
import { emptyCache, generate } from "../src/generate.js";
import { run } from "../src/run.js";
import { inPrecision, PRECISIONS } from "../src/train.js";
import { corpus, settingsOf, tinyModel } from "./tiny.js";

const prompt = encode(corpus.characters, "It was");

describe.each(PRECISIONS)("$name", (precision) => {
  const trained = run(corpus, settingsOf(precision, 4));

  test("the KV cache gives what whole forward passes give", async () => {
    const { trainer, state } = await trained;
    const count = tinyModel.sequence - prompt.length;
    const options = { prompt, count, temperature: 0, key: random.key(0) };
    const cached = await generate(trainer.model, precision, state.variables, options);
    const ids = [...prompt];
    for (let i = 0; i < count; i++) {
      const input = tensor(Int32Array.from(ids), { shape: [1, ids.length] });
      const logits = inPrecision(precision, () => trainer.model.apply(state.variables, input));
      ids.push(
        Number(
          await logits
            .at(0)
            .at(ids.length - 1)
            .argmax()
            .item(),
        ),
      );
    }
    expect([...cached]).toEqual(ids.slice(prompt.length));
    // The model has learnt something else than to repeat one character.
    expect(new Set(ids).size).toBeGreaterThan(3);
  });

  test("logits of single steps are those of the whole", async () => {
    const { trainer, state } = await trained;
    const { model } = trainer;
    const all = encode(corpus.characters, "It was quite lat");
    const batchOf = (ids: Int32Array) => tensor(ids, { shape: [1, ids.length] });
    const whole = (await inPrecision(precision, () =>
      model.apply(state.variables, batchOf(all)),
    ).toArray()) as number[][][];
    let cache = emptyCache(model, precision);
    const rows: number[][] = [];
    for (const part of [all.subarray(0, 5), ...Array.from(all.subarray(5), (id) => Int32Array.of(id))]) {
      const [logits, changed] = inPrecision(precision, () =>
        model.apply({ ...state.variables, cache }, batchOf(part.slice()), { decode: true, mutable: ["cache"] }),
      );
      cache = changed.cache;
      rows.push(...((await logits.toArray()) as number[][][])[0]!);
    }
    const error = Math.max(...rows.flatMap((row, i) => row.map((value, j) => Math.abs(value - whole[0]![i]![j]!))));
    expect(rows.length).toBe(all.length);
    expect(error).toBeLessThan(precision.dtype === "float32" ? 1e-4 : 0.1);
  });

  test("a key and a temperature decide the text", async () => {
    const { trainer, state } = await trained;
    const write = async (seed: number, temperature: number) => {
      const options = { prompt, count: 8, temperature, key: random.key(seed) };
      return [...(await generate(trainer.model, precision, state.variables, options))];
    };
    expect(await write(1, 1)).toEqual(await write(1, 1));
    expect(await write(1, 5)).not.toEqual(await write(2, 5));
  });
});

test("too long a text is an error", async () => {
  const { trainer, state } = await run(corpus, settingsOf(PRECISIONS[0]!, 1));
  const options = { prompt, count: 11, temperature: 0, key: random.key(0) };
  await expect(generate(trainer.model, PRECISIONS[0]!, state.variables, options)).rejects.toThrow(
    "must fit into 16 ids, got 6 + 11",
  );
});
