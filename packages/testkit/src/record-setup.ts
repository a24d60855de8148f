/** Setup file of vitest for reports: hands what each test compared to the reporters, as its meta data. */
import { afterEach, beforeEach } from "vitest";
import { type Recorded, takeRecorded } from "./record.js";

declare module "vitest" {
  interface TaskMeta {
    compared?: Recorded;
  }
}

beforeEach(() => void takeRecorded());
afterEach(({ task }) => {
  task.meta.compared = takeRecorded();
});
