/** Line charts as SVG text. */

export interface Series {
  readonly name: string;
  /** One value for each step from 1 on. */
  readonly values: readonly number[];
  /** A single point after the last step, such as the loss on held-out text. */
  readonly final?: number;
  readonly color: string;
  readonly width: number;
  /** stroke-dasharray, for lines that lie on top of others. */
  readonly dash?: string;
}

export interface ChartOptions {
  readonly title: string;
  readonly subtitle: string;
  readonly xLabel: string;
  readonly yLabel: string;
  /** A horizontal line to compare with. */
  readonly reference: { readonly value: number; readonly label: string };
}

const SIZE = { width: 860, height: 480, left: 64, right: 24, top: 64, bottom: 56 } as const;
const INK = "#1f2328";
const FAINT = "#d8dee4";
const MUTED = "#59636e";

const escapeText = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");

/** Round numbers in [low, high]: multiples of 1, 2 or 5 times a power of ten, about `count` of them. */
export function ticks(low: number, high: number, count: number): number[] {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999)!;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

interface Attributes {
  readonly [name: string]: string | number | undefined;
}

function element(name: string, attributes: Attributes, content?: string): string {
  const written = Object.entries(attributes).filter(([, value]) => value !== undefined);
  const list = written
    .map(([key, value]) => ` ${key}="${typeof value === "number" ? Number(value.toFixed(2)) : value}"`)
    .join("");
  return content === undefined ? `<${name}${list}/>` : `<${name}${list}>${content}</${name}>`;
}

const text = (content: string, attributes: Attributes): string =>
  element("text", { fill: INK, ...attributes }, escapeText(content));

/** The chart as the text of an SVG file. */
export function lineChart(series: readonly Series[], options: ChartOptions): string {
  const steps = Math.max(2, ...series.map((s) => s.values.length));
  const all = [...series.flatMap((s) => [...s.values, s.final ?? Number.NaN]), options.reference.value].filter(
    Number.isFinite,
  );
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const margin = (high - low || 1) * 0.05;
  const x = (step: number): number => SIZE.left + ((step - 1) / (steps - 1)) * (SIZE.width - SIZE.left - SIZE.right);
  const bottom = SIZE.height - SIZE.bottom;
  const y = (value: number): number =>
    bottom - ((value - low + margin) / (high - low + 2 * margin)) * (bottom - SIZE.top);

  const parts = [
    element("rect", { width: SIZE.width, height: SIZE.height, fill: "white" }),
    text(options.title, { x: SIZE.left, y: 26, "font-size": 17, "font-weight": 600 }),
    text(options.subtitle, { x: SIZE.left, y: 46, fill: MUTED }),
    ...axes({ x, y, bottom, steps, low: low - margin, high: high + margin }, options),
    ...referenceLine(options.reference, y),
    ...series.flatMap((s) => curve(s, x, y)),
    ...legend(series),
  ];
  const root = {
    xmlns: "http://www.w3.org/2000/svg",
    viewBox: `0 0 ${SIZE.width} ${SIZE.height}`,
    width: SIZE.width,
    height: SIZE.height,
    "font-family": "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif",
    "font-size": 13,
    role: "img",
  };
  return `${element("svg", root, `\n${element("title", {}, escapeText(options.title))}\n${parts.join("\n")}\n`)}\n`;
}

interface Scales {
  readonly x: (step: number) => number;
  readonly y: (value: number) => number;
  readonly bottom: number;
  readonly steps: number;
  readonly low: number;
  readonly high: number;
}

function axes({ x, y, bottom, steps, low, high }: Scales, { xLabel, yLabel }: ChartOptions): string[] {
  const right = SIZE.width - SIZE.right;
  const horizontal = ticks(low, high, 8).flatMap((value) => [
    element("line", { x1: SIZE.left, x2: right, y1: y(value), y2: y(value), stroke: FAINT }),
    text(String(value), { x: SIZE.left - 8, y: y(value) + 4.5, "text-anchor": "end", fill: MUTED }),
  ]);
  const vertical = [1, ...ticks(2, steps, 8).filter((step) => Number.isInteger(step))].flatMap((step) => [
    element("line", { x1: x(step), x2: x(step), y1: bottom, y2: bottom + 5, stroke: INK }),
    text(String(step), { x: x(step), y: bottom + 20, "text-anchor": "middle", fill: MUTED }),
  ]);
  const middle = (SIZE.top + bottom) / 2;
  return [
    ...horizontal,
    ...vertical,
    element("line", { x1: SIZE.left, x2: right, y1: bottom, y2: bottom, stroke: INK }),
    text(xLabel, { x: (SIZE.left + right) / 2, y: bottom + 42, "text-anchor": "middle" }),
    text(yLabel, { x: 18, y: middle, "text-anchor": "middle", transform: `rotate(-90 18 ${middle})` }),
  ];
}

function referenceLine({ value, label }: ChartOptions["reference"], y: Scales["y"]): string[] {
  const right = SIZE.width - SIZE.right;
  return [
    element("line", { x1: SIZE.left, x2: right, y1: y(value), y2: y(value), stroke: MUTED, "stroke-dasharray": "2 4" }),
    text(label, { x: right, y: y(value) - 6, "text-anchor": "end", fill: MUTED }),
  ];
}

function curve({ values, final, color, width, dash }: Series, x: Scales["x"], y: Scales["y"]): string[] {
  const points = values
    .map((value, i) => (Number.isFinite(value) ? `${x(i + 1).toFixed(1)},${y(value).toFixed(1)}` : ""))
    .filter(Boolean);
  const line = element("polyline", {
    points: points.join(" "),
    fill: "none",
    stroke: color,
    "stroke-width": width,
    "stroke-dasharray": dash,
    "stroke-linejoin": "round",
  });
  const end = Number.isFinite(final)
    ? [
        element("circle", {
          cx: x(values.length),
          cy: y(final!),
          r: 2 + width,
          fill: "none",
          stroke: color,
          "stroke-width": 2,
        }),
      ]
    : [];
  return [line, ...end];
}

/** In the upper right corner, where falling curves leave room. */
function legend(series: readonly Series[]): string[] {
  const left = SIZE.width - SIZE.right - 296;
  return series.flatMap(({ name, final, color, width, dash }, i) => {
    const top = SIZE.top + 18 + i * 21;
    const value = final === undefined ? "" : `, held out ${final.toFixed(3)}`;
    return [
      element("line", {
        x1: left,
        x2: left + 36,
        y1: top - 4,
        y2: top - 4,
        stroke: color,
        "stroke-width": width,
        "stroke-dasharray": dash,
      }),
      text(`${name}${value}`, { x: left + 46, y: top }),
    ];
  });
}
