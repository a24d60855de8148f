/** Products of cuBLASLt, and those that it cannot do. */
import "./emulated.js";
import "@te/kernels-cpu";
import "@te/kernels-cuda";
import { judgeProducts } from "./judge-products.js";

judgeProducts();
