/** What each process of collectives.test.ts runs: the collectives of @te/sharding's own test, on the device "cuda". */
import "./emulated.js";
import "@te/kernels-cuda";
import "../../sharding/test/collectives-child.js";
