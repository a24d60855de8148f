/** The partitioned program of a function, for reading and for tests. */
import { currentBackend, makeProgram, type Primals, Tensor, tree } from "@te/tensor";
import { runPasses } from "@te/tensor/backend";
import { expectFunction, fail } from "@te/tensor/op";
import { placementOf } from "./device-put.js";
import { activeMesh } from "./mesh.js";
import { type Layout, wholeLayout } from "./partition/layout.js";
import { partition } from "./partition/partition.js";
import type { PartitionedProgram } from "./partition/partitioned.js";

/**
 * The program that jit(f) would run for these arguments over the active mesh, as they lie there: it prints with the layout of
 * every value, and `collectives()` lists what devices exchange. Nothing is run.
 */
export function makePartitioned<A extends readonly any[]>(
  f: (...args: A) => unknown,
): (...args: Primals<A>) => PartitionedProgram {
  expectFunction("makePartitioned", { f });
  return (...args) => {
    const mesh = activeMesh();
    if (!mesh || mesh.size === 1)
      fail("state", "makePartitioned", "a mesh of several devices must be active", mesh, "Enter one with withMesh.");
    const program = runPasses(makeProgram(f)(...args), (node) => currentBackend().supports(node));
    const leaves = args
      .flatMap((arg) => tree.leaves(arg))
      .filter((leaf) => typeof leaf === "number" || leaf instanceof Tensor);
    const constants = program.constants.map(({ tensor }) => tensor);
    const layouts = [...leaves, ...constants].map((x): Layout => {
      if (!(x instanceof Tensor)) return wholeLayout(0);
      const placement = placementOf(x);
      return placement?.mesh.toString() === mesh.toString() ? placement.layout : wholeLayout(x.rank);
    });
    return partition(mesh, program, layouts);
  };
}
