/** A line that tells how a run goes: rewritten in place on a terminal, now and then a new one elsewhere. */

export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

const LINES_PER_RUN = 10;
const REDRAW_MS = 80;

export class Progress {
  private readonly began = performance.now();
  private drawn = Number.NEGATIVE_INFINITY;
  private firstStep: number | undefined;
  private firstTime = 0;

  constructor(
    private readonly out: Output,
    private readonly label: string,
    private readonly steps: number,
    private readonly tokensPerStep: number,
  ) {}

  /** Tells of step `step` (counted from 1). The first one is not timed: it compiles. */
  update(step: number, loss: number): void {
    const now = performance.now();
    if (this.firstStep === undefined) {
      this.firstStep = step;
      this.firstTime = now;
    }
    const every = Math.ceil(this.steps / LINES_PER_RUN);
    const due = this.out.isTTY
      ? now - this.drawn > REDRAW_MS || step === this.steps
      : step % every === 0 || step === this.steps;
    if (!due) return;
    this.drawn = now;
    this.draw(this.line(step, loss, now));
  }

  private line(step: number, loss: number, now: number): string {
    const timed = step - this.firstStep!;
    const seconds = timed > 0 ? (now - this.firstTime) / 1000 / timed : (now - this.began) / 1000;
    const width = String(this.steps).length;
    const rate = timed > 0 ? formatCount(this.tokensPerStep / seconds) : "…";
    return [
      this.label,
      `step ${String(step).padStart(width)}/${this.steps}`,
      `loss ${loss.toFixed(4)}`,
      `${rate.padStart(7)} tokens/s`,
      `${formatTime(seconds * (this.steps - step))} left`,
    ].join("   ");
  }

  private draw(line: string): void {
    if (!this.out.isTTY) this.out.write(`${line}\n`);
    else this.out.write(`\r${line.slice(0, (this.out.columns ?? 120) - 1)}\x1b[K`);
  }

  /** Leaves the line as it is and goes to the next. */
  end(): void {
    if (this.out.isTTY && this.drawn > 0) this.out.write("\n");
  }
}

/** 12345.6 → "12 346". */
export const formatCount = (n: number): string => Math.round(n).toLocaleString("en-US").replaceAll(",", " ");

/** Seconds as m:ss. */
export function formatTime(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
