/* cpu_rows.c: embedding, norms and quantisation of rows. */
