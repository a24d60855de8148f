/** Setup file of vitest that gives packages which know no kernels the native ones, as their default device. */
import "@te/kernels-cpu";
