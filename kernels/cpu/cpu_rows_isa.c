/* cpu_rows_isa.c: the inner loops of cpu_rows.c, compiled once a level. */
