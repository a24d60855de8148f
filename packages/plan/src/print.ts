/** Plans as tables for a terminal. */
import { expectArray, expectFinite, expectObject } from "@te/tensor/op";
import { expectMesh, expectPlan } from "./check.js";
import type { Ranked } from "./meshes.js";
import type { Plan } from "./plan.js";

const UNITS = ["", "k", "M", "G", "T", "P", "E"];

/** 1234567 as "1.23 M". */
export function short(value: number): string {
  let unit = 0;
  let rest = value;
  while (rest >= 999.5 && unit < UNITS.length - 1) [rest, unit] = [rest / 1000, unit + 1];
  return `${rest >= 99.5 || rest === 0 ? rest.toFixed(0) : rest.toPrecision(3)} ${UNITS[unit]}`;
}

const seconds = (value: number): string => (value >= 1 ? `${value.toFixed(2)} s` : `${(value * 1e3).toFixed(2)} ms`);
const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

/** Rows with their columns lined up: the first to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows
    .map((row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join("  "))
    .join("\n");
}

/** The most that the critical path lists. */
const LONGEST = 10;

/** What a step costs each device. `tokens`: of a step on all devices. */
export function printPlan(plan: Plan, tokens: number): string {
  expectPlan("printPlan", plan);
  expectFinite("printPlan", { tokens });
  const { memory, hardware, mesh, time } = plan;
  const path = Object.entries(plan.criticalPath).sort((a, b) => b[1] - a[1]);
  const parts = Object.entries(memory).map(([name, bytes]) => [`  ${name}`, `${short(bytes)}B`]);
  const traffic = plan.traffic.map(({ kind, axes, link, count, bytes, sent }) => [
    `  ${kind}`,
    axes.join(" "),
    link,
    count.toFixed(0),
    `${short(bytes)}B`,
    `${short(sent)}B`,
  ]);
  return [
    `${mesh} of ${hardware.name}`,
    `memory of a device: ${plan.fits ? "fits" : "DOES NOT FIT"} ${short(hardware.memory)}B`,
    table(parts),
    "collectives of a device and step",
    table([["  kind", "axes", "link", "count", "bytes", "sent"], ...traffic]),
    "time of a step at the roofline",
    table([
      ["  step", seconds(time.step)],
      ["  compute", seconds(time.compute)],
      ["  communication", seconds(time.communication)],
      ["  hidden behind compute", percent(plan.hidden)],
      ["  operations of a device", `${short(plan.flops)}FLOP`],
      ["  of these again", `${short(plan.recomputed)}FLOP`],
      ["  share of its peak without these", percent(plan.utilization)],
      ["  tokens per second and device", `${short(tokens / time.step / mesh.size)}`],
    ]),
    "critical path",
    table(path.slice(0, LONGEST).map(([label, of]) => [`  ${label}`, seconds(of), percent(of / time.step)])),
  ].join("\n");
}

/** Meshes in the order of their rank. */
export function printRanking(ranked: readonly Ranked[], tokens: number): string {
  expectArray("printRanking", "meshes with their plans", { ranked });
  for (const each of ranked) {
    expectObject("printRanking", { ranked: each });
    expectMesh("printRanking", each.mesh);
    expectPlan("printRanking", each.plan);
  }
  expectFinite("printRanking", { tokens });
  return table([
    ["mesh", "peak memory", "step", "share of peak", "hidden", "tokens/s/device"],
    ...ranked.map(({ mesh, plan }) => [
      mesh.toString(),
      `${short(plan.memory.peak)}B${plan.fits ? "" : " too much"}`,
      seconds(plan.time.step),
      percent(plan.utilization),
      percent(plan.hidden),
      short(tokens / plan.time.step / mesh.size),
    ]),
  ]);
}
