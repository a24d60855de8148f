/** Meshes by name, their ranking, and how long large models take. */
import { expect, it } from "vitest";
import { HARDWARE, memoryPicture, meshesOf, modelOf, parseMesh, planModel, resourceOf, search } from "../src/index.js";

it("reads meshes, and refuses axes that serve nothing", () => {
  const mesh = parseMesh("fsdp=4,tpsp=2");
  expect(mesh.shape).toEqual({ fsdp: 4, tpsp: 2 });
  expect(resourceOf(mesh)).toMatchObject({ fsdpResource: "fsdp", tpspResource: "tpsp", dpResource: null });
  expect(() => parseMesh("fsdp")).toThrow("data=8,tensor=8");
  expect(() => resourceOf(parseMesh("model=2"))).toThrow("no such axis");
});

it("lists meshes that divide devices, batch and heads", () => {
  const found = meshesOf(modelOf("llama3-8b"), 16, 8, HARDWARE["h100-sxm"]!);
  expect(found.length).toBeGreaterThan(0);
  for (const mesh of found) {
    expect(mesh.size).toBe(16);
    expect(8 % (mesh.shape.data ?? mesh.shape.fsdp ?? 1)).toBe(0);
  }
});

it.each([
  ["llama3-8b", "fsdp=8", 8, 8.03e9],
  ["llama3-70b", "fsdp=8,tpsp=8", 64, 70.6e9],
  ["llama3-405b", "fsdp=2048,tensor=8", 16384, 405.9e9],
  ["gpt3-175b", "fsdp=64,tensor=8", 512, 174.6e9],
])("plans %s over %s in seconds", (name, shape, batch, parameters) => {
  const mesh = parseMesh(shape);
  const started = process.cpuUsage();
  const resource = resourceOf(mesh);
  const sequenceParallel = resource.tpspResource !== null;
  const size = modelOf(name);
  const plan = planModel(size, { batch, checkpoint: true, sequenceParallel, mesh, resource, hardware: "h100-sxm" });
  expect(process.cpuUsage(started).user).toBeLessThan(30e6); // microseconds, whatever else runs here
  // Norms and biases are whole on every device.
  const share = (plan.memory.parameters * mesh.size) / (4 * parameters);
  expect(share).toBeGreaterThan(0.98);
  expect(share).toBeLessThan(1.2);
  // Six operations for each parameter and token, those of attention beside.
  const operations = ((plan.flops - plan.recomputed) * mesh.size) / (6 * parameters * batch * size.sequence);
  expect(operations).toBeGreaterThan(0.9);
  expect(operations).toBeLessThan(1.3);
  expect(plan.hidden).toBeGreaterThanOrEqual(0);
  expect(plan.hidden).toBeLessThanOrEqual(1);
  expect(plan.time.step).toBeGreaterThanOrEqual(plan.time.compute * (1 - 1e-9));
  expect(memoryPicture(plan, name)).toMatch(/^<svg [\s\S]*<\/svg>\n$/);
});

it("ranks meshes that fit by their speed, and those that do not behind them", () => {
  const ranked = search(modelOf("llama3-8b"), { devices: 8, hardware: "h100-sxm", batch: 8, checkpoint: true });
  const fits = ranked.map(({ plan }) => plan.fits);
  expect(fits).toEqual([...fits].sort((a, b) => Number(b) - Number(a)));
  const times = ranked.filter(({ plan }) => plan.fits).map(({ plan }) => plan.time.step);
  expect(times).toEqual([...times].sort((a, b) => a - b));
  // 8 billion parameters with their state and gradients are 128 GB: data parallelism alone has no room for them.
  expect(ranked.find(({ mesh }) => mesh.shape.data === 8)?.plan.fits).toBe(false);
  expect(ranked[0]?.mesh.shape).toEqual({ fsdp: 8 });
});
