/** Memory over a step as the text of an SVG file. */
import { expectString } from "@te/tensor/op";
import { expectPlan } from "./check.js";
import type { Plan } from "./plan.js";
import { short } from "./print.js";

const SIZE = { width: 900, height: 420, left: 80, right: 24, top: 56, bottom: 48 } as const;
const TICKS = 5;

const escapeText = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** Bytes that a device holds over the time of a step, and the memory that it has. All devices hold as much. */
export function memoryPicture(plan: Plan, title: string): string {
  expectPlan("memoryPicture", plan);
  expectString("memoryPicture", { title });
  const { timeline, hardware, memory, mesh } = plan;
  const end = timeline.at(-1)?.second || 1;
  const high = Math.max(memory.peak, hardware.memory) * 1.05;
  const bottom = SIZE.height - SIZE.bottom;
  const right = SIZE.width - SIZE.right;
  const x = (second: number): number => SIZE.left + (second / end) * (right - SIZE.left);
  const y = (bytes: number): number => bottom - (bytes / high) * (bottom - SIZE.top);
  const text = (content: string, at: string): string => `<text ${at}>${escapeText(content)}</text>`;
  const level = (bytes: number, label: string, color: string): string =>
    `<line x1="${SIZE.left}" x2="${right}" y1="${y(bytes)}" y2="${y(bytes)}" stroke="${color}" stroke-dasharray="4 4"/>` +
    text(`${label}: ${short(bytes)}B`, `x="${right}" y="${y(bytes) - 5}" text-anchor="end" fill="${color}"`);
  const points = timeline.map(({ second, bytes }) => `${x(second).toFixed(1)},${y(bytes).toFixed(1)}`).join(" ");
  const held = memory.parameters + memory.optimizer;
  const ticks = Array.from({ length: TICKS + 1 }, (_, i) => (high * i) / TICKS);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${SIZE.width} ${SIZE.height}" width="${SIZE.width}" height="${SIZE.height}" font-family="system-ui, sans-serif" font-size="12" role="img">`,
    `<rect width="${SIZE.width}" height="${SIZE.height}" fill="white"/>`,
    text(`${title}: memory of each device over a step`, `x="${SIZE.left}" y="24" font-size="16"`),
    text(`${mesh} of ${hardware.name}`, `x="${SIZE.left}" y="42" fill="#59636e"`),
    ...ticks.map((bytes) => text(`${short(bytes)}B`, `x="${SIZE.left - 8}" y="${y(bytes) + 4}" text-anchor="end"`)),
    text("0", `x="${SIZE.left}" y="${bottom + 18}"`),
    text(`${end.toPrecision(3)} s`, `x="${right}" y="${bottom + 18}" text-anchor="end"`),
    `<polygon points="${SIZE.left},${bottom} ${points} ${right},${bottom}" fill="#b6d4f0"/>`,
    `<rect x="${SIZE.left}" y="${y(held)}" width="${right - SIZE.left}" height="${bottom - y(held)}" fill="#5b8db8"/>`,
    text("parameters and state of the optimizer", `x="${SIZE.left + 8}" y="${bottom - 8}" fill="white"`),
    `<polyline points="${points}" fill="none" stroke="#0b5cad" stroke-width="1.5"/>`,
    level(hardware.memory, "memory of a device", "#c0392b"),
    level(memory.peak, "peak", "#1f2328"),
    "</svg>",
    "",
  ].join("\n");
}
