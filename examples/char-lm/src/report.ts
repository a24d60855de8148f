/** What the demo leaves behind: a table, a chart of the losses, the weights. */
import { join } from "node:path";
import { writeAtomically, writeSafetensors } from "@te/checkpoint";
import { productPeak } from "@te/kernels-cpu";
import { currentBackend, type Tensor, tree } from "@te/tensor";
import { lineChart, type Series } from "./chart.js";
import { offMesh } from "./mesh.js";
import { type ModelConfig, trainingFlopsPerToken } from "./model.js";
import { formatCount } from "./progress.js";
import type { RunResult } from "./session.js";
import type { Precision } from "./train.js";

const NONE = "–";

/** Best GFLOP/s of a large matrix product by dtype, or undefined where it cannot be measured. */
export type Peaks = Partial<Record<Precision["dtype"], number>>;

/** Measures the products of the native CPU kernels; other devices have no such measure. */
export function measurePeaks(): Peaks {
  if (offMesh(currentBackend).name !== "cpu") return {};
  return { float32: productPeak("float32", 0.5), bfloat16: productPeak("bfloat16", 0.5) };
}

/**
 * What the products of a precision are measured against. bfloat16 and FP8 values are exact in float32, so where float32
 * products are the faster ones, as on processors without bfloat16 instructions, those are the peak.
 */
const peakOf = ({ dtype }: Precision, { float32, bfloat16 }: Peaks): number | undefined =>
  dtype === "bfloat16" && float32 && bfloat16 ? Math.max(float32, bfloat16) : float32;

/** The results as lines of a table. */
export function resultTable(results: readonly RunResult[], model: ModelConfig, peaks: Peaks): string {
  const rows = results.map(({ precision, heldOut, tokensPerSecond }) => {
    const gflops = (tokensPerSecond * trainingFlopsPerToken(model)) / 1e9;
    const peak = peakOf(precision, peaks);
    return [
      precision.name,
      heldOut.toFixed(4),
      Number.isFinite(tokensPerSecond) ? formatCount(tokensPerSecond) : NONE,
      Number.isFinite(gflops) ? gflops.toPrecision(3) : NONE,
      peak && Number.isFinite(gflops) ? `${Math.round((100 * gflops) / peak)} %` : NONE,
    ];
  });
  return formatTable([["", "held-out loss", "tokens/s", "GFLOP/s", "of peak"], ...rows]);
}

function formatTable(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const align = (cell: string, column: number): string =>
    column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]! + 3);
  return rows.map((row) => row.map(align).join("")).join("\n");
}

const STYLES = [
  { color: "#a8c7fa", width: 5 },
  { color: "#1a73e8", width: 2 },
  { color: "#d93025", width: 1.5, dash: "5 3" },
] as const;

/** Writes the losses of all runs as one chart. */
export async function writeChart(path: string, results: readonly RunResult[], unigramEntropy: number): Promise<void> {
  const series = results.map(
    ({ precision, losses, heldOut }, i): Series => ({
      name: precision.name,
      values: losses,
      final: heldOut,
      ...STYLES[i % STYLES.length]!,
    }),
  );
  const svg = lineChart(series, {
    title: "Character model on Moby-Dick",
    subtitle: "Training loss of each step; a circle marks the loss on held-out text after the last",
    xLabel: "optimizer step",
    yLabel: "loss (nats per character)",
    reference: { value: unigramEntropy, label: `entropy of single characters, ${unigramEntropy.toFixed(2)}` },
  });
  await writeAtomically(path, svg);
}

/** Where the weights of a precision go: weights-bfloat16-fp8.safetensors. */
export const weightsPath = (out: string, { name }: Precision): string =>
  join(out, `weights-${name.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-")}.safetensors`);

/** Writes parameters under their paths, such as layers_0/mlp/wi_kernel, with what it takes to rebuild the model. */
export async function writeWeights(
  path: string,
  params: unknown,
  model: ModelConfig,
  characters: readonly string[],
): Promise<void> {
  const named: [string, Tensor][] = tree.leavesWithPath(params).map(({ path: at, leaf }) => [at.join("/"), leaf]);
  await writeSafetensors(path, Object.fromEntries(named), {
    model: JSON.stringify(model),
    characters: characters.join(""),
  });
}
