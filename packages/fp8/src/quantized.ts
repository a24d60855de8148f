/** Tensors in few bits with their scales, whatever recipe made them. */
import { checkpointName, type Tensor } from "@te/tensor";
import { expectObject, expectString, expectTensor } from "@te/tensor/op";

/**
 * A rounded tensor: the elements q, and the numbers scaleInv that take its scales out again. amax, where the recipe
 * measures it, is the largest magnitude before rounding, float32[1].
 */
export type Quantized = { readonly q: Tensor; readonly scaleInv: Tensor; readonly amax?: Tensor };

/** Throws unless every value is a tensor with its scales. */
export function expectQuantized(fn: string, args: Readonly<Record<string, unknown>>): void {
  expectObject(fn, args);
  for (const [name, { q, scaleInv, amax }] of Object.entries(args) as [string, Quantized][]) {
    expectTensor(fn, { [`${name}.q`]: q, [`${name}.scaleInv`]: scaleInv });
    if (amax !== undefined) expectTensor(fn, { [`${name}.amax`]: amax });
  }
}

/** Marks all parts with a name that checkpoint policies can keep; without a name the value itself. */
export function nameQuantized<Of extends Quantized>(of: Of, name: string | null | undefined): Of {
  expectQuantized("nameQuantized", { of });
  if (name !== null && name !== undefined) expectString("nameQuantized", { name });
  if (!name) return of;
  const { q, scaleInv, amax } = of;
  const mark = (part: Tensor): Tensor => checkpointName(part, name);
  return { ...of, q: mark(q), scaleInv: mark(scaleInv), ...(amax && { amax: mark(amax) }) };
}
