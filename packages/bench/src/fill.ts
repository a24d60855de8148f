/** Inputs of cases that are too large to draw every number. */
import type { Tensor } from "@te/tensor";
import { type Case, type Fill, type HostArray, sizeOf } from "@te/tensor/op";
import { fillArray, toTensor } from "@te/testkit";

/** Numbers that are drawn; odd, so that rows of a power of two differ. */
const DRAWN = 2 ** 16 + 1;

/** The values of a fill: beyond the first 65537 they repeat. */
function fillLarge(fill: Fill, seed: string): HostArray {
  const size = sizeOf(fill.shape);
  if (fill.values || size <= DRAWN) return fillArray(fill, seed);
  const { dtype, data } = fillArray({ ...fill, shape: [DRAWN] }, seed);
  const all = new (data.constructor as new (n: number) => typeof data)(size);
  all.set(data as never);
  for (let done = DRAWN; done < size; done *= 2) all.copyWithin(done, 0, Math.min(done, size - done));
  return { shape: fill.shape, dtype, data: all };
}

/** Inputs of one case at a time. Those that the next case has too are kept. */
export class Inputs {
  private held = new Map<string, Tensor>();

  /** The inputs of a case by the names of its op's operands. */
  of(names: readonly string[], { name, inputs }: Case): (Tensor | undefined)[] {
    const next = new Map<string, Tensor>();
    const tensors = names.map((input, i) => {
      const fill = inputs[input];
      if (!fill) return undefined;
      const key = `${name} ${i} ${JSON.stringify(fill)}`;
      const tensor = this.held.get(key) ?? toTensor(fillLarge(fill, `${name} ${i}`));
      next.set(key, tensor);
      return tensor;
    });
    for (const [key, tensor] of this.held) if (!next.has(key)) tensor.dispose();
    this.held = next;
    return tensors;
  }
}
