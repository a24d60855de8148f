import { profile } from "@te/kernels-cpu";
import { subject, SHAPE } from "./src/layer.js";
const dtype = (process.argv[2] ?? "bfloat16") as any;
const s = subject(dtype, SHAPE);
for (let i = 0; i < 3; i++) s.forwardBackward();
const N = 10;
const t = await profile(() => { for (let i = 0; i < N; i++) s.forwardBackward(); });
const per = t.length / N;
const rows: any[] = [];
for (let i = 0; i < per; i++) { let best = 1e18; for (let j = 0; j < N; j++) best = Math.min(best, t[j * per + i].ns); rows.push([best / 1e6, t[i]]); }
const total = rows.reduce((a, r) => a + r[0], 0);
const by: Record<string, [number, number]> = {};
for (const [ms, x] of rows) { (by[x.op] ??= [0, 0])[0] += ms; by[x.op][1]++; }
console.log(Object.keys(rows[0][1]), total.toFixed(2), "ms");
for (const [op, [ms, n]] of Object.entries(by).sort((a, b) => b[1][0] - a[1][0])) console.log(ms.toFixed(2), n, op);
if (process.argv[3]) rows.forEach(([ms, x]) => console.log(ms.toFixed(3), JSON.stringify(x)));
