/** The chart: round ticks, names of axes and series, and points that stay inside the frame. */
import { expect, test } from "vitest";
import { lineChart, ticks } from "../src/chart.js";

test("ticks are round and inside", () => {
  expect(ticks(1.93, 4.61, 6)).toEqual([2, 2.5, 3, 3.5, 4, 4.5]);
  expect(ticks(2, 250, 8)).toEqual([50, 100, 150, 200, 250]);
  expect(ticks(0.12, 0.13, 5)).toEqual([0.12, 0.122, 0.124, 0.126, 0.128, 0.13]);
});

test("a chart names its axes and series and keeps points inside", () => {
  const svg = lineChart(
    [
      { name: "a <b>", values: [4, 3, Number.NaN, 2], final: 2.25, color: "red", width: 2 },
      { name: "c", values: [4, 3.5, 3, 2.5], color: "blue", width: 1, dash: "4 2" },
    ],
    { title: "T & t", subtitle: "s", xLabel: "step", yLabel: "loss", reference: { value: 3.06, label: "line" } },
  );
  for (const part of ["T &amp; t", "a &lt;b>, held out 2.250", ">step<", ">loss<", ">line<", 'stroke-dasharray="4 2"'])
    expect(svg).toContain(part);
  const points = [...svg.matchAll(/points="([^"]*)"/g)].map(([, list]) =>
    list!.split(" ").map((p) => p.split(",").map(Number)),
  );
  expect(points.map((list) => list.length)).toEqual([3, 4]);
  for (const [x, y] of points.flat() as [number, number][]) {
    expect(x).toBeGreaterThanOrEqual(64);
    expect(x).toBeLessThanOrEqual(836);
    expect(y).toBeGreaterThanOrEqual(64);
    expect(y).toBeLessThanOrEqual(424);
  }
});
