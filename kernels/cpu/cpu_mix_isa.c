/* cpu_mix_isa.c: the inner loops of mixing, compiled once a level. */
