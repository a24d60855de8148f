/** Imported first: products run on our own kernels. */
process.env.TE_CUBLASLT = "off";
