/** Results do not depend on when the threads of a kernel get their turn: large cases beside a busy thread, several times. */
import "@te/kernels-cpu";
import "@te/fp8";
import "@te/layers";
import "@te/transformer";
import { Worker } from "node:worker_threads";
import { type Tensor, tree } from "@te/tensor";
import { applyOp, type Case, CaseBuilder, definedOps, type OpDefinition } from "@te/tensor/op";
import { fillArray, toTensor } from "@te/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";

/** Large enough for every thread to have a part; more would only take time. */
const MOST = { bytes: 2 ** 24, flops: 2 ** 32 };
const TURNS = 4;

let busy: Worker;
beforeAll(() => {
  busy = new Worker("for (;;);", { eval: true });
});
afterAll(async () => {
  await busy.terminate();
});

async function bytesOf(op: OpDefinition, inputs: (Tensor | undefined)[], { params }: Case): Promise<Buffer[]> {
  const results = tree.leaves(applyOp(op, inputs, { ...op.params, ...params })) as Tensor[];
  return Promise.all(
    results.map(async (result) => {
      const { buffer, byteOffset, byteLength } = (await result.data()) as Uint8Array;
      const bytes = Buffer.from(Buffer.from(buffer, byteOffset, byteLength));
      result.dispose();
      return bytes;
    }),
  );
}

const large = [...definedOps().values()].flatMap((op) =>
  (op.cases?.(new CaseBuilder()) ?? [])
    .filter(({ bench }) => bench && (bench.bytes ?? 0) <= MOST.bytes && (bench.flops ?? 0) <= MOST.flops)
    .map((c) => ({ name: `${op.name}: ${c.name}`, op, c })),
);

test.each(large)("$name", { timeout: 60_000 }, async ({ op, c }) => {
  const names = op.variadic ? Object.keys(c.inputs) : [...op.inputs, ...(op.optional ?? [])];
  const inputs = names.map((name, i) => {
    const fill = c.inputs[name];
    return fill && toTensor(fillArray(fill, `${c.name} ${i}`));
  });
  const first = await bytesOf(op, inputs, c);
  for (let turn = 1; turn < TURNS; turn++) {
    const again = await bytesOf(op, inputs, c);
    expect(again.map((bytes, i) => bytes.equals(first[i]!))).toEqual(first.map(() => true));
  }
  for (const input of inputs) input?.dispose();
});
