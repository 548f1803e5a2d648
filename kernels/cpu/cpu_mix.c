/* cpu_mix.c: the mixing operations of the CPU backend. */
