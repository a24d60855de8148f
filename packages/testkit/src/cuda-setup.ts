/** Setup file of vitest that gives packages the kernels of GPUs; "cuda" is their default device then, and one of every device. */
import "@te/kernels-cuda";
