import { library } from "../../scripts/tsup.ts";

/** Three doors: for users, for authors of ops, and for devices and passes. */
const doors = { index: "src/index.ts", op: "src/doors/op.ts", backend: "src/doors/backend.ts" };

export default { ...library, entry: doors };
